"""What a checked config means: frozen values that the other steps of the design work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Level: TypeAlias = "str | int | float | bool | list[Any] | None"
"""One value of a factor: a scalar, or a list of scalars (for `preload` and `cpus`)."""

Factors: TypeAlias = "dict[str, Level]"
"""One level for each factor that applies, in the order in which the factors are declared."""


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

    `template` is the specification's variable part (stages and what `schema.SETTINGS` names) with
    the placeholders still in it; `exclude` gives, for each entry, the levels that it names.
    `beside` is the config's folder, where own handlers and files of tasks lie, if it is known.
    """

    name: str
    workflow: str
    template: Mapping[str, Any]
    factors: tuple[Factor, ...]
    exclude: tuple[Mapping[str, tuple[Level, ...]], ...]
    include: tuple[Factors, ...]
    baseline: Mapping[str, tuple[Level, ...]]
    beside: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A checked config; made by `config.check_config` alone.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """One level of each factor that applies, with the full specification of its runs."""

    experiment: str
    id: str
    factors: Factors
    specification: dict[str, Any]
    estimated_memory_bytes: int
    baseline: bool


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
