"""What the tree had for certain, sweep by sweep: the lower ends of the brackets."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from stagebench.analyse.bounds import Kernel
from stagebench.analyse.kept import kept_by, kept_by_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stagebench.analyse.bracket import MemoryTrace
    from stagebench.records import MemorySample, SweepRecord
    from stagebench.units import Bytes, Nanoseconds


class Lower(NamedTuple):
    """PSS that was there at the end of a sweep: of main and children, both at that one moment.

    What they share may be counted with either, so that of a torn sweep only their sum bounds the
    tree; `main_alone` and `children_alone` bound the PSS of each.
    """

    ended_ns: Nanoseconds
    main: Bytes
    children: Bytes
    main_alone: Bytes
    children_alone: Bytes

    def part(self, name: str) -> Bytes:
        """Bound `main`, `children` or `tree`."""
        alone = {"main": self.main_alone, "children": self.children_alone}
        return alone.get(name, self.main + self.children)


def list_lower(trace: MemoryTrace, metric: str = "pss") -> Iterator[Lower]:
    """Bound every PSS sweep in which something was told, in order.

    Where PSS was not to be had `metric` stands for it, or else USS, which is a part of it; torn
    sweeps then tell nothing.
    """
    main = trace.processes[0].pid if trace.processes else None
    by_sweep: defaultdict[int, list[MemorySample]] = defaultdict(list)
    for sample in trace.samples:
        by_sweep[sample.sweep].append(sample)
    kernel = read_kernel(trace) if trace.sampler.get("counts_faults") else None
    huge = trace.sampler.get("huge_faults_before")
    for sweep in trace.sweeps:
        given, huge = _more_huge(sweep, huge)
        if sweep.kind != "pss" or not by_sweep[sweep.sweep]:
            continue
        if not sweep.torn:
            yield from _add_up(sweep, by_sweep[sweep.sweep], main, metric)
        elif kernel is not None and not given:
            yield _bound_torn(sweep, by_sweep[sweep.sweep], main, kernel)


def read_kernel(trace: MemoryTrace) -> Kernel:
    """Give what the sampler recorded of the machine."""
    return Kernel(
        drift=trace.sampler["counter_drift_bytes"],
        page=trace.sampler["page_bytes"],
        anonymous_fault=trace.sampler["anonymous_fault_bytes"],
    )


def _more_huge(sweep: SweepRecord, before: int | None) -> tuple[bool, int | None]:
    """Tell whether the machine may have given huge pages since the last count, and the count."""
    if sweep.huge_faults is None:
        return sweep.kind != "held", before
    return sweep.huge_faults != before, sweep.huge_faults


def _add_up(
    sweep: SweepRecord, samples: Sequence[MemorySample], main: int | None, metric: str
) -> Iterator[Lower]:
    """Add up a sweep in which nothing moved."""
    told = [(sample.pid == main, _told(sample, metric)) for sample in samples]
    known = [(is_main, size) for is_main, size in told if size is not None]
    if known:
        of_main = sum(size for is_main, size in known if is_main)
        of_children = sum(size for is_main, size in known if not is_main)
        yield Lower(sweep.ended_ns, of_main, of_children, of_main, of_children)


def _told(sample: MemorySample, metric: str) -> Bytes | None:
    told: Bytes | None = getattr(sample, f"{metric}_bytes")
    return sample.uss_bytes if told is None else told


def _bound_torn(
    sweep: SweepRecord, samples: Sequence[MemorySample], main: int | None, kernel: Kernel
) -> Lower:
    kept = [(sample.pid == main, kept_by(sample, kernel)) for sample in samples]
    children = sum(each.own for is_main, each in kept if not is_main)
    tree = kept_by_tree(each for _, each in kept)
    alone = max((_of_main(sample, kernel) for sample in samples if sample.pid == main), default=0)
    return Lower(sweep.ended_ns, tree - children, children, alone, children)


def _of_main(sample: MemorySample, kernel: Kernel) -> Bytes:
    """Bound main's PSS: one process is walked at one moment, if it stands still meanwhile."""
    is_still = sample.faults == sample.faults_before and sample.rss_bytes == sample.rss_after_bytes
    if is_still and sample.pss_bytes is not None:
        return sample.pss_bytes
    return kept_by(sample, kernel).own
