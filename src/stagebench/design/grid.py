"""Expansion of grids: factors × levels → treatments. Pure, and only for checked studies."""

from __future__ import annotations

from itertools import islice
from math import prod
from typing import TYPE_CHECKING

from stagebench.design.ids import treatment_id
from stagebench.design.levels import level_key, matches
from stagebench.design.memory import estimate_memory
from stagebench.design.placeholders import substitute
from stagebench.design.specification import build_specification
from stagebench.design.study import Treatment

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from stagebench.design.study import Experiment, Factor, Factors, Study

MOST_TREATMENTS = 20_000
"""Treatments that one experiment's lists of levels may make, before anything is excluded."""


def expand_treatments(study: Study) -> tuple[Treatment, ...]:
    """Expand every experiment of a checked study, in the order of the config."""
    return tuple(
        build_treatment(experiment, factors)
        for experiment in study.experiments
        for factors in expand_grid(experiment)
    )


def build_treatment(experiment: Experiment, factors: Factors) -> Treatment:
    """Make the treatment of an experiment that has these levels."""
    name = treatment_id(factors, experiment.factors)
    settings, _ = substitute(experiment.template, factors, ())
    specification = build_specification(experiment, name, factors, settings)
    return Treatment(
        experiment=experiment.name,
        id=name,
        factors=factors,
        specification=specification,
        estimated_memory_bytes=estimate_memory(specification, experiment.beside),
        baseline=matches(factors, experiment.baseline),
    )


def expand_grid(experiment: Experiment) -> list[Factors]:
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
    """Give what two treatments with the same levels share."""
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
