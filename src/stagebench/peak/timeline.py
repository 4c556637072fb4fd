"""The memory of a tree over time: a lower and an upper line, from cheap readings of its total.

Anonymous and shared memory are what a control group was charged for, or, without a group, what the
processes' own counters prove. The memory of mapped files is known when page tables are walked, and
bounded in between by what processes mapped and unmapped since and until the nearest walks.
docs/method.md has the proofs.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from stagebench.peak.bracket import MemoryTrace
    from stagebench.records import MemorySample, ReadRecord

    Line = NDArray[np.float64]
    Places = NDArray[np.intp]


class Timeline(NamedTuple):
    """Bounds for each reading, in bytes; nan is unknown.

    A reading stands for the span since the one before: `lower` was certainly there when it ended,
    `reached` at some moment of the span, and `upper` holds throughout. They are the tree's;
    `anon_reached` and `anon_upper` leave out mapped files. `main_reached` and `children_reached`
    bound main and the rest. Times are of CLOCK_MONOTONIC.
    """

    began_ns: Line
    ended_ns: Line
    lower: Line
    reached: Line
    upper: Line
    anon_reached: Line
    anon_upper: Line
    main_reached: Line
    children_reached: Line

    def within(self, first: float, last: float) -> Timeline:
        """Return the part whose spans touch a span of time."""
        kept = (self.ended_ns >= first) & (self.began_ns <= last)
        return Timeline(*(line[kept] for line in self))


def draw_timeline(trace: MemoryTrace) -> Timeline | None:
    """Bound the tree's memory at every reading; None if the run has no readings."""
    reads = trace.reads
    if not reads or not trace.processes:
        return None
    drift = trace.sampler.get("group_drift_bytes")
    ended_ns = _line(reads, "ended_ns")
    began_ns = np.concatenate([[trace.processes[0].since_ns], ended_ns[:-1]])
    anon, shared = _line(reads, "anon_bytes"), np.nan_to_num(_line(reads, "shmem_bytes"))
    moves = Moves.of(reads)
    files = _bound_files(_find_walks(trace, moves), moves)
    alone = _is_alone(trace, began_ns, ended_ns)
    charged = np.maximum(0, anon + shared - (drift or 0))
    reached, most = np.maximum(charged, _find_spikes(trace, drift)), _bound_charge(reads, began_ns)
    main = np.nan_to_num(_line(reads, "main_anon_bytes"), nan=np.inf)
    # Without a group, the sum leaves out what is inherited, so that main's share of it is unknown.
    rest = np.zeros(len(reads)) if drift is None else np.maximum(0, anon - drift - main)
    # Shared memory that nobody maps is the tree's, but not main's.
    of_main = np.maximum(0, reached - shared) + files.lower
    return Timeline(
        began_ns=began_ns,
        ended_ns=ended_ns,
        lower=charged + files.lower,
        reached=reached + files.lower,
        upper=most + files.upper,
        anon_reached=reached,
        anon_upper=most,
        main_reached=np.where(alone & (shared == 0), of_main, 0),
        children_reached=rest,
    )


def _find_spikes(trace: MemoryTrace, drift: float | None) -> Line:
    """Bound, from below, the anonymous and shared memory at the moment of each largest charge.

    What else was charged then: at most the largest kernel memory, the page cache that was there and
    what the whole machine added to its own since, and pages in stock, one batch for each CPU.
    """
    reads = trace.reads
    if drift is None:
        return np.zeros(len(reads))
    peak, kernel = _line(reads, "peak_bytes"), _line(reads, "kernel_peak_bytes")
    cache, paged = _line(reads, "cache_bytes"), _line(reads, "paged_bytes")
    found = np.zeros(len(reads))
    known = np.flatnonzero(~np.isnan(paged))
    for before, place in pairwise(known):
        added = paged[place] - paged[before]
        if not np.isnan(kernel[place]):
            others = kernel[place] + cache[place - 1] + added + drift + drift / 2
            found[place] = max(0, peak[place] - others)
    return found


def _line(records: Sequence[ReadRecord], name: str) -> Line:
    values = [getattr(record, name) for record in records]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _is_alone(trace: MemoryTrace, began_ns: Line, ended_ns: Line) -> NDArray[np.bool_]:
    """Return in which spans the tree had no process but main, dying ones included."""
    starts = np.sort([process.since_ns for process in trace.processes[1:]])
    ends = np.sort([process.ended_ns or np.inf for process in trace.processes[1:]])
    born = np.searchsorted(starts, ended_ns, side="right")
    alone: NDArray[np.bool_] = born == np.searchsorted(ends, began_ns)
    return alone


def _bound_charge(reads: Sequence[ReadRecord], began_ns: Line) -> Line:
    """Return the largest charge of each span: that of all kinds is never below that of some."""
    peak, since_ns = _line(reads, "peak_bytes"), _line(reads, "peak_since_ns")
    covers = since_ns <= np.maximum(began_ns, since_ns[0])  # the first is since the group was made
    return np.where(covers, peak, np.nan)


class Moves(NamedTuple):
    """What all processes mapped and unmapped until each complete reading, and where that is known.

    `shared` is the shared memory that a group is charged for, nan if there is none.
    `following` and `previous` are, for every reading, the places among the complete ones that are
    the next and the last to it; a reading that is complete is both.
    """

    started_ns: Line
    ended_ns: Line
    mapped: Line
    unmapped: Line
    shared: Line
    following: Places
    previous: Places

    @classmethod
    def of(cls, reads: Sequence[ReadRecord]) -> Moves:
        """Collect them; before the first and after the last complete reading nothing is known."""
        mapped = _line(reads, "mapped_bytes")
        complete = np.flatnonzero(~np.isnan(mapped))
        places = np.arange(len(reads))
        return cls(
            started_ns=_line(reads, "started_ns")[complete],
            ended_ns=_line(reads, "ended_ns")[complete],
            mapped=mapped[complete],
            unmapped=_line(reads, "unmapped_bytes")[complete],
            shared=_line(reads, "shmem_bytes")[complete],
            following=np.searchsorted(complete, places),
            previous=np.searchsorted(complete, places, side="right") - 1,
        )


class Walks(NamedTuple):
    """The PSS of mapped files in each walk of all processes, in order of time.

    `before` and `after` are the places of the complete readings that enclose it. What moved in
    between is added to and taken from what was read, to bound it.
    """

    before: Places
    after: Places
    lower: Line
    upper: Line


def _find_walks(trace: MemoryTrace, moves: Moves) -> Walks:
    walked: dict[int, list[MemorySample]] = defaultdict(list)
    for sample in trace.samples:
        if sample.file_bytes is not None:
            walked[sample.sweep].append(sample)
    sweeps = [s for s in trace.sweeps if s.sweep in walked and len(walked[s.sweep]) == s.processes]
    started_ns = np.array([sweep.started_ns for sweep in sweeps], dtype=np.float64)
    ended_ns = np.array([sweep.ended_ns for sweep in sweeps], dtype=np.float64)
    before = np.searchsorted(moves.ended_ns, started_ns, side="right") - 1
    after = np.searchsorted(moves.started_ns, ended_ns)
    kept = (before >= 0) & (after < len(moves.mapped))
    before, after = before[kept], after[kept]
    walked_kept = [walked[s.sweep] for s, keep in zip(sweeps, kept, strict=True) if keep]
    files = np.array([_sum(each, "file_bytes") for each in walked_kept], dtype=np.float64)
    shared = np.array([_sum(each, "shmem_bytes") for each in walked_kept], dtype=np.float64)
    # A group is charged for the shared memory that its own processes touched first.
    charged = np.minimum(moves.shared[before], moves.shared[after])
    foreign = np.maximum(0, shared - np.nan_to_num(charged))
    moved = moves.mapped[after] - moves.mapped[before]
    moved += moves.unmapped[after] - moves.unmapped[before]
    of_others = np.where(np.isnan(charged), foreign, 0)
    return Walks(before, after, files + of_others - moved, files + foreign + moved)


def _sum(samples: Iterable[MemorySample], name: str) -> float:
    return sum(getattr(sample, name) or 0 for sample in samples)


class Files(NamedTuple):
    """Bounds of the PSS of mapped files in the span of each reading."""

    lower: Line
    upper: Line


def _bound_files(walks: Walks, moves: Moves) -> Files:
    """Bound mapped files by the last walk before and the first walk after each reading.

    From a walk on, files can have grown by what was mapped, and shrunk by what was unmapped.
    Within one, its own bounds hold. Towards a walk it is the other way round. Before all walks
    nothing was mapped.
    """
    mapped = np.append(moves.mapped, np.inf)
    unmapped = np.append(moves.unmapped, np.inf)
    following, previous = moves.following, moves.previous
    # The span of a reading begins at the reading before it.
    opening = np.concatenate([[-1], previous[:-1]])
    last = np.searchsorted(walks.before, opening, side="right") - 1
    first = np.searchsorted(walks.before, following)
    lower, upper = np.zeros(len(following)), mapped[following]
    known = last >= 0
    place = last[known]
    since = walks.after[place]
    grown = np.maximum(0, mapped[following[known]] - mapped[since])
    upper[known] = np.minimum(upper[known], walks.upper[place] + grown)
    lost = np.maximum(0, unmapped[following[known]] - unmapped[since])
    lower[known] = np.maximum(lower[known], walks.lower[place] - lost)
    known = first < len(walks.before)
    place = first[known]
    until = walks.before[place]
    begins = opening[known]
    lost = unmapped[until] - np.where(begins < 0, 0, unmapped[begins])
    upper[known] = np.minimum(upper[known], walks.upper[place] + lost)
    grown = mapped[until] - np.where(begins < 0, 0, mapped[begins])
    lower[known] = np.maximum(lower[known], walks.lower[place] - grown)
    return Files(lower, upper)
