"""The processes of a run by role: how many there were, and what one of them takes."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from stagebench.analyse.memory import highest_sweep, split_sweeps, total_sweeps
from stagebench.quantities import SAMPLE_PARTS
from stagebench.records import ROLES, count_processes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagebench.analyse.traces import Trace
    from stagebench.records import MemorySample, ProcessRecord

Row = dict[str, Any]


def summarise_roles(trace: Trace) -> list[Row]:
    """Give one row per role that a process of the run had."""
    by_role = {
        role: [process for process in trace.processes if process.role == role] for role in ROLES
    }
    samples = _samples_by_pid(trace)
    peak = _peak_sweep(trace)
    ready = _ready_samples(trace, samples)
    return [
        trace.key
        | {"role": role, **count_processes(processes)}
        | _at_peak(_of(processes, samples), peak)
        | _largest(_of(processes, samples))
        | _ready([ready[process.pid] for process in processes if process.pid in ready])
        | {"high_water_bytes": _largest_of(process.high_water_bytes for process in processes)}
        for role, processes in by_role.items()
        if processes
    ]


def summarise_ready_workers(trace: Trace) -> Row:
    """Give what one worker process of the run takes when it is ready to serve, as a run's columns.

    A median over the workers of all pools; nothing where workers are threads.
    """
    ready = _ready(list(_ready_samples(trace, _samples_by_pid(trace)).values()))
    return {f"worker_{name}": ready.get(name) for name in ("ready_pss_bytes", "ready_uss_bytes")}


def _samples_by_pid(trace: Trace) -> dict[int, list[MemorySample]]:
    """Give the samples of every process that hold its PSS, in order."""
    samples: dict[int, list[MemorySample]] = {}
    for sample in trace.samples:
        if sample.pss_bytes is not None:
            samples.setdefault(sample.pid, []).append(sample)
    return samples


def _of(
    processes: list[ProcessRecord], samples: dict[int, list[MemorySample]]
) -> list[MemorySample]:
    return [sample for process in processes for sample in samples.get(process.pid, [])]


def _peak_sweep(trace: Trace) -> int | None:
    _, after = split_sweeps(trace, total_sweeps(trace))
    highest = highest_sweep(after)
    return highest.read if highest else None


def _ready_samples(trace: Trace, samples: dict[int, list[MemorySample]]) -> dict[int, MemorySample]:
    """Give of every worker process the sample of the first sweep begun after it was ready."""
    starts = {sweep.sweep: sweep.started_ns for sweep in trace.sweeps}
    main = {process.pid for process in trace.processes if process.role == "main"}
    later = {
        worker.pid: [s for s in samples.get(worker.pid, []) if starts[s.sweep] >= worker.ready_ns]
        for worker in trace.workers
        if worker.pid not in main  # a thread is not a process of its own
    }
    return {pid: found[0] for pid, found in later.items() if found}


def _at_peak(samples: list[MemorySample], peak: int | None) -> Row:
    own = [sample.pss_bytes or 0 for sample in samples if sample.sweep == peak]
    return {} if peak is None else {"at_peak_processes": len(own), "at_peak_pss_bytes": sum(own)}


def _largest(samples: list[MemorySample]) -> Row:
    return {
        f"largest_{part}_bytes": _largest_of(getattr(s, f"{part}_bytes") for s in samples)
        for part in SAMPLE_PARTS
    }


def _ready(samples: list[MemorySample]) -> Row:
    """Give medians over the workers of a run: its pools' workers are alike."""
    known = {part: [getattr(s, f"{part}_bytes") for s in samples] for part in SAMPLE_PARTS}
    return {f"ready_{part}_bytes": median(values) for part, values in known.items() if values}


def _largest_of(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
