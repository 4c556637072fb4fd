"""What a checked config means: frozen values that the other steps of the design work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from stagebench.design.levels import level_key, named_levels
from stagebench.design.schema_errors import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from stagebench.design.levels import Factors, Level
    from stagebench.design.problems import Origin

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A named variable of an experiment.

    `when`: the levels of other factors under which it applies. `tags`: text of a level → its word
    in treatment ids.
    """

    name: str
    levels: tuple[Level, ...]
    when: Mapping[str, tuple[Level, ...]]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentGrid:
    """A named grid over one workflow.

    `template` is the specification's variable part (stages and what `SETTINGS` names) with the
    placeholders still in it, and `constants` what fills those that no factor does; `exclude` holds,
    for each entry, the levels that it names. `beside` is the config's folder, where own handlers
    and files of tasks lie, if it is known; `place` is where the experiment is written.
    """

    name: str
    workflow: str
    template: Mapping[str, Any]
    factors: tuple[Factor, ...]
    exclude: tuple[Mapping[str, tuple[Level, ...]], ...]
    include: tuple[Factors, ...]
    baseline: Mapping[str, tuple[Level, ...]]
    constants: Factors
    beside: Path | None
    place: Origin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A checked config with all its treatments; made by `config.check_config` alone.

    `precision` maps quantities to the half-width that their intervals shall have, and `margin` is
    what counts as equivalent in practice: both are shares of the ratio to the baseline.
    """

    name: str
    seed: int
    replicates: int
    warm_ups: int
    time_limit_s: float
    quiet_wait_s: float
    precision: Mapping[str, float]
    margin: float
    reference: str | None
    claims: str | None
    allow_insufficient_memory: bool
    experiments: tuple[ExperimentGrid, ...]
    treatments: tuple[Treatment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """One level of each factor that applies, with the full specification of its runs.

    `place` is where its experiment is written.
    """

    experiment: str
    id: str
    factors: Factors
    specification: dict[str, Any]
    estimated_memory_bytes: int
    baseline: bool
    place: Origin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One replicate of a treatment and its place in the study.

    `block` counts from 1, `position` (in the block) and `rank` (in the study) from 0. Warm-ups are
    counted apart as replicates, have the first ranks, and are all of block 0.
    """

    experiment: str
    treatment: str
    replicate: int
    warm_up: bool
    block: int
    position: int
    rank: int


Levels: TypeAlias = "dict[str, tuple[Level, ...]]"

QUIET_WAIT_S = 2.0
"""How long a run waits for a quiet machine at most, where a study does not say."""

MARGIN = 0.05
"""What counts as equivalent in practice, where a study does not say."""


def build_study(
    config: Json, experiments: Sequence[ExperimentGrid], treatments: Sequence[Treatment]
) -> Study:
    """Make the study of a config whose experiments and treatments are built already."""
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
        treatments=tuple(treatments),
    )


def build_experiment(
    experiment: Json, stages: Any, constants: Factors, beside: Path | None, place: Origin | None
) -> ExperimentGrid:
    """Make one experiment; `stages` are those of its workflow, `beside` is the config's folder."""
    given = experiment.get("factors", {})
    include = experiment.get("include", [])
    listed = {name: _listed(factor) for name, factor in given.items()}
    # What is included may be named by the baseline, too.
    named = {n: _distinct([*levels, *_included(n, include)]) for n, levels in listed.items()}
    template = {key: experiment[key] for key in SETTINGS if key in experiment}
    return ExperimentGrid(
        name=experiment["name"],
        workflow=experiment["workflow"],
        template={"stages": stages, **template},
        factors=tuple(_build_factor(name, given[name], listed) for name in given),
        exclude=tuple(_resolve(entry, listed) for entry in experiment.get("exclude", [])),
        include=tuple(include),
        baseline=_resolve(experiment.get("baseline", {}), named),
        constants=constants,
        beside=beside,
        place=place,
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
