"""What workers did and what tasks waited for, as the rows and arrows of a timeline.

Every worker has a row, with its real process and thread: its start, and for each task hand-over to
it, service, and hand-over back. Coroutines share a thread, so they are spread over rows of made-up
threads, as many as were busy at once.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from itertools import chain, count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.tasks import find_first, list_steps, list_waits, number_workers, task_times
from stagebench.export.trace_events import FIRST_FREE, Track, name_process, name_track
from stagebench.units import to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stagebench.analyse.traces import Trace
    from stagebench.export.trace_events import Event, EventMaker
    from stagebench.records import TaskRecord, WorkerRecord
    from stagebench.units import Nanoseconds

RUN_PID = FIRST_FREE
"""The group of what no single process does: phases, queues, and what waits in them."""

_PHASES = Track(RUN_PID, RUN_PID)
_OWN_TRACKS = FIRST_FREE + 100

MOST_AT_ONCE = 100
"""If more tasks wait at once, their rows would fill the viewer; the queue's counter remains."""

LEAST_SEEN = 0.002
"""Waits that are all shorter than this share of the run would be rows of nothing."""


class Service(NamedTuple):
    """One attempt that a worker served; `began_ns` is when its hand-over to the worker began."""

    record: TaskRecord
    began_ns: Nanoseconds
    started_ns: Nanoseconds
    ended_ns: Nanoseconds


class Lane(NamedTuple):
    """A row: what a worker served there, in order, without overlaps.

    A row `is_shared` by several workers one after another if they had the same id.
    """

    track: Track
    name: str
    place: int
    services: list[Service]
    starts: list[WorkerRecord]
    is_shared: bool


class StageLanes(NamedTuple):
    """One stage with its rows, and what has to be known about its tasks."""

    stage: str
    after: Sequence[str]
    lanes: list[Lane]
    records: list[TaskRecord]
    parts: Mapping[tuple[int, int], Mapping[str, Any]]


def lay_out(trace: Trace, ended_ns: Nanoseconds) -> list[StageLanes]:
    """Return the rows of all stages of a run, which ended at `ended_ns` at the latest."""
    own = count(_OWN_TRACKS)
    return [
        _lay_out_stage(trace, stage, place, own, ended_ns)
        for place, stage in enumerate(trace.specification["stages"])
    ]


def _lay_out_stage(
    trace: Trace,
    stage: Mapping[str, Any],
    place: int,
    own: Iterator[int],
    ended_ns: Nanoseconds,
) -> StageLanes:
    name = str(stage["name"])
    records = [one for one in (*trace.attempts, *trace.tasks) if one.stage == name]
    waits = list_waits(trace, stage)
    served: defaultdict[Track, list[Service]] = defaultdict(list)
    for record in records:
        if record.started_ns is not None and record.pid is not None:
            send_s = waits.get((record.task, record.attempt), {}).get("send_s", 0.0)
            began_ns = record.started_ns - to_nanoseconds(send_s)
            track = Track(record.pid, record.thread_id or record.pid)
            # Without an end, the runner gave it up, or the run ended meanwhile.
            until_ns = record.finished_ns or record.received_ns or ended_ns
            served[track].append(Service(record, began_ns, record.started_ns, until_ns))
    starts: defaultdict[Track, list[WorkerRecord]] = defaultdict(list)
    for worker in trace.workers:
        if worker.stage == name:
            starts[Track(worker.pid, worker.thread_id)].append(worker)
    uses = Counter(Track(worker.pid, worker.thread_id) for worker in trace.workers)
    numbers = number_workers(trace, stage)
    lanes: list[Lane] = []
    for track in sorted({*served, *starts}, key=lambda one: _place(numbers, one)):
        rows = _spread(sorted(served[track], key=lambda one: one.began_ns)) or [[]]
        for number, services in enumerate(rows):
            row = track if number == 0 else Track(track.pid, next(own))
            title, order = f"{name} {len(lanes) + 1}", place * 100_000 + len(lanes)
            own_starts = [] if number else starts[track]
            lanes.append(Lane(row, title, order, services, own_starts, uses[row] > 1))
    return StageLanes(name, stage["after"], lanes, records, _describe_parts(trace, name, waits))


def _place(numbers: Mapping[tuple[int | None, int | None], int], track: Track) -> tuple[int, Track]:
    """Return the order of rows: workers by their first service, then those that served nothing."""
    return numbers.get((track.pid, track.tid), len(numbers)), track


def _spread(services: Iterable[Service]) -> list[list[Service]]:
    """Spread services over as few rows as have no overlaps; each takes the first that is free."""
    rows: list[list[Service]] = []
    busy: list[tuple[Nanoseconds, int]] = []
    free: list[int] = []
    for service in services:
        while busy and busy[0][0] <= service.began_ns:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            heapq.heappush(free, len(rows))
            rows.append([])
        row = heapq.heappop(free)
        rows[row].append(service)
        heapq.heappush(busy, (service.ended_ns, row))
    return rows


def _describe_parts(
    trace: Trace, stage: str, waits: Mapping[tuple[int, int], Mapping[str, float]]
) -> dict[tuple[int, int], dict[str, Any]]:
    """Return what is known of an attempt beside its record: parts of its waiting, cold starts."""
    found: defaultdict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
    for key, parts in waits.items():
        found[key] = {f"{name[:-2]} ms": 1000 * span for name, span in parts.items()}
    for key in find_first(trace, stage):
        found[key]["first of its worker"] = True
    for imports in trace.imports.get(stage, ()):
        text = f"{imports.modules} modules, most of {', '.join(imports.packages)}"
        found[imports.task, imports.attempt]["imported"] = text
    return found


def draw_stages(
    make: EventMaker, trace: Trace, stages: Sequence[StageLanes], waits: Sequence[Wait]
) -> Iterator[Event]:
    """Yield phases, rows, arrows, queues and waits of a run."""
    head = trace.run
    letter = "w" if head["warm_up"] else "r"
    title = f"run {head['experiment']}/{head['treatment']}/{letter}{head['replicate']}"
    yield from name_process(RUN_PID, title, 0)
    yield from name_track(_PHASES, "phases of the run", 0)
    yield from _draw_phases(make, trace)
    for stage in stages:
        for lane in stage.lanes:
            yield from _draw_lane(make, stage, lane)
    yield from _draw_flows(make, stages)
    for stage in stages:
        yield from _draw_queue(make, trace, stage.stage)
    drawn = [wait for wait in waits if count_at_once(wait.spans) <= MOST_AT_ONCE]
    for number, (wait, span) in enumerate((w, span) for w in drawn for span in sorted(w.spans)):
        began_ns, ended_ns, task = span
        named = wait.name, "waiting"
        yield from make.span(RUN_PID, named, (began_ns, ended_ns), number, {"task": task})


def _draw_phases(make: EventMaker, trace: Trace) -> Iterator[Event]:
    moments = {"exec": trace.run["exec_ns"], **trace.events, "exited": trace.run["exited_ns"]}
    phases = {
        "starts Python, imports": ("exec", "ready"),
        "workflow": ("workflow_started", "workflow_finished"),
        "closes its workers": ("pools_closing", "pools_closed"),
        "ends": ("finished", "exited"),
    }
    for name, ends in phases.items():
        began_ns, ended_ns = (moments.get(end) for end in ends)
        if began_ns is not None and ended_ns is not None:
            yield make.slice(_PHASES, (name, "phase"), (began_ns, ended_ns), {})


def _draw_lane(make: EventMaker, stage: StageLanes, lane: Lane) -> Iterator[Event]:
    yield from name_track(lane.track, lane.name, lane.place)
    for worker in lane.starts:
        # A thread's id can be used again: the request for the later one is no part of this row.
        asked_ns = worker.started_ns if lane.is_shared else worker.requested_ns
        whole = min(asked_ns, worker.started_ns), worker.ready_ns
        yield make.slice(lane.track, ("is started", "cold start"), whole, {})
        own = worker.started_ns, worker.ready_ns
        yield make.slice(lane.track, ("imports its handler", "cold start"), own, {})
    for service, following in pairwise([*lane.services, None]):
        if service is not None:
            yield from _draw_service(make, stage, lane.track, service)
            if _is_returned_alone(service, following):
                span = service.ended_ns, service.record.received_ns or 0
                args = {"task": service.record.task}
                yield make.slice(lane.track, ("hands over its result", "hand-over"), span, args)


def _is_returned_alone(service: Service, following: Service | None) -> bool:
    """Return whether its result had arrived before its worker took the next task.

    Results of a batch arrive together, when the worker has served all of it.
    """
    received_ns = service.record.received_ns
    if received_ns is None or received_ns <= service.ended_ns:
        return False
    return following is None or received_ns <= following.began_ns


def _draw_service(
    make: EventMaker, stage: StageLanes, track: Track, service: Service
) -> Iterator[Event]:
    record = service.record
    if service.began_ns < service.started_ns:
        span = service.began_ns, service.started_ns
        yield make.slice(track, ("takes a task", "hand-over"), span, {"task": record.task})
    times = task_times(record)
    args = {
        "task": record.task,
        "stage": record.stage,
        "attempt": record.attempt,
        "status": record.status,
        **{f"{name} ms": span and 1000 * span for name, span in times.items() if name != "service"},
        **stage.parts.get((record.task, record.attempt), {}),
        "CPU ms": None if record.cpu_ns is None else record.cpu_ns / 1e6,
        "error": record.error,
        "end": "not recorded" if record.finished_ns is None else None,
    }
    tried = f", attempt {record.attempt}" if record.attempt > 1 else ""
    ended = "" if record.status == "ok" else f": {record.status.replace('_', ' ')}"
    name = f"task {record.task}{tried}{ended}"
    yield make.slice(track, (name, "service"), (service.started_ns, service.ended_ns), args)


def _draw_flows(make: EventMaker, stages: Sequence[StageLanes]) -> Iterator[Event]:
    """Yield an arrow from each served task to the same task in the stages that follow."""
    numbers = count(1)
    found = {stage.stage: _find_last(stage) for stage in stages}
    for stage in stages:
        for task, (track, service) in found[stage.stage].items():
            for before in stage.after:
                if task in found[before]:
                    source, earlier = found[before][task]
                    # Within the slice: its end is no longer a part of it.
                    sent_ns = max(earlier.started_ns, earlier.ended_ns - 1)
                    ends = (source, sent_ns), (track, service.started_ns)
                    yield from make.flow(next(numbers), *ends)


def _find_last(stage: StageLanes) -> dict[int, tuple[Track, Service]]:
    """Return where the last attempt at each task was served."""
    found: dict[int, tuple[Track, Service]] = {}
    for lane in stage.lanes:
        for service in lane.services:
            known = found.get(service.record.task)
            if known is None or known[1].record.attempt < service.record.attempt:
                found[service.record.task] = lane.track, service
    return found


def _draw_queue(make: EventMaker, trace: Trace, stage: str) -> Iterator[Event]:
    origin_ns = trace.origin_ns
    for step in list_steps(trace, stage):
        at_ns = (origin_ns or 0) + to_nanoseconds(step["time_s"])
        values = {"waiting": step["waiting"], "in service": step["in_service"]}
        yield make.counter(RUN_PID, f"queue of {stage}", at_ns, values)


class Wait(NamedTuple):
    """A kind of time between two moments of tasks that no worker spends."""

    name: str
    spans: list[tuple[Nanoseconds, Nanoseconds, int]]


def list_waits_of(stages: Iterable[StageLanes], duration_ns: Nanoseconds) -> list[Wait]:
    """Return what tasks waited for in a run of a duration, where it can be seen."""
    return [
        wait
        for stage in stages
        for wait in _find_waits(stage)
        if max((end - begin for begin, end, _ in wait.spans), default=0) > LEAST_SEEN * duration_ns
    ]


def _find_waits(stage: StageLanes) -> list[Wait]:
    held, waiting, returning = (
        Wait(name.format(stage.stage), [])
        for name in ("held back before {}", "waits for {}", "result of {} on its way")
    )
    began = {
        (service.record.task, service.record.attempt): service.began_ns
        for lane in stage.lanes
        for service in lane.services
    }
    for record in stage.records:
        _add(held, record.due_ns, record.submitted_ns, record.task)
        until_ns = began.get((record.task, record.attempt), record.received_ns)
        _add(waiting, record.submitted_ns, until_ns, record.task)
    for lane in stage.lanes:
        for service, following in pairwise([*lane.services, None]):
            if service is not None and not _is_returned_alone(service, following):
                _add(returning, service.ended_ns, service.record.received_ns, service.record.task)
    return [held, waiting, returning]


def _add(wait: Wait, began_ns: Nanoseconds | None, ended_ns: Nanoseconds | None, task: int) -> None:
    if began_ns is not None and ended_ns is not None and began_ns < ended_ns:
        wait.spans.append((began_ns, ended_ns, task))


def count_at_once(spans: Iterable[tuple[Nanoseconds, Nanoseconds, int]]) -> int:
    """Return how many spans overlap at most."""
    steps = sorted(chain.from_iterable(((b, 1), (e, -1)) for b, e, _ in spans))
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def list_left_out(waits: Iterable[Wait]) -> list[str]:
    """Say which waits are not drawn, because too many overlap."""
    counts = {wait.name: count_at_once(wait.spans) for wait in waits}
    return [
        f"{name}: {most:,} tasks at once" for name, most in counts.items() if most > MOST_AT_ONCE
    ]
