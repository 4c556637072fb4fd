"""A checked mapping as a Study: names resolved, short forms spelt out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.levels import level_key, named_levels
from stagebench.design.schema import SETTINGS
from stagebench.design.study import Experiment, Factor, Study

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stagebench.design.study import Level

Json = dict[str, Any]
Levels = dict[str, tuple["Level", ...]]

QUIET_WAIT_S = 2.0
"""How long a run waits for a quiet machine at most, where a study does not say."""

MARGIN = 0.05
"""What counts as equivalent in practice, where a study does not say."""


def build_study(config: Json, experiments: list[Experiment]) -> Study:
    """Make the study of a config whose experiments are built already."""
    return Study(
        name=config["study"],
        seed=config["seed"],
        replicates=config["replicates"],
        warm_ups=config.get("warm_ups", 0),
        time_limit_s=float(config["time_limit_s"]),
        quiet_wait_s=float(config.get("quiet_wait_s", QUIET_WAIT_S)),
        precision={name: float(width) for name, width in config.get("precision", {}).items()},
        margin=float(config.get("margin", MARGIN)),
        reference=config.get("reference"),
        claims=config.get("claims"),
        allow_insufficient_memory=config.get("allow_insufficient_memory", False),
        experiments=tuple(experiments),
    )


def build_experiment(experiment: Json, stages: list[Json], beside: Path | None) -> Experiment:
    """Make one experiment; `stages` are those of its workflow, `beside` is the config's folder."""
    given = experiment.get("factors", {})
    include = experiment.get("include", [])
    listed = {name: _listed(factor) for name, factor in given.items()}
    # What is included may be named by the baseline, too.
    named = {n: _distinct([*levels, *_included(n, include)]) for n, levels in listed.items()}
    template = {key: experiment[key] for key in SETTINGS if key in experiment}
    return Experiment(
        name=experiment["name"],
        workflow=experiment["workflow"],
        template={"stages": stages, **template},
        factors=tuple(_build_factor(name, given[name], listed) for name in given),
        exclude=tuple(_resolve(entry, listed) for entry in experiment.get("exclude", [])),
        include=tuple(include),
        baseline=_resolve(experiment.get("baseline", {}), named),
        beside=beside,
    )


def _build_factor(name: str, factor: Any, listed: Levels) -> Factor:
    options = factor if isinstance(factor, dict) else {}
    return Factor(
        name=name,
        levels=listed[name],
        when=_resolve(options.get("when", {}), listed),
        tags=options.get("tags", {}),
    )


def _listed(factor: Any) -> tuple[Level, ...]:
    return tuple(factor["levels"] if isinstance(factor, dict) else factor)


def _included(name: str, include: list[Json]) -> list[Level]:
    return [entry[name] for entry in include if name in entry]


def _distinct(levels: list[Level]) -> tuple[Level, ...]:
    return tuple({level_key(level): level for level in levels}.values())


def _resolve(entry: Json, levels: Mapping[str, tuple[Level, ...]]) -> Levels:
    return {name: named_levels(value, levels[name])[0] for name, value in entry.items()}
