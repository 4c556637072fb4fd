"""What a makespan would be: replayed from the records of a run, or predicted from those of others.

A prediction has an interval: the smallest and the largest of replays with different runs as
sources, widened by the error that predictions of this study had where the truth was known. What is
beyond that is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from stagebench.errors import ModelError
from stagebench.model.measured import Conditions, Draw, find_hand_overs, find_mix, group_runs
from stagebench.model.replay import Alone, Model, ModelStage, replay
from stagebench.model.sharing import SWITCH_INTERVAL_S, Host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.model.measured import HandOver, HandOvers, MeasuredRun, StageRun
    from stagebench.units import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage as it is to be, and how many times as fast as it was measured.

    If its tasks differ (`varies`), only runs of the same experiment have the same.
    """

    name: str
    after: tuple[int, ...]
    conditions: Conditions
    queue_size: int | None = None
    batch: int = 1
    speed: float = 1.0
    varies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A workflow to predict, and the machine that it runs on; cores None: as many as there were.

    `experiment` is that of the runs that it follows from.
    """

    stages: Sequence[PlannedStage]
    arrivals: Sequence[Seconds]
    cores: int | None = None
    has_gil: bool = True
    switch_s: Seconds = SWITCH_INTERVAL_S
    in_flight: int | None = None
    experiment: str = ""


def describe_run(run: MeasuredRun) -> Scenario:
    """Return the scenario that a run was."""
    return Scenario(
        stages=[
            PlannedStage(
                name=stage.name,
                after=stage.after,
                conditions=stage.conditions,
                queue_size=stage.queue_size,
                batch=stage.batch,
                varies=stage.varies,
            )
            for stage in run.stages
        ],
        arrivals=sorted(run.due_s.values()),
        cores=run.cores or None,
        has_gil=run.has_gil,
        switch_s=run.switch_s,
        in_flight=run.in_flight,
        experiment=run.experiment,
    )


def reproduce(run: MeasuredRun, wake_s: Seconds, handed: HandOvers) -> Seconds:
    """Return the makespan that a run's own records lead to, with hand-overs to processes."""
    draws = [Draw(stage, _look_up(stage.conditions, handed)) for stage in run.stages]
    tasks = sorted(run.due_s, key=lambda task: (run.due_s[task], task))

    def give(place: int, task: int, is_first: bool) -> Alone:  # noqa: FBT001 - the model's order
        del is_first
        return draws[place].give_own(tasks[task])

    stages = [
        _make_stage(planned, stage, run.switch_s, stage.starts_s)
        for planned, stage in zip(describe_run(run).stages, run.stages, strict=True)
    ]
    host = Host(run.free_cores, run.has_gil, run.switch_s, wake_s)
    model = Model(
        stages=stages,
        arrivals=[run.due_s[task] for task in tasks],
        alone=give,
        host=host,
        in_flight=run.in_flight,
    )
    return replay(model).makespan_s


class Reproduced(NamedTuple):
    """The makespan of a run from its own records, for each of `WAKES_S`."""

    run: MeasuredRun
    makespans_s: Sequence[Seconds]


WAKES_S = (0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.006)
"""How long a thread that wakes up may wait for a busy core: a few of the kernel's time slices."""


def reproduce_all(runs: Sequence[MeasuredRun]) -> list[Reproduced]:
    """Reproduce runs with each possible wait of threads that wake up."""
    handed = find_hand_overs(runs)
    return [Reproduced(run, [reproduce(run, wake_s, handed) for wake_s in WAKES_S]) for run in runs]


def fit_wake(reproduced: Sequence[Reproduced]) -> int:
    """Return the place in `WAKES_S` of the wait with which the model reproduces runs best.

    It is the same for all runs of a machine, and no counter of the kernel shows it alone.
    """
    return min(
        range(len(WAKES_S)),
        key=lambda place: median(
            abs(math.log(each.makespans_s[place] / each.run.makespan_s)) for each in reproduced
        ),
    )


def predict(scenario: Scenario, sources: Sequence[MeasuredRun], wake_s: Seconds) -> list[Seconds]:
    """Return the makespan by each replicate of the nearest sources; raises ModelError without."""
    chosen = [_choose(stage, sources, scenario.experiment) for stage in scenario.stages]
    most = max(len(found) for found in chosen)
    host = _find_host(scenario, sources, wake_s)
    handed = find_hand_overs(sources)
    return [
        _predict_once(
            scenario, [found[number % len(found)] for found in chosen], sources, host, handed
        )
        for number in range(most)
    ]


def _look_up(conditions: Conditions, handed: HandOvers) -> HandOver | None:
    return None if conditions.shares_gil else handed.get(conditions.handed)


class Source(NamedTuple):
    """A stage of a run that a prediction draws from."""

    run: MeasuredRun
    stage: StageRun


def _find_host(scenario: Scenario, sources: Sequence[MeasuredRun], wake_s: Seconds) -> Host:
    """Return the machine of a scenario: others take from it what they took from full runs."""
    known = [run for run in sources if run.cores]
    cores = scenario.cores or max((run.cores for run in known), default=math.inf)
    lost = [run.cores - run.free_cores for run in known if _is_full(run)]
    typical = median(lost or [run.cores - run.free_cores for run in known] or [0.0])
    return Host(max(0.1, cores - typical), scenario.has_gil, scenario.switch_s, wake_s)


def _is_full(run: MeasuredRun) -> bool:
    return run.cpu_s >= 0.75 * run.cores * run.makespan_s


def _predict_once(
    scenario: Scenario,
    chosen: Sequence[Source],
    sources: Sequence[MeasuredRun],
    host: Host,
    handed: HandOvers,
) -> Seconds:
    draws = [
        Draw(
            source.stage,
            _look_up(planned.conditions, handed),
            _find_workers(planned, source.stage, sources, for_starts=False),
        )
        for planned, source in zip(scenario.stages, chosen, strict=True)
    ]
    starting = [
        _find_workers(planned, source.stage, sources, for_starts=True)
        for planned, source in zip(scenario.stages, chosen, strict=True)
    ]
    shares = [1 / stage.speed for stage in scenario.stages]

    def give(place: int, task: int, is_first: bool) -> Alone:  # noqa: FBT001 - the model's order
        alone = draws[place].give_any(task, is_first=is_first)
        return alone._replace(serve_s=alone.serve_s * shares[place])

    model = Model(
        stages=[
            _make_stage(
                planned,
                source.stage,
                scenario.switch_s,
                _spread_starts(alike, planned.conditions.workers),
            )
            for planned, source, alike in zip(scenario.stages, chosen, starting, strict=True)
        ],
        arrivals=scenario.arrivals,
        alone=give,
        host=host,
        in_flight=scenario.in_flight,
    )
    return replay(model).makespan_s


def _make_stage(
    planned: PlannedStage, source: StageRun, switch_s: Seconds, starts_s: tuple[Seconds, ...]
) -> ModelStage:
    measured = source._replace(conditions=planned.conditions)
    return ModelStage(
        name=planned.name,
        workers=planned.conditions.workers,
        mix=find_mix(measured, switch_s),
        after=planned.after,
        queue_size=planned.queue_size,
        batch=planned.batch,
        starts_s=starts_s,
        pins=planned.conditions.executor == "process",
    )


def _choose(stage: PlannedStage, sources: Sequence[MeasuredRun], experiment: str) -> list[Source]:
    """Return the stage in the runs of the treatment whose conditions resemble the wanted most.

    Only the same handler with the same parameters and interpreter counts, of all tasks. The
    executor matters more than the start method, and that more than the number of workers.
    """
    wanted = stage.conditions
    same = [
        Source(run, each)
        for run in sources
        for each in run.stages
        if each.conditions.work == wanted.work and each.served
        if each.varies == stage.varies and (not stage.varies or run.experiment == experiment)
    ]
    if not same:
        raise ModelError(
            f"stage {stage.name!r}: no other run has the handler {wanted.handler!r} with the same"
            f" parameters{' and interpreter' * bool(wanted.python)}; allowed: handlers and"
            " parameters that were measured"
        )
    same.sort(
        key=lambda source: (
            *_distance(stage, source),
            source.run.experiment != experiment,
            source.run.key,
        )
    )
    nearest = same[0]
    return [
        source
        for source in same
        if source.run.key == nearest.run.key and source.stage.name == nearest.stage.name
    ]


def _distance(stage: PlannedStage, source: Source) -> tuple[bool | float, ...]:
    wanted, other = stage.conditions, source.stage.conditions
    return (
        wanted.executor != other.executor,
        wanted.start_method != other.start_method,
        _times(wanted.workers, other.workers),
        wanted.transport != other.transport,
        wanted.retain != other.retain,
        stage.name != source.stage.name,
    )


def _times(one: int, other: int) -> float:
    return max(one, other) / max(1, min(one, other))


def _find_workers(
    planned: PlannedStage, source: StageRun, sources: Sequence[MeasuredRun], *, for_starts: bool
) -> StageRun:
    """Return the stage whose workers start, or are handed tasks, most as the wanted ones do.

    That is the source itself, unless it differs in what decides: start method or transport.
    """
    wanted, own = planned.conditions, source.conditions
    decides = "start_method" if for_starts else "transport"
    if own.executor == wanted.executor and getattr(own, decides) == getattr(wanted, decides):
        return source
    stages = [stage for run in sources for stage in run.stages if stage.served]

    def distance(stage: StageRun) -> tuple[bool | float, ...]:
        other = stage.conditions
        method = wanted.start_method != other.start_method
        return (
            wanted.executor != other.executor,
            method if for_starts else wanted.transport != other.transport,
            wanted.python != other.python,
            wanted[:2] != other[:2],
            method,
            _times(wanted.workers, other.workers),
            wanted.retain != other.retain,
        )

    return min(stages, key=distance, default=source)


def _spread_starts(stage: StageRun, workers: int) -> tuple[Seconds, ...]:
    """Return when workers are ready: as measured, or on a line through what was measured."""
    starts = stage.starts_s
    if len(starts) >= workers:
        return starts[:workers]
    step = (starts[-1] - starts[0]) / (len(starts) - 1) if len(starts) > 1 else starts[0] / 2
    return tuple(starts[0] + step * number for number in range(workers))


class Checked(NamedTuple):
    """A prediction of what was measured, too: both in seconds, and the spread of replicates."""

    experiment: str
    treatment: str
    measured_s: Seconds
    predicted_s: Seconds
    spread: float
    reason: str = ""

    @property
    def error(self) -> float:
        """The error as a share of what was measured."""
        return self.predicted_s / self.measured_s - 1

    @property
    def is_within(self) -> bool:
        """Whether it is within a tenth, or within the spread of the replicates."""
        return abs(self.error) <= max(CLOSE, self.spread)


CLOSE = 0.1
"""An error that a prediction may have."""


def leave_one_out(
    reproduced: Sequence[Reproduced], sources: Sequence[MeasuredRun] | None = None
) -> list[Checked]:
    """Predict each treatment that was reproduced from all others in `sources`.

    By default, these are what was reproduced. Treatments that equal it are left out with it.
    """
    found = []
    planned = [
        (run, describe_run(run).stages)
        for run in ([each.run for each in reproduced] if sources is None else sources)
    ]
    for key, runs in group_runs(each.run for each in reproduced).items():
        same = describe_run(runs[0]).stages
        left = [each for each in reproduced if describe_run(each.run).stages != same]
        others = [run for run, stages in planned if stages != same]
        measured = [run.makespan_s for run in runs]
        middle = median(measured)
        spread = (max(measured) - min(measured)) / middle
        try:
            wake_s = WAKES_S[fit_wake(left)] if left else 0.0
            predicted = median(predict(describe_run(runs[0]), others, wake_s))
            found.append(Checked(*key, middle, predicted, spread))
        except ModelError as error:
            found.append(Checked(*key, middle, math.nan, spread, str(error)))
    return found


def widen(
    makespans: Sequence[Seconds], checked: Sequence[Checked]
) -> tuple[Seconds, Seconds, Seconds]:
    """Return median, low and high end of replays, widened by the errors of known predictions.

    The widening is the error that nine of ten predictions kept to. Without any, the ends are
    infinitely far apart.
    """
    middle = median(makespans)
    errors = sorted(
        abs(math.log(each.predicted_s / each.measured_s)) for each in checked if not each.reason
    )
    if not errors:
        return middle, 0.0, math.inf
    most = errors[min(len(errors) - 1, math.ceil(0.9 * len(errors)) - 1)]
    return middle, min(makespans) * math.exp(-most), max(makespans) * math.exp(most)


def speed_up(scenario: Scenario, stage: str, share: float) -> Scenario:
    """Return the scenario with one stage that takes less: by a share of its time.

    What the makespan then does is the stage's causal profile. Source: C. Curtsinger and E. D.
    Berger, Coz: Finding Code that Counts with Causal Profiling (2015).
    """
    stages = [
        replace(each, speed=each.speed / (1 - share)) if each.name == stage else each
        for each in scenario.stages
    ]
    return replace(scenario, stages=stages)
