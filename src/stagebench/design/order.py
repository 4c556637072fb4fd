"""The order of runs: randomised complete blocks over all treatments of a study."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from stagebench.design.study import PlannedRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.design.study import Study, Treatment


def order_runs(study: Study, treatments: Sequence[Treatment]) -> tuple[PlannedRun, ...]:
    """Plan every replicate of every treatment, in rank order.

    Block k holds replicate k of each treatment, in an order drawn from (seed, k) alone: more
    replicates leave the earlier blocks as they are.
    """
    ids = sorted((treatment.experiment, treatment.id) for treatment in treatments)
    return tuple(
        PlannedRun(
            experiment=experiment,
            treatment=treatment,
            replicate=block,
            block=block,
            position=position,
            rank=(block - 1) * len(ids) + position,
        )
        for block in range(1, study.replicates + 1)
        for position, (experiment, treatment) in enumerate(_shuffle(ids, study.seed, block))
    )


def _shuffle(ids: list[tuple[str, str]], seed: int, block: int) -> list[tuple[str, str]]:
    # A text as seed goes through SHA-512: neighbouring seeds and blocks give unrelated orders.
    generator = random.Random(f"{seed}/{block}")  # noqa: S311 - an order of runs, not a secret
    return generator.sample(ids, k=len(ids))
