"""What a run with one task shows, read from its folder: status, times and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench import store
from stagebench.measure.cause import describe_error
from stagebench.peak.bracket import Bracket, find_brackets
from stagebench.records import EventRecord, TaskRecord
from stagebench.trace.recording import read_recording
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from stagebench.peak.history import MemoryTrace
    from stagebench.trace.recording import Recording
    from stagebench.units import Bytes, Seconds


class StageUse(NamedTuple):
    """What the one task took in a stage; CPU time and growth are None if they are not known.

    `growth_bytes` is the most by which its worker's process grew meanwhile.
    """

    service_s: Seconds
    cpu_s: Seconds | None
    growth_bytes: Bytes | None


class Times(NamedTuple):
    """The times of an ok run: those of its one task, and those around it, supervisor included.

    `touched_bytes` is the memory touched before it. `fresh_page_s` is what the machine takes for a
    fresh page; None if it is not known.
    """

    makespan_s: Seconds
    around_s: Seconds
    stages: Mapping[str, StageUse]
    touched_bytes: Bytes
    fresh_page_s: Seconds | None


class Observed(NamedTuple):
    """One run with one task; `output` has its last lines, and `times` is None, unless it is ok."""

    status: str
    detail: str
    start_up_s: Seconds | None = None
    peak: Bracket = Bracket(None, None, None)
    times: Times | None = None
    output: tuple[str, ...] = ()


NOT_RUN = "not_run"
"""The status of a treatment of which no run was made."""

LAST_LINES = 3
"""Lines of a failed run's output that are shown."""


def not_run(detail: str) -> Observed:
    """Return what is known of a treatment of which no run was made."""
    return Observed(NOT_RUN, " ".join(detail.split()))


def read_observed(folder: Path, beside: Path) -> Observed:
    """Read the folder of a run with one task, of any status."""
    recording = read_recording(folder)
    run = recording.run
    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord, cut_off=True)
    events = store.read_records(folder / store.EVENTS_FILE, EventRecord, cut_off=True)
    ready = next((event.time_ns for event in events if event.event == "ready"), None)
    found = Observed(
        run["status"],
        explain_failure(run, tasks, beside),
        start_up_s=None if ready is None else to_seconds(ready - run["exec_ns"]),
        peak=find_brackets(recording.memory)["tree"],
    )
    if run["status"] != "ok":
        return found._replace(output=_read_output(folder))
    return found._replace(times=_find_times(tasks, recording))


def _find_times(tasks: Sequence[TaskRecord], recording: Recording) -> Times:
    run, makespan_s = recording.run, find_makespan(tasks)
    whole_s = to_seconds(run["supervisor_ended_ns"] - run["supervisor_started_ns"])
    fresh_ns = run["machine_before"]["fresh_page_ns"]
    return Times(
        makespan_s,
        whole_s - run["lock_wait_s"] - makespan_s,
        {record.stage: _describe_use(record, recording) for record in tasks},
        run["warmed"]["touched_bytes"],
        None if fresh_ns is None else to_seconds(fresh_ns),
    )


def find_makespan(tasks: Sequence[TaskRecord]) -> Seconds:
    """Return the time from the first submission to the last receipt, as the tables have it."""
    submitted = [record.submitted_ns for record in tasks if record.submitted_ns is not None]
    received = [record.received_ns for record in tasks if record.received_ns is not None]
    return to_seconds(max(received) - min(submitted))


def explain_failure(run: Mapping[str, Any], tasks: Sequence[TaskRecord], beside: Path) -> str:
    """Return why a run is not ok: of a task that failed, its error with its place."""
    faulty = [record for record in tasks if record.error and record.status != "skipped"]
    if run["status"] != "tasks_failed" or not faulty:
        return str(run["detail"])
    first = faulty[0]
    return f"stage {first.stage!r}: {describe_error(first.error or '', beside)}"


def _read_output(folder: Path) -> tuple[str, ...]:
    text = (folder / store.OUTPUT_FILE).read_text(encoding="utf-8", errors="replace")
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LAST_LINES:]


def _describe_use(record: TaskRecord, recording: Recording) -> StageUse:
    started, finished = record.started_ns or 0, record.finished_ns or 0
    return StageUse(
        service_s=to_seconds(finished - started),
        cpu_s=None if record.cpu_ns is None else to_seconds(record.cpu_ns),
        growth_bytes=_find_growth(record, recording.memory),
    )


def _find_growth(record: TaskRecord, memory: MemoryTrace) -> Bytes | None:
    """Return the most by which the RSS of the task's process can be seen to have grown.

    The first reading after the task counts with its high-water mark, which may be of other work:
    this is an upper end, not a value. None if the process was not read before the task.
    """
    began, ended = record.started_ns, record.received_ns
    if began is None or ended is None:
        return None
    swept = {sweep.sweep: sweep.ended_ns for sweep in memory.sweeps}
    samples = [
        (swept[one.sweep], one.rss_bytes, one.high_water_bytes)
        for one in memory.samples
        if one.pid == record.pid
    ]
    moments = [
        (one.time_ns, one.rss_bytes, one.high_water_bytes)
        for one in memory.transitions
        if one.pid == record.pid
    ]
    readings = sorted(samples + moments)
    before = [rss for at_ns, rss, _ in readings if at_ns <= began]
    during = [rss for at_ns, rss, _ in readings if began < at_ns <= ended]
    after = [high_water for at_ns, _, high_water in readings if at_ns > ended][:1]
    if not before or not (during or after):
        return None
    return max(0, max(during + after) - before[-1])
