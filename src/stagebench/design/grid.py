"""Expansion of grids: factors × levels → treatments. Pure, and only for checked experiments.

Readable, stable ids of treatments: p2-fork, p5-spawn-retain, t1-numpy.

An id depends on the treatment's own levels alone, so that adding a level or a treatment never
renames another one.

The order of runs: randomised complete blocks over all treatments of a study.
"""

from __future__ import annotations

import random
import re
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any

from stagebench.design.checked_study import PlannedRun, Treatment
from stagebench.design.levels import level_key, level_text, matches
from stagebench.design.specification import build_specification, estimate_memory

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from stagebench.design.checked_study import ExperimentGrid, Factor, Study
    from stagebench.design.levels import Factors, Level


Json = dict[str, Any]

MOST_TREATMENTS = 20_000
"""Treatments that one experiment's lists of levels may make, before anything is excluded."""


def build_treatment(experiment: ExperimentGrid, factors: Factors, settings: Json) -> Treatment:
    """Make the treatment that has these levels; `settings` are checked, with the levels put in."""
    name = treatment_id(factors, experiment.factors)
    specification = build_specification(experiment, name, factors, settings)
    return Treatment(
        experiment=experiment.name,
        id=name,
        factors=factors,
        specification=specification,
        estimated_memory_bytes=estimate_memory(specification, experiment.beside),
        baseline=matches(factors, experiment.baseline),
        place=experiment.place,
    )


def expand_grid(experiment: ExperimentGrid) -> list[Factors]:
    """List the treatments of an experiment: what is not excluded, then what is added."""
    kept = [
        factors
        for factors in combine_levels(experiment.factors)
        if not any(matches(factors, entry) for entry in experiment.exclude)
    ]
    return kept + [_in_order(factors, experiment.factors) for factors in experiment.include]


def combine_levels(factors: Sequence[Factor]) -> Iterator[Factors]:
    """Yield every combination of the levels of the factors that apply in it."""
    for chosen in _choose(_conditions_first(factors), {}):
        yield _in_order(chosen, factors)


def count_combinations(factors: Sequence[Factor]) -> int:
    """Count the combinations of levels without making them.

    Only factors that conditions link are gone through, and of them no more than an experiment may
    have: above that the count is a lower bound.
    """
    linked = {name for factor in factors if factor.when for name in (factor.name, *factor.when)}
    free = prod(len(factor.levels) for factor in factors if factor.name not in linked)
    bound = [factor for factor in factors if factor.name in linked]
    return free * sum(1 for _ in islice(combine_levels(bound), MOST_TREATMENTS + 1))


def find_unsuited(factors: Factors, declared: Sequence[Factor]) -> tuple[list[str], list[str]]:
    """Name the factors that a treatment lacks, and those that it has but that do not apply."""
    applying = {factor.name for factor in declared if _applies(factor, factors)}
    lacking = [factor.name for factor in declared if factor.name in applying - factors.keys()]
    return lacking, [name for name in factors if name not in applying]


def treatment_key(factors: Factors) -> Hashable:
    """Return what two treatments with the same levels share."""
    return frozenset((name, level_key(level)) for name, level in factors.items())


def _conditions_first(factors: Sequence[Factor]) -> list[Factor]:
    """Order factors so that whether one applies is known when its turn comes."""
    placed: dict[str, Factor] = {}
    while len(placed) < len(factors):
        waiting = (factor for factor in factors if factor.name not in placed)
        ready = next(factor for factor in waiting if factor.when.keys() <= placed.keys())
        placed[ready.name] = ready
    return list(placed.values())


def _choose(factors: Sequence[Factor], chosen: Factors) -> Iterator[Factors]:
    if not factors:
        yield chosen
        return
    first, *others = factors
    if not _applies(first, chosen):
        yield from _choose(others, chosen)
        return
    for level in first.levels:
        yield from _choose(others, {**chosen, first.name: level})


def _applies(factor: Factor, chosen: Factors) -> bool:
    return matches(chosen, factor.when)


def _in_order(chosen: Factors, declared: Sequence[Factor]) -> Factors:
    return {factor.name: chosen[factor.name] for factor in declared if factor.name in chosen}


_LETTERS = {"thread": "t", "process": "p", "asyncio": "a"}
"""First letter of an id that gives the executor and the number of workers: t1, p5, a9."""

_FIRST = ("executor", "workers", "start_method")
"""Factors that are written first and without their names."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def treatment_id(factors: Factors, declared: Iterable[Factor]) -> str:
    """Write the id of the treatment that has these levels.

    An experiment without factors has one treatment, "only"; one whose levels are all silent is
    "plain".
    """
    if not factors:
        return "only"
    tags = {f.name: f.tags.get(level_text(factors[f.name])) for f in declared if f.name in factors}
    words = {name: _word(name, level, tags[name]) for name, level in factors.items()}
    pool = _pool_word(factors, tags)
    if pool:
        words["executor"], words["workers"] = pool, ""
    names = sorted(words, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return "-".join(words[name] for name in names if words[name]) or "plain"


def is_valid_id(name: str) -> bool:
    """Report whether an id can be the name of a folder everywhere."""
    return _ID.fullmatch(name) is not None


def _pool_word(factors: Factors, tags: Mapping[str, str | None]) -> str:
    """Return executor and workers as one word, where both apply and neither has a tag."""
    letter = _LETTERS.get(level_text(factors.get("executor")), "")
    both = letter and "workers" in factors
    tagged = any(tags.get(name) is not None for name in ("executor", "workers"))
    return f"{letter}{level_text(factors['workers'])}" if both and not tagged else ""


def _word(name: str, level: Level, tag: str | None) -> str:
    if tag is not None:
        return tag
    if isinstance(level, bool):
        return name if level else ""
    text = "unset" if level is None else level_text(level).replace(".", "_") or "empty"
    if name == "workers":
        return f"w{text}"
    return text if name in _FIRST else f"{name}-{text}"


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
