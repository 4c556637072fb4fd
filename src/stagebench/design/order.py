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
    ids = _sorted_ids(treatments)
    return tuple(
        PlannedRun(
            experiment=experiment,
            treatment=treatment,
            replicate=block,
            warm_up=False,
            block=block,
            position=position,
            rank=(study.warm_ups + block - 1) * len(ids) + position,
        )
        for block in range(1, study.replicates + 1)
        for position, (experiment, treatment) in enumerate(_shuffle(ids, f"{study.seed}/{block}"))
    )


def order_warm_ups(study: Study, treatments: Sequence[Treatment]) -> tuple[PlannedRun, ...]:
    """Plan the warm-ups of every treatment: rounds that come before the first block.

    Each round holds every treatment once, in an order of its own.
    """
    ids = _sorted_ids(treatments)
    rounds = [
        (number, name)
        for number in range(1, study.warm_ups + 1)
        for name in _shuffle(ids, f"{study.seed}/warm-up {number}")
    ]
    return tuple(
        PlannedRun(
            experiment=experiment,
            treatment=treatment,
            replicate=number,
            warm_up=True,
            block=0,
            position=rank,
            rank=rank,
        )
        for rank, (number, (experiment, treatment)) in enumerate(rounds)
    )


def _sorted_ids(treatments: Sequence[Treatment]) -> list[tuple[str, str]]:
    return sorted((treatment.experiment, treatment.id) for treatment in treatments)


def _shuffle(ids: list[tuple[str, str]], seed: str) -> list[tuple[str, str]]:
    # A text as seed goes through SHA-512: neighbouring seeds and blocks give unrelated orders.
    generator = random.Random(seed)
    return generator.sample(ids, k=len(ids))
