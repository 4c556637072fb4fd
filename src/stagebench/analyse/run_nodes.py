"""The nodes of a run: the tasks, the CPU time, the memory and the traffic of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.memory_course import memory_records
from stagebench.peak.bracket import find_brackets
from stagebench.peak.part_bracket import bracket_parts
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.peak.bracket import Bracket

Row = dict[str, Any]

BYTES_OF_MBIT = 1e6 / 8


def summarise_nodes(trace: Trace) -> list[Row]:
    """Return one row per node of a run that has nodes.

    Nothing is known of a run that ended before all its nodes were there.
    """
    settings = trace.specification.get("nodes")
    if settings is None:
        return []
    numbers = find_numbers(trace)
    span = trace.events.get("workflow_started"), trace.events.get("finished")
    records = memory_records(trace)
    if settings["count"] == 1:
        peaks = {1: find_brackets(records, *span)["tree"]}
    else:
        peaks = bracket_parts(records, numbers, *span)
    traffic = {each.number: each for each in trace.traffic}
    rows = []
    for number in range(1, settings["count"] + 1):
        row = trace.key | {"node_number": number, "cores": settings.get("cores")}
        row["link_bytes_per_s"] = settings.get("link_mbit_s", 0) * BYTES_OF_MBIT or None
        if numbers:
            known = zip(trace.processes, numbers, strict=True)
            pids = {process.pid for process, own in known if own == number}
            row |= _summarise(trace, pids, peaks[number])
        if number in traffic:
            row["sent_bytes"] = traffic[number].sent_bytes
            row["received_bytes"] = traffic[number].received_bytes
        rows.append(row)
    return rows


def find_numbers(trace: Trace) -> list[int]:
    """Return the number of each process's node; nothing if they are not known.

    All that descends from the process that keeps a node's workers is on that node, and all else is
    on the first, with main.
    """
    keepers = {each.pid: each.number for each in trace.nodes}
    if {1, *keepers.values()} != {*range(1, trace.specification["nodes"]["count"] + 1)}:
        return []
    numbers: list[int] = []
    latest: dict[int | None, int] = {}
    for process in trace.processes:  # each after its parent
        number = keepers.get(process.pid) or latest.get(process.parent_pid, 1)
        if latest.setdefault(process.pid, number) != number:
            return []  # a process id that was used on two nodes
        numbers.append(number)
    return numbers


def _summarise(trace: Trace, pids: set[int], peak: Bracket) -> Row:
    own = [task for task in trace.tasks if task.pid in pids]
    cpu_ns = [task.cpu_ns for task in own]
    return {
        "processes": len(pids),
        "workers": sum(worker.pid in pids for worker in trace.workers),
        "tasks_served": len(own),
        "tasks_cpu_s": None if None in cpu_ns else to_seconds(sum(filter(None, cpu_ns))),
        "peak_bytes": peak.lower_bytes,
        "peak_upper_bytes": peak.upper_bytes,
    }
