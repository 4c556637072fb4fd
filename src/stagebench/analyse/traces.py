"""The raw records of runs, read and checked, and how runs relate to each other.

Runs relate by the order of their starts, by overlap in time, by the baseline of their block, and by
which run of a treatment figures show.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from stagebench import store
from stagebench.analyse.run_file import check_run
from stagebench.errors import StoreError
from stagebench.records import (
    IMPORTED,
    MET_NODE,
    TRAFFIC,
    DiagnosisRecord,
    EmulatedRecord,
    EventRecord,
    Imports,
    MemorySample,
    MetNode,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TaskRecord,
    Traffic,
    TransitionRecord,
    WorkerRecord,
    find_missing,
    read_imports,
)
from stagebench.task_list import count_tasks
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from stagebench.units import Nanoseconds, Seconds


Record = TypeVar("Record")
Detail = TypeVar("Detail")

OVERFLOW = "queue_overflow"
"""The event of a bounded queue that took one task more than its bound."""

REPEATED = (OVERFLOW, IMPORTED, MET_NODE, TRAFFIC)
"""Events that are no moments of a run, which has each of those once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A run without its records: `run.json` and its entry in the plan.

    Compared by identity, so that results for a trace can be cached.
    """

    planned: dict[str, Any]
    baseline: bool
    run: dict[str, Any]

    @property
    def key(self) -> dict[str, Any]:
        """Experiment, treatment and replicate."""
        return {name: self.planned[name] for name in ("experiment", "treatment", "replicate")}

    @property
    def is_ok(self) -> bool:
        """Whether every task of the run succeeded."""
        return bool(self.run["status"] == "ok")

    @property
    def node(self) -> str:
        """The machine that the run was on, among those that share a study; "" if unknown."""
        return str(self.run["environment"].get("node") or "")

    @property
    def specification(self) -> dict[str, Any]:
        """The specification that was measured."""
        return dict(self.run["specification"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace(Head):
    """One run: its entry in the plan, `run.json` and all records.

    `tasks` has how each task ended in each stage, `attempts` the repeated attempts before that.
    `events` maps the name of a moment to its time; a run that ended early lacks some. `overflows`
    counts, by stage, how often a queue took more than its bound because the run would otherwise
    have stalled. `imports` has, by stage, what workers imported during their first tasks.
    `diagnosis` has the calls of handlers, if the run diagnoses. `nodes` are those beside main's,
    and `traffic` is what the link of each node has carried.
    """

    tasks: tuple[TaskRecord, ...]
    attempts: tuple[TaskRecord, ...]
    workers: tuple[WorkerRecord, ...]
    events: dict[str, Nanoseconds]
    overflows: dict[str, int]
    imports: dict[str, list[Imports]]
    processes: tuple[ProcessRecord, ...]
    transitions: tuple[TransitionRecord, ...]
    reads: tuple[ReadRecord, ...]
    sweeps: tuple[SweepRecord, ...]
    samples: tuple[MemorySample, ...]
    emulated: tuple[EmulatedRecord, ...]
    diagnosis: tuple[DiagnosisRecord, ...]
    nodes: tuple[MetNode, ...] = ()
    traffic: tuple[Traffic, ...] = ()

    @property
    def head(self) -> Head:
        """The run without its records."""
        return Head(planned=self.planned, baseline=self.baseline, run=self.run)

    @property
    def submitted_ns(self) -> Nanoseconds | None:
        """The first submission, including those of repeated attempts."""
        records = (*self.attempts, *self.tasks)
        moments = [record.submitted_ns for record in records if record.submitted_ns is not None]
        return min(moments, default=None)

    @property
    def origin_ns(self) -> Nanoseconds | None:
        """Zero of the run's time axis: the workflow's start, or else the first submission."""
        if "workflow_started" in self.events:
            return self.events["workflow_started"]
        return self.submitted_ns


class Request(NamedTuple):
    """A run to read: its entry in the plan, and that of its treatment.

    `place` is its folder below the one of all such runs, if that does not follow from its names.
    """

    planned: dict[str, Any]
    treatment: dict[str, Any]
    place: str | None = None


def list_requests(plan: dict[str, Any]) -> list[Request]:
    """Return all planned runs but warm-ups, in the order experiment, treatment, replicate."""
    experiments = [experiment["name"] for experiment in plan["experiments"]]
    treatments = list(plan["treatments"])

    def place(request: Request) -> tuple[int, int, int]:
        run = request.planned
        order = experiments.index(run["experiment"]), treatments.index(_treatment_key(run))
        return (*order, int(run["replicate"]))

    return sorted((_request(plan, run) for run in plan["runs"]), key=place)


def list_warm_ups(plan: dict[str, Any]) -> list[Request]:
    """Return all planned warm-ups in the order of the plan."""
    return [_request(plan, run) for run in plan["warm_up_runs"]]


def read_trace(request: Request, raw: Path) -> Trace:
    """Read the folder of one planned run; raises StoreError as `read_head` does."""
    return _read_records(find_folder(request, raw), read_head(request, raw))


def read_head(request: Request, raw: Path) -> Head:
    """Read `run.json` of one planned run.

    Raises StoreError with the folder if it is missing, unreadable or another run's.
    """
    planned, treatment, _ = request
    folder = find_folder(request, raw)
    if not folder.is_dir():
        raise StoreError(f"{folder}: this run of the plan has not been measured")
    run = store.read_run(folder)
    check_run(folder / store.RUN_FILE, run)
    _check_identity(folder, planned, run)
    _check_specification(folder, treatment["specification"], run["specification"])
    # It is equal: runs of a treatment share one.
    shared = run | {"specification": treatment["specification"]}
    return Head(planned=planned, baseline=bool(treatment["baseline"]), run=shared)


def read_lone(folder: Path) -> Trace:
    """Read a run by its folder alone, without the plan of its study; raises StoreError."""
    run = store.read_run(folder)
    check_run(folder / store.RUN_FILE, run)
    planned = {name: run[name] for name in ("experiment", "treatment", "replicate", "warm_up")}
    return _read_records(folder, Head(planned=planned, baseline=False, run=run))


def span_s(start_ns: Nanoseconds | None, end_ns: Nanoseconds | None) -> Seconds | None:
    """Return the time between two moments; None if either was not observed."""
    return None if start_ns is None or end_ns is None else to_seconds(end_ns - start_ns)


def _request(plan: dict[str, Any], run: dict[str, Any]) -> Request:
    return Request(run, plan["treatments"][_treatment_key(run)])


def _treatment_key(run: dict[str, Any]) -> str:
    return f"{run['experiment']}/{run['treatment']}"


def find_folder(request: Request, raw: Path) -> Path:
    """Return the folder of a planned run."""
    if request.place is not None:
        return raw / request.place
    run = request.planned
    name = f"{'w' if run['warm_up'] else 'r'}{run['replicate']}"
    return raw / str(run["experiment"]) / str(run["treatment"]) / name


def _read_records(folder: Path, head: Head) -> Trace:
    read = _RunReader(folder, head.run)
    tasks = read.records(store.TASKS_FILE, TaskRecord)
    attempts = read.records(store.ATTEMPTS_FILE, TaskRecord)
    events = read.records(store.EVENTS_FILE, EventRecord)
    emulates = "emulate" in head.run["specification"]["sampler"]
    diagnoses = "diagnose" in head.run["specification"]
    trace = Trace(
        planned=head.planned,
        baseline=head.baseline,
        run=head.run,
        tasks=tasks,
        attempts=attempts,
        workers=read.records(store.WORKERS_FILE, WorkerRecord),
        events={e.event: e.time_ns for e in events if e.event not in REPEATED},
        overflows=Counter(event.stage for event in events if event.event == OVERFLOW),
        imports=_group_imports(folder, events),
        nodes=tuple(_read_details(folder, events, MET_NODE, MetNode.read)),
        traffic=tuple(_read_details(folder, events, TRAFFIC, Traffic.read)),
        processes=read.records(store.PROCESSES_FILE, ProcessRecord),
        transitions=read.records(store.TRANSITIONS_FILE, TransitionRecord),
        reads=read.records(store.READS_FILE, ReadRecord),
        sweeps=read.records(store.SWEEPS_FILE, SweepRecord),
        samples=read.records(store.SAMPLES_FILE, MemorySample),
        emulated=read.records(store.EMULATED_FILE, EmulatedRecord) if emulates else (),
        diagnosis=read.records(store.DIAGNOSIS_FILE, DiagnosisRecord) if diagnoses else (),
    )
    _check_stages(folder, head.run, {store.TASKS_FILE: tasks, store.ATTEMPTS_FILE: attempts})
    if head.is_ok:
        _check_whole(folder, trace, events)
    return trace


def _group_imports(folder: Path, events: Sequence[EventRecord]) -> dict[str, list[Imports]]:
    found: dict[str, list[Imports]] = {}
    named = [event for event in events if event.event == IMPORTED]
    read = _read_details(folder, named, IMPORTED, read_imports)
    for event, imports in zip(named, read, strict=True):
        found.setdefault(event.stage, []).append(imports)
    return found


def _read_details(
    folder: Path, events: Sequence[EventRecord], name: str, read: Callable[[str], Detail]
) -> Iterator[Detail]:
    """Yield what stands in the details of all events of one name; raises StoreError."""
    for event in events:
        if event.event == name:
            try:
                yield read(event.detail)
            except ValueError:
                detail = store.shorten(repr(event.detail), store.LONGEST_QUOTED)
                text = f"{folder / store.EVENTS_FILE}: detail of {name!r} is {detail}"
                raise StoreError(f"{text}; {store.MEASURE_AGAIN}") from None


class _RunReader:
    """Reads the files of a run folder, which must be as they were written."""

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self._folder = folder
        self._written: dict[str, dict[str, Any]] | None = run.get("files")
        # A process that crashed or was killed may not have come as far as opening its files.
        self._ended_early = run["status"] != "ok"

    def records(self, name: str, record_type: type[Record]) -> tuple[Record, ...]:
        """Return the records of a file; raises StoreError if it is not as it was written."""
        path = self._folder / name
        data = store.read_file(path, cut_off=self._ended_early)
        if self._written is not None:
            store.check_file(path, data, self._written.get(name, store.NO_FILE))
        elif not self._ended_early and not data.endswith(b"\n"):
            raise StoreError(f"{path}: its last line is cut off; {store.MEASURE_AGAIN}")
        try:
            records = store.parse_records(path, data, record_type, cut_off=self._ended_early)
            store.check_unique(path, records)
        except StoreError as error:
            raise StoreError(f"{error}; {store.MEASURE_AGAIN}") from None
        return tuple(records)


def _check_whole(folder: Path, trace: Trace, events: Sequence[EventRecord]) -> None:
    """Check that an ok run has all its records; raises StoreError.

    Runs measured before `run.json` described their files are judged by this alone.
    """
    stages = [stage["name"] for stage in trace.specification["stages"]]
    number = count_tasks(trace.specification["tasks"])
    ended = ((record.task, record.stage) for record in trace.tasks)
    problem = find_missing(number, stages, ended, events) or _find_torn_sweeps(trace)
    if problem is not None:
        raise StoreError(
            f"{folder}: recorded as ok, but {problem}: the run ended early, or a file was changed"
            f" since; {store.MEASURE_AGAIN}"
        )


def _find_torn_sweeps(trace: Trace) -> str | None:
    """Say where sweeps, samples and processes contradict each other; None if they do not."""
    read = Counter(sample.sweep for sample in trace.samples)
    if read != Counter({s.sweep: s.processes for s in trace.sweeps if s.kind != "held"}):
        return "the samples are not those of the sweeps"
    if not {sample.pid for sample in trace.samples} <= {each.pid for each in trace.processes}:
        return "sampled processes have no record"
    return None


def _check_identity(folder: Path, planned: dict[str, Any], run: dict[str, Any]) -> None:
    for name in ("experiment", "treatment", "replicate", "warm_up"):
        if run[name] != planned[name]:
            raise StoreError(
                f"{folder / store.RUN_FILE}: {name} is {run[name]!r}, the plan has"
                f" {planned[name]!r}; {store.MEASURE_AGAIN}"
            )


def _check_specification(folder: Path, planned: dict[str, Any], measured: dict[str, Any]) -> None:
    protocols = measured["protocol"], planned["protocol"]
    if protocols[0] != protocols[1]:
        raise StoreError(
            f"{folder}: measured by protocol {protocols[0]}, the plan has {protocols[1]}: they"
            f" do not measure the same; {store.MEASURE_AGAIN}"
        )
    if measured != planned:
        raise StoreError(
            f"{folder}: measured with a specification that is not the plan's; {store.MEASURE_AGAIN}"
        )


def _check_stages(
    folder: Path, run: dict[str, Any], files: dict[str, tuple[TaskRecord, ...]]
) -> None:
    stages = [stage["name"] for stage in run["specification"]["stages"]]
    for name, records in files.items():
        unknown = sorted({record.stage for record in records} - set(stages))
        if unknown:
            raise StoreError(f"{folder / name}: unknown stages {unknown}; the run has {stages}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interval:
    """The lifetime of a measured process, on the monotonic clock and on the wall clock."""

    start_ns: Nanoseconds
    end_ns: Nanoseconds
    start: datetime
    end: datetime

    def meets(self, other: _Interval) -> bool:
        """Whether both lived at once.

        Both clocks must agree: the monotonic clock restarts at boot, the wall clock can be set.
        """
        monotonic = self.start_ns < other.end_ns and other.start_ns < self.end_ns
        return monotonic and self.start < other.end and other.start < self.end


def started_ranks(runs: Sequence[Head]) -> list[int]:
    """Return the rank of every run, from 0, in the order of their starts."""
    moments = [datetime.fromisoformat(head.run["started_at"]) for head in runs]
    order = sorted(range(len(runs)), key=moments.__getitem__)
    ranks = {index: rank for rank, index in enumerate(order)}
    return [ranks[index] for index in range(len(runs))]


def count_overlaps(runs: Sequence[Head]) -> list[int | None]:
    """Count, for every run, the other runs measured at the same time on the same node."""
    intervals = [_interval(head) for head in runs]
    counts = [None if interval is None else 0 for interval in intervals]
    for node in {head.node for head in runs}:
        own = [
            interval if head.node == node else None
            for head, interval in zip(runs, intervals, strict=True)
        ]
        for one, other in _meetings(own):
            for index in (one, other):
                counts[index] = (counts[index] or 0) + 1
    return counts


def choose_shown(runs: Sequence[Head], makespans: Sequence[Seconds | None]) -> list[bool]:
    """Mark each treatment's run of median makespan; of the middle two, the faster one.

    Only ok runs have a makespan here; other runs are never shown.
    """
    groups: dict[tuple[str, str], list[tuple[Seconds, int]]] = {}
    for index, (head, makespan) in enumerate(zip(runs, makespans, strict=True)):
        if makespan is not None:
            group = head.planned["experiment"], head.planned["treatment"]
            groups.setdefault(group, []).append((makespan, index))
    chosen = {sorted(group)[(len(group) - 1) // 2][1] for group in groups.values()}
    return [index in chosen for index in range(len(runs))]


def makespan_ratios(
    runs: Sequence[Head], makespans: Sequence[Seconds | None]
) -> list[float | None]:
    """Divide every ok run's makespan by that of the baseline in the same block and on its node.

    Only ok runs have a makespan here. The campaign has to be the same, too.
    """
    measured = list(zip(runs, makespans, strict=True))
    baselines = {_pair_key(head): makespan for head, makespan in measured if head.baseline}
    ratios: list[float | None] = []
    for head, own in measured:
        base = baselines.get(_pair_key(head))
        ratios.append(own / base if own is not None and base else None)
    return ratios


def _pair_key(head: Head) -> tuple[str, int, str | None, str]:
    planned = head.planned
    return planned["experiment"], planned["block"], head.run["campaign"], head.node


def _meetings(intervals: Sequence[_Interval | None]) -> Iterator[tuple[int, int]]:
    """Yield every pair that lived at once, without comparing runs that began after one ended."""
    known = [(interval, index) for index, interval in enumerate(intervals) if interval is not None]
    known.sort(key=lambda pair: pair[0].start_ns)
    for place, (one, index) in enumerate(known):
        for later in range(place + 1, len(known)):
            other, other_index = known[later]
            if other.start_ns >= one.end_ns:
                break
            if one.meets(other):
                yield index, other_index


def _interval(head: Head) -> _Interval | None:
    start_ns, end_ns = head.run["exec_ns"], head.run["exited_ns"]
    if start_ns is None or end_ns is None:
        return None
    before = to_seconds(start_ns - head.run["supervisor_started_ns"])
    started_at = datetime.fromisoformat(head.run["started_at"])
    start = started_at + timedelta(seconds=before)
    end = start + timedelta(seconds=to_seconds(end_ns - start_ns))
    return _Interval(start_ns=start_ns, end_ns=end_ns, start=start, end=end)
