"""What limited a pipeline, from the records of its own tasks: floors, and where the time went."""

from __future__ import annotations

import os
import sys
import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from stagebench.model.resources import (
    CORES,
    GIL,
    PATH,
    Floor,
    Line,
    Load,
    Machine,
    bound_makespan,
    find_limit,
)
from stagebench.records import OWN_INTERPRETER
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.pipeline.passage import CallerTimes, KeptRecords
    from stagebench.records import TaskRecord
    from stagebench.runner.stage import Stage
    from stagebench.units import Seconds

WIDTH = 80
READING, LOOP = "reading items", "the loop over the results"
KINDS = {"thread": "thread", "process": "process", "asyncio": "coroutine"}


class StageTimes(NamedTuple):
    """How long tasks of a stage took on average, and how many have failed."""

    tasks: int
    failed: int
    service_s: Seconds
    queue_s: Seconds
    return_s: Seconds
    busy_s: Seconds


def describe_passage(stages: Sequence[Stage], kept: KeptRecords, times: CallerTimes) -> str:
    """Return a table of the stages, and what limits them, as lines of at most 80 characters."""
    began_ns = max((e.time_ns for e in kept.events if e.event == "workflow_started"), default=0)
    records = [one for one in kept.tasks if one.due_ns is None or one.due_ns >= began_ns]
    served = [one for one in records if one.finished_ns is not None]
    if not served:
        return "Nothing was served: there is nothing to say about limits.\n"
    first_ns = min(one.submitted_ns or 0 for one in served)
    makespan_s = (max(one.received_ns or 0 for one in served) - first_ns) / 1e9
    whole = {one.task for one in records}
    lines = [_describe_size(times, len(whole), makespan_s), ""]
    lines += _format_stages(stages, records, makespan_s)
    lines += ["", *_explain(stages, served, times, makespan_s)]
    return "\n".join(lines) + "\n"


def _describe_size(times: CallerTimes, kept: int, makespan_s: Seconds) -> str:
    text = f"{kept} items in {format_seconds(makespan_s)}: {kept / makespan_s:.3g} per second"
    return text if times.items <= kept else f"The last {text} ({times.items} in all)"


def _format_stages(
    stages: Sequence[Stage], records: Sequence[TaskRecord], makespan_s: Seconds
) -> list[str]:
    cells = [("function", "workers", "busy", "service", "waiting", "return", "failed")]
    for stage in stages:
        spent = _spend(one for one in records if one.stage == stage.name)
        busy = spent.busy_s / (stage.workers * makespan_s)
        kind = KINDS[stage.executor]
        plural = ("es" if kind == "process" else "s") if stage.workers > 1 else ""
        cells.append(
            (
                stage.name if len(stage.name) <= 18 else f"{stage.name[:17]}…",
                f"{stage.workers} {kind}{plural}",
                f"{busy:.0%}",
                format_seconds(spent.service_s),
                format_seconds(spent.queue_s),
                format_seconds(spent.return_s),
                str(spent.failed),
            )
        )
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    return [
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _spend(records: Iterable[TaskRecord]) -> StageTimes:
    records = list(records)
    served = [
        (one.submitted_ns or 0, one.started_ns, one.finished_ns, one.received_ns or 0)
        for one in records
        if one.started_ns is not None and one.finished_ns is not None
    ]
    failed = sum(one.status in ("failed", "lost", "timed_out") for one in records)
    if not served:
        return StageTimes(len(records), failed, 0.0, 0.0, 0.0, 0.0)
    n = len(served) * 1e9
    busy_ns = sum(finished - started for _, started, finished, _ in served)
    return StageTimes(
        tasks=len(records),
        failed=failed,
        service_s=busy_ns / n,
        queue_s=sum(started - submitted for submitted, started, _, _ in served) / n,
        return_s=sum(received - finished for _, _, finished, received in served) / n,
        busy_s=busy_ns / 1e9,
    )


def _explain(
    stages: Sequence[Stage], served: Sequence[TaskRecord], times: CallerTimes, makespan_s: Seconds
) -> list[str]:
    """Name what limits, with its floor, or say that nothing is full."""
    floors = list_floors(stages, served, times)
    full = [floor for floor in floors if find_limit([floor], makespan_s) is not None]
    # Busy workers may only wait for what they share: that comes first.
    limit = min(full, key=lambda floor: floor.resource not in (GIL, CORES), default=None)
    highest = limit or floors[0]
    named, floor_s = _name(highest, stages), format_seconds(highest.floor_s)
    whole = format_seconds(makespan_s)
    if limit is None:
        text = f"Nothing is full: {named} would allow {floor_s} of {whole}."
    else:
        text = f"Limited by {named}: at least {floor_s} of {whole}."
    if limit is not None and limit.resource == GIL:
        text += " It is another limit if their code releases the GIL, as NumPy mostly does."
    cpu_s = sum((one.cpu_ns or 0) / 1e9 for one in served)
    text += f" {cpu_s / makespan_s:.2f} of {len(os.sched_getaffinity(0))} cores were in use."
    return textwrap.wrap(text, WIDTH)


def list_floors(
    stages: Sequence[Stage], served: Sequence[TaskRecord], times: CallerTimes
) -> list[Floor]:
    """Return the floors of what has run, highest first.

    That of the GIL is what it would be if threads held it whenever they were on a CPU. The thread
    that reads items and takes results is a resource, too.
    """
    lines = [Line(stage.name, stage.workers, stage.after) for stage in stages]
    shares = {stage.name: stage.executor not in OWN_INTERPRETER for stage in stages}
    loads: dict[tuple[int, str], Load] = {}
    by_task: defaultdict[int, set[str]] = defaultdict(set)
    for one in served:
        service_s = ((one.finished_ns or 0) - (one.started_ns or 0)) / 1e9
        cpu_s = min((one.cpu_ns or 0) / 1e9, service_s)
        held_s = cpu_s if shares[one.stage] else 0.0
        loads[one.task, one.stage] = Load(service_s, cpu_s, held_s)
        by_task[one.task].add(one.stage)
    due_s: Mapping[int, Seconds] = dict.fromkeys(by_task, 0.0)
    machine = Machine(len(os.sched_getaffinity(0)), _has_gil(), None)
    floors = bound_makespan(lines, loads, due_s, machine)
    caller = [Floor(READING, "", times.reading_s), Floor(LOOP, "", times.away_s)]
    return sorted([*floors, *caller], key=lambda floor: -round(floor.floor_s, 9))


def _has_gil() -> bool:
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    return True if is_enabled is None else bool(is_enabled())


def _name(floor: Floor, stages: Sequence[Stage]) -> str:
    if floor.resource == CORES:
        return "the cores"
    if floor.resource == GIL:
        return "the GIL, if threads hold it while they are on a CPU"
    if floor.resource == PATH:
        return "the path of one item"
    if not floor.stage:
        return floor.resource
    workers = next(stage.workers for stage in stages if stage.name == floor.stage)
    some = f"the {workers} workers" if workers > 1 else "the only worker"
    return f"{some} of {floor.stage}"
