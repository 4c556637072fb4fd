"""A checked study: its experiments as grids, their treatments, and the order of its runs.

- Grids: factors × levels → treatments, by pure functions that expect checked experiments.
- Treatment ids: readable and stable, such as p2-fork, p5-spawn-retain and t1-numpy. An id depends
  only on the treatment's own levels, so adding a level or a treatment never renames another one.
- Order of runs: randomised complete blocks over all treatments of the study.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from stagebench.design.levels import level_key, level_text, matches, named_levels
from stagebench.design.schema_errors import SETTINGS
from stagebench.design.specification import build_specification, estimate_memory
from stagebench.engines.support import OWN, describe_missing, find_missing
from stagebench.errors import ConfigError
from stagebench.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stagebench.design.levels import Factors, Level
    from stagebench.design.problems import Origin

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A named variable of an experiment.

    `when`: the levels of other factors for which it applies. `tags`: text of a level → its word in
    treatment ids.
    """

    name: str
    levels: tuple[Level, ...]
    when: Mapping[str, tuple[Level, ...]]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentGrid:
    """A named grid over one workflow.

    `template` is the variable part of the specification (the stages and the keys in `SETTINGS`),
    with its placeholders; `constants` fill those that no factor fills. `exclude` has the levels
    that each entry names. `same_work` states that all treatments do the same work, though their
    tasks or parameters may differ. `beside` is the config's folder, which holds own handlers and
    task files, or None if unknown; `diagnose` whether runs diagnose its treatments; `place` is
    where the experiment is written.
    """

    name: str
    workflow: str
    template: Mapping[str, Any]
    factors: tuple[Factor, ...]
    exclude: tuple[Mapping[str, tuple[Level, ...]], ...]
    include: tuple[Factors, ...]
    baseline: Mapping[str, tuple[Level, ...]]
    same_work: bool
    constants: Factors
    beside: Path | None
    diagnose: bool
    place: Origin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """When a study stops to measure: if all intervals are as narrow as wanted, or time is up.

    `half_widths` maps quantities to shares of the ratio to the baseline.
    """

    half_widths: Mapping[str, float]
    at_least: int
    time_budget_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A checked config with all its treatments; made by `config.check_config` alone.

    `precision` maps quantities to the half-width wanted for their intervals, those of `until`
    included; `margin` is what counts as equivalent in practice. Both are shares of the ratio to the
    baseline. `replicates` is the largest number of blocks if `until` may stop earlier.
    """

    name: str
    seed: int
    replicates: int
    until: Until | None
    warm_ups: int
    time_limit_s: float
    quiet_wait_s: float
    warm_memory_bytes: int
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

    `block` counts from 1, `position` (in the block) and `rank` (in the study) from 0. Warm-ups have
    replicate numbers of their own, the first ranks, and block 0.
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
"""Default of the longest time that a run waits for a quiet machine."""

WARM_MEMORY = "2 GiB"
"""Default of the most memory that is touched before a run."""

MARGIN = 0.05
"""Default of what counts as equivalent in practice."""


DIAGNOSE = True
"""Default of whether treatments are diagnosed."""


AT_LEAST, AT_MOST = 5, 30
"""Defaults of the numbers of blocks between which a study with `until` stops."""


def build_study(
    config: Json, experiments: Sequence[ExperimentGrid], treatments: Sequence[Treatment]
) -> Study:
    """Make the study of a config from its experiments and treatments."""
    until = _build_until(config) if "until" in config else None
    return Study(
        name=config["study"],
        seed=config["seed"],
        replicates=config.get("at_most", AT_MOST) if until else config["replicates"],
        until=until,
        warm_ups=config.get("warm_ups", 0),
        time_limit_s=float(config["time_limit_s"]),
        quiet_wait_s=float(config.get("quiet_wait_s", QUIET_WAIT_S)),
        warm_memory_bytes=parse_bytes(config.get("warm_memory", WARM_MEMORY) or "0 MiB"),
        precision={name: float(width) for name, width in config.get("precision", {}).items()}
        | (dict(until.half_widths) if until else {}),
        margin=float(config.get("margin", MARGIN)),
        reference=config.get("reference"),
        claims=config.get("claims"),
        allow_insufficient_memory=config.get("allow_insufficient_memory", False),
        experiments=tuple(experiments),
        treatments=tuple(treatments),
    )


def _build_until(config: Json) -> Until:
    budget = config.get("time_budget")
    return Until(
        half_widths={
            SHORT_NAMES.get(name, name): _parse_share(width)
            for name, width in config["until"].items()
        },
        at_least=config.get("at_least", AT_LEAST),
        time_budget_s=None if budget is None else _parse_seconds(budget),
    )


def _parse_seconds(text: str) -> float:
    """Return the time that a number and a unit name: "30 min"."""
    number, unit = text.split()
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def _parse_share(width: str | float) -> float:
    """Return the share that a percentage names: "5 %"; a number is one already."""
    return float(width.rstrip("% ")) / 100 if isinstance(width, str) else float(width)


SHORT_NAMES = {"peak": "tree_peak_bytes"}
"""Names of quantities in `until`, where they differ from those in tables."""


def build_experiment(
    experiment: Json, stages: Any, constants: Factors, beside: Path | None, place: Origin | None
) -> ExperimentGrid:
    """Make one experiment; `stages` are those of its workflow, `beside` is the config's folder."""
    given = experiment.get("factors", {})
    include = experiment.get("include", [])
    listed = {name: _listed(factor) for name, factor in given.items()}
    # The baseline may also name included levels.
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
        same_work=experiment.get("same_work", False),
        constants=constants,
        beside=beside,
        diagnose=experiment.get("diagnose", DIAGNOSE),
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


MOST_TREATMENTS = 20_000
"""Treatments that one experiment's lists of levels may make, before anything is excluded."""


MOST_RUNS = 100_000
"""Runs of a whole study: each is planned, ordered and one of Snakemake's jobs."""


def build_treatment(experiment: ExperimentGrid, factors: Factors, settings: Json) -> Treatment:
    """Make a treatment; `settings` are checked and have its levels filled in."""
    name = treatment_id(factors, experiment.factors)
    specification = build_specification(experiment.name, name, factors, settings, experiment.beside)
    return Treatment(
        experiment=experiment.name,
        id=name,
        factors=factors,
        specification=specification,
        estimated_memory_bytes=estimate_memory(specification, experiment.beside),
        baseline=matches(factors, experiment.baseline),
        place=experiment.place,
    )


def check_memory(treatments: Iterable[Treatment], available_bytes: int, *, allow: bool) -> None:
    """Raise ConfigError that names every treatment that needs more memory than is available."""
    if allow:
        return
    problems = [
        f"{f'{t.place}: ' if t.place else ''}{t.experiment}/{t.id}: needs about"
        f" {format_bytes(t.estimated_memory_bytes)} of memory, this machine has"
        f" {format_bytes(available_bytes)}; make it smaller, exclude it, or set"
        " allow_insufficient_memory: true"
        for t in treatments
        if t.estimated_memory_bytes > available_bytes
    ]
    if problems:
        raise ConfigError(problems)


def check_cpus(treatments: Iterable[Treatment], usable: Collection[int]) -> None:
    """Refuse treatments on CPUs that the machine does not have; raises ConfigError naming each."""
    problems = []
    for one in treatments:
        lacking = set(one.specification["process"]["cpus"] or ()).difference(usable)
        if lacking:
            place = f"{one.place}: " if one.place else ""
            text = f"no CPU {', '.join(map(str, sorted(lacking)))} for process.cpus"
            allowed = ", ".join(map(str, sorted(usable)))
            problems.append(f"{place}{one.experiment}/{one.id}: {text}; allowed: {allowed}")
    if problems:
        raise ConfigError(problems)


def check_engines(treatments: Iterable[Treatment]) -> None:
    """Refuse engines that are not installed; raises ConfigError naming each, and its extra."""
    lacking: dict[str, Treatment] = {}
    for one in treatments:
        engine = one.specification.get("engine", OWN)
        if engine not in lacking and find_missing(engine):
            lacking[engine] = one
    problems = [
        f"{f'{one.place}: ' if one.place else ''}{one.experiment}/{one.id}:"
        f" {describe_missing(engine, find_missing(engine))}"
        for engine, one in lacking.items()
    ]
    if problems:
        raise ConfigError(problems)


def usable_cpus() -> frozenset[int]:
    """Return the CPUs that a process here may ask for, also beyond its own affinity."""

    def widen() -> frozenset[int]:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(_MOST_CPUS))
        return frozenset(os.sched_getaffinity(0))

    # Affinity is a thread's own, and this one ends with what it has changed.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(widen).result()


_MOST_CPUS = 8192


def expand_grid(experiment: ExperimentGrid) -> list[Factors]:
    """List the treatments of an experiment: those not excluded, then those included."""
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
    """Count the combinations of levels without making them all.

    Only factors linked by conditions are combined, up to the most that an experiment may have:
    above that the count is a lower bound.
    """
    linked = {name for factor in factors if factor.when for name in (factor.name, *factor.when)}
    free = prod(len(factor.levels) for factor in factors if factor.name not in linked)
    bound = [factor for factor in factors if factor.name in linked]
    return free * sum(1 for _ in islice(combine_levels(bound), MOST_TREATMENTS + 1))


def find_unsuited(factors: Factors, declared: Sequence[Factor]) -> tuple[list[str], list[str]]:
    """Return the factors that a treatment lacks and those that it has but that do not apply."""
    applying = {factor.name for factor in declared if _applies(factor, factors)}
    lacking = [factor.name for factor in declared if factor.name in applying - factors.keys()]
    return lacking, [name for name in factors if name not in applying]


def treatment_key(factors: Factors) -> Hashable:
    """Return a key that is equal for treatments with the same levels."""
    return frozenset((name, level_key(level)) for name, level in factors.items())


def _conditions_first(factors: Sequence[Factor]) -> list[Factor]:
    """Order factors so that each comes after the ones that its condition names."""
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


_LETTERS = {"thread": "t", "process": "p", "interpreter": "i", "asyncio": "a"}
"""First letter of an id such as t1, p5, i2 or a9, which names executor and number of workers."""

_FIRST = ("executor", "workers", "start_method")
"""Factors that come first in an id, without their names."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def treatment_id(factors: Factors, declared: Iterable[Factor]) -> str:
    """Return the id of the treatment with these levels.

    An experiment without factors has one treatment, "only". A treatment whose levels all add
    nothing to the id is "plain".
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
    """Report whether an id can be a folder name on every system."""
    return _ID.fullmatch(name) is not None


def _pool_word(factors: Factors, tags: Mapping[str, str | None]) -> str:
    """Return executor and workers as one word if both apply and neither has a tag."""
    letter = _LETTERS.get(level_text(factors.get("executor")), "")
    both = letter and "workers" in factors
    tagged = any(tags.get(name) is not None for name in ("executor", "workers"))
    return f"{letter}{level_text(factors['workers'])}" if both and not tagged else ""


def _word(name: str, level: Level, tag: str | None) -> str:
    if tag is not None:
        return tag
    if isinstance(level, bool):
        return name if level else ""
    if name == "python" and isinstance(level, str):
        return _python_word(level)
    text = "unset" if level is None else level_text(level).replace(".", "_") or "empty"
    if name == "workers":
        return f"w{text}"
    return text if name in _FIRST else f"{name}-{text}"


def _python_word(level: str) -> str:
    """Return the word for an interpreter: of a path, the name of its environment's folder."""
    *above, program = level.split("/")
    name = above[-2] if above[1:] and above[-1] == "bin" else program
    word = re.sub("[^a-z0-9_-]", "_", name.lower())
    return word if word.startswith("python") else f"python-{word}"


def order_runs(study: Study, treatments: Sequence[Treatment]) -> tuple[PlannedRun, ...]:
    """Plan every replicate of every treatment, in rank order.

    Block k holds replicate k of each treatment, in an order drawn from (seed, k) alone, so more
    replicates leave earlier blocks as they are.
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
    """Plan the warm-ups of every treatment, in rounds before the first block.

    Each round has every treatment once, in its own random order.
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
    # A text as seed is hashed (SHA-512), so neighbouring seeds and blocks give unrelated orders.
    generator = random.Random(seed)
    return generator.sample(ids, k=len(ids))
