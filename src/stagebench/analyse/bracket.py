"""The peak of a memory trace, as a bracket. A stand-in: the lower bounds alone, no upper one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.columns import MEMORY_PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.records import MemorySample, ProcessRecord, SweepRecord
    from stagebench.units import Bytes, Nanoseconds


class MemoryTrace(NamedTuple):
    """What was recorded of the memory of one tree; `sampler` is that of `run.json`."""

    sweeps: Sequence[SweepRecord]
    samples: Sequence[MemorySample]
    processes: Sequence[ProcessRecord]
    transitions: Sequence[Any]
    sampler: Mapping[str, Any]


class Bracket(NamedTuple):
    """Between what and what a peak lies, and when the lower bound was seen; None is not known."""

    lower_bytes: Bytes | None
    lower_ns: Nanoseconds | None
    upper_bytes: Bytes | None


def find_brackets(
    trace: MemoryTrace, since_ns: Nanoseconds | None = None, until_ns: Nanoseconds | None = None
) -> dict[str, Bracket]:
    """Give the bracket of the peak of main, its descendants and both, between two moments."""
    main = {each.pid for each in trace.processes if each.role == "main"}
    of_sweep: dict[int, list[MemorySample]] = {}
    for sample in trace.samples:
        of_sweep.setdefault(sample.sweep, []).append(sample)
    best = dict.fromkeys(MEMORY_PARTS, Bracket(None, None, None))
    for sweep in trace.sweeps:
        if sweep.kind != "pss" or sweep.torn or not _within(sweep, since_ns, until_ns):
            continue
        for part, size in _totals(of_sweep.get(sweep.sweep, []), main).items():
            if size > (best[part].lower_bytes or 0):
                best[part] = Bracket(size, sweep.ended_ns, None)
    return best


def _within(sweep: SweepRecord, since_ns: Nanoseconds | None, until_ns: Nanoseconds | None) -> bool:
    late = since_ns is None or sweep.started_ns >= since_ns
    return late and (until_ns is None or sweep.ended_ns <= until_ns)


def _totals(samples: Sequence[MemorySample], main: set[int]) -> dict[str, Bytes]:
    tree = sum(sample.pss_bytes or 0 for sample in samples)
    own = sum(sample.pss_bytes or 0 for sample in samples if sample.pid in main)
    return {"main": own, "children": tree - own, "tree": tree}
