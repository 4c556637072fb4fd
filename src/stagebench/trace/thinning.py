"""Which sweeps of a trace are written, so that its folder stays small however long it takes.

While nothing moves, the last of all held sweeps says what each of them says. Beyond an allowance of
bytes, other sweeps are dropped, unless they prove a higher peak. A sweep that is missing makes the
span between two others longer; the bounds of the peak hold for spans of any length.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stagebench.peak.upper_bounds import FAULT_AROUND_BYTES
from stagebench.units import HUGE_PAGE_BYTES, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from stagebench.records import MemorySample, ReadRecord, SweepRecord, TransitionRecord
    from stagebench.units import Bytes

ADVANCE_BYTES: Bytes = 3_000_000
"""So much is written at any rate: most traces are short."""

BYTES_PER_HOUR: Bytes = 5_000_000
"""Allowed on top for each hour, at a CPU budget of 1 %; in proportion at others."""

SAMPLE_BYTES, SWEEP_BYTES, TRANSITION_BYTES = 130, 60, 75
"""About the length of a line, and of one more number in it than usual."""

HELD_INTERVALS = 10
"""Of so many held sweeps in a row one is written; a tracer that is killed may lose the others."""

HELD_SHARE = 1 / 2000
"""A held sweep is not written sooner than after this share of the trace so far …"""

HELD_NS = to_nanoseconds(1)
"""… but at least so often."""

HIGHER = 1.01
"""Sweeps over the allowance are written if they exceed the highest one by this factor."""


READS_SHARE = 1 / 10_000
"""A reading that is not higher is written only after this share of the trace so far."""


class ReadThinning:
    """Passes on the readings of one trace that are worth their bytes; call `flush` at the end.

    A reading that is left out is joined with the next one: its largest charge counts for both.
    """

    def __init__(self, write_reads: Callable[[Sequence[ReadRecord]], None]) -> None:
        self._write_reads = write_reads
        self._began_ns: int | None = None
        self._written_ns = 0
        self._highest = self._most = 0
        self._joined: ReadRecord | None = None

    def add(self, reads: Iterable[ReadRecord]) -> None:
        """Take the next readings, in order of time."""
        kept = []
        for read in reads:
            if self._began_ns is None:
                self._began_ns = read.started_ns
            joined = read if self._joined is None else _join(self._joined, read)
            level = max(joined.anon_bytes + (joined.shmem_bytes or 0), joined.peak_bytes or 0)
            pause_ns = READS_SHARE * (joined.ended_ns - self._began_ns)
            if level > HIGHER * self._highest or joined.ended_ns - self._written_ns >= pause_ns:
                kept.append(self._carry_most(joined, is_written=True))
                self._highest = max(level, self._highest)
                self._written_ns = joined.ended_ns
                self._joined = None
            else:
                self._joined = self._carry_most(joined, is_written=False)
        if kept:
            self._write_reads(kept)

    def _carry_most(self, read: ReadRecord, *, is_written: bool) -> ReadRecord:
        """Hand the largest sum of mapped files on to the next reading that looked at everything."""
        self._most = max(self._most, read.most_mapped_bytes or 0)
        if read.mapped_bytes is None:
            return replace(read, most_mapped_bytes=None)
        most = self._most
        if is_written:
            self._most = 0
        return replace(read, most_mapped_bytes=most)

    def flush(self) -> None:
        """Write what was kept back."""
        if self._joined is not None:
            self._write_reads([self._carry_most(self._joined, is_written=True)])


def _join(earlier: ReadRecord, later: ReadRecord) -> ReadRecord:
    """Return the later reading, for the span of both."""
    return replace(
        later,
        peak_bytes=_largest(earlier.peak_bytes, later.peak_bytes),
        peak_since_ns=earlier.peak_since_ns,
        kernel_peak_bytes=_largest(earlier.kernel_peak_bytes, later.kernel_peak_bytes),
        cache_bytes=_largest(earlier.cache_bytes, later.cache_bytes),
        paged_bytes=later.paged_bytes if later.paged_bytes is not None else earlier.paged_bytes,
    )


def _largest(one: Bytes | None, other: Bytes | None) -> Bytes | None:
    return None if one is None or other is None else max(one, other)


class Thinning:
    """Passes on the records of one trace that are worth their bytes; call `flush` at the end.

    `settings` are those of the sampler: `interval_s` and `cpu_budget`.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        write_sweep: Callable[[SweepRecord], None],
        write_sample: Callable[[MemorySample], None],
    ) -> None:
        self._bytes_per_ns: float = (
            BYTES_PER_HOUR * settings["cpu_budget"] / 0.01 / to_nanoseconds(3600)
        )
        self._held_ns = HELD_INTERVALS * to_nanoseconds(settings["interval_s"])
        self._write_sweep = write_sweep
        self._write_sample = write_sample
        self._bytes: Bytes = 0
        self._began_ns: int | None = None
        self._held: SweepRecord | None = None
        self._written_ns = 0
        self._dropped: tuple[SweepRecord, list[MemorySample]] | None = None
        self._highest: dict[bool | None, Bytes] = {}
        self._marks: dict[int, Bytes] = {}
        self._huge: int | None = None

    def add(self, sweep: SweepRecord, samples: list[MemorySample], main: int | None) -> None:
        """Take the next sweep with its samples, in order of time."""
        if self._began_ns is None:
            self._began_ns = sweep.started_ns
        if sweep.kind == "held":
            self._hold(sweep)
            return
        self._write_held()
        if self._dropped is not None:
            self._keep_marks(*self._dropped)
        is_higher = self._is_higher(sweep, samples, main)
        if is_higher or self._is_allowed(sweep):
            self._write(sweep, samples)
        else:
            self._dropped = sweep, samples

    def count(self, transition: TransitionRecord) -> TransitionRecord:
        """Count a transition, which is written; its mark includes those of dropped sweeps."""
        self._bytes += TRANSITION_BYTES
        if transition.kind == "birth":
            self._marks.pop(transition.pid, None)  # of another process, whose id is used again
        if self._dropped is not None:
            self._keep_marks(*self._dropped)
        mark = self._marks.get(transition.pid, 0)
        if transition.kind != "exit" or mark <= transition.high_water_bytes:
            return transition
        return replace(transition, high_water_bytes=mark)

    def flush(self) -> None:
        """Write what was kept back."""
        self._write_held()
        if self._dropped is not None:
            self._write(*self._dropped)

    def _hold(self, sweep: SweepRecord) -> None:
        if self._dropped is not None:
            if not self._is_allowed(sweep):
                return  # it would refer to a sweep that nobody can read
            self._write(*self._dropped)
        self._held = sweep
        share_ns = HELD_SHARE * (sweep.ended_ns - (self._began_ns or 0))
        pause_ns = max(self._held_ns, min(share_ns, HELD_NS))
        if sweep.ended_ns - self._written_ns >= pause_ns:
            self._write_held()

    def _write_held(self) -> None:
        if self._held is not None:
            self._write(self._held, [])

    def _write(self, sweep: SweepRecord, samples: list[MemorySample]) -> None:
        for sample in samples:
            mark = self._marks.pop(sample.pid, 0)
            higher = mark > sample.high_water_bytes
            self._write_sample(replace(sample, high_water_bytes=mark) if higher else sample)
        self._write_sweep(sweep)
        self._bytes += SWEEP_BYTES + len(samples) * SAMPLE_BYTES
        self._written_ns = sweep.ended_ns
        self._held = self._dropped = None

    def _is_allowed(self, sweep: SweepRecord) -> bool:
        elapsed_ns = sweep.ended_ns - (self._began_ns or 0)
        allowed: float = ADVANCE_BYTES + self._bytes_per_ns * elapsed_ns
        return self._bytes <= allowed

    def _is_higher(self, sweep: SweepRecord, samples: list[MemorySample], main: int | None) -> bool:
        """Whether it proves more than all before, of the tree (None), of main or of the others."""
        if sweep.kind != "pss" or sweep.torn:
            return False
        sums: dict[bool | None, Bytes] = {None: 0, True: 0, False: 0}
        for sample in samples:
            sums[None] += sample.pss_bytes or 0
            sums[sample.pid == main] += sample.pss_bytes or 0
        higher = {
            part: size for part, size in sums.items() if size > HIGHER * self._highest.get(part, 0)
        }
        self._highest |= higher
        return bool(higher)

    def _keep_marks(self, sweep: SweepRecord, samples: list[MemorySample]) -> None:
        """Keep the high-water marks that a dropped sweep reset, for the next record.

        A mark says nothing about the time from its reading to its reset; page faults do.
        """
        is_huge = sweep.huge_faults is None or sweep.huge_faults != self._huge
        self._huge = sweep.huge_faults
        fault = HUGE_PAGE_BYTES if is_huge else FAULT_AROUND_BYTES
        for sample in samples:
            if sample.mark_reset:
                mark = sample.high_water_bytes + (sample.faults - sample.faults_before) * fault
                self._marks[sample.pid] = max(mark, self._marks.get(sample.pid, 0))
