"""The memory of a tree over time: a lower and an upper line, from cheap readings of its total.

Anonymous and shared memory are what a control group was charged for, or, without a group, what the
processes' own counters prove. The memory of mapped files is known when page tables are walked, and
bounded in between by what processes mapped and unmapped since and until the nearest walks.
docs/method.md has the proofs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.peak.history import MemoryTrace
    from stagebench.records import MemorySample, ReadRecord, SweepRecord, TransitionRecord
    from stagebench.units import Bytes, Nanoseconds

UNKNOWN = math.nan


class Moment(NamedTuple):
    """Bounds for one reading and the span since the one before; a value is nan if it is unknown.

    `lower` was certainly there when the reading ended, `reached` at some moment of the span, and
    `upper` holds throughout. They are the tree's; `anon_reached` and `anon_upper` leave out mapped
    files. `main_reached` and `children_reached` bound main and the rest from below. Times are of
    CLOCK_MONOTONIC, sizes in bytes.
    """

    began_ns: Nanoseconds
    ended_ns: Nanoseconds
    lower: float
    reached: float
    upper: float
    anon_reached: float
    anon_upper: float
    main_reached: float
    children_reached: float

    def touches(self, first: float, last: float) -> bool:
        """Return whether its span touches a span of time."""
        return self.ended_ns >= first and self.began_ns <= last


def draw_timeline(trace: MemoryTrace) -> list[Moment]:
    """Bound the tree's memory at every reading, in order; empty if the run has no readings."""
    reads = trace.reads
    if not reads or not trace.processes:
        return []
    drift: Bytes | None = trace.sampler.get("group_drift_bytes")
    # A bound by counters holds until they are read again, which begins with their page faults.
    ended = [read.ended_ns if _is_charged(read, drift) else read.started_ns for read in reads]
    began = [trace.processes[0].since_ns, *ended[:-1]]
    files = _bound_files(trace, FileMoves(reads))
    spikes = _find_spikes(reads, drift)
    tops = _find_tops(trace, began, drift)
    columns = began, ended, _list_alone(trace, began), files, spikes, tops
    spans = (Before(*values) for values in zip(*columns, strict=True))
    return [_bound(*pair, drift) for pair in zip(reads, spans, strict=True)]


def _is_charged(read: ReadRecord, drift: Bytes | None) -> bool:
    """Return whether it has the counts of a group, which may be taken away during a run."""
    return read.shmem_bytes is not None and drift is not None


class Before(NamedTuple):
    """What is known of the time before a reading: bounds of mapped files, of a spike, and the top.

    The `top` bounds anonymous and shared memory from above; nan if it is unknown.
    """

    began_ns: Nanoseconds
    ended_ns: Nanoseconds
    is_alone: bool
    files: tuple[float, float]
    spike: float
    top: float


def _bound(read: ReadRecord, span: Before, drift: Bytes | None) -> Moment:
    files_lower, files_upper = span.files
    shared = read.shmem_bytes or 0
    is_charged = _is_charged(read, drift)
    charged = max(0, read.anon_bytes + shared - (drift or 0) * is_charged)
    reached = max(charged, span.spike)
    # A charge of all kinds is never below that of some.
    upper = UNKNOWN if math.isnan(span.top) else max(span.top, reached)
    rest = 0
    # Without a group, the sum leaves out what is inherited, so that main's share is unknown.
    if is_charged and read.main_anon_bytes is not None:
        rest = max(0, read.anon_bytes - (drift or 0) - read.main_anon_bytes)
    return Moment(
        began_ns=span.began_ns,
        ended_ns=span.ended_ns,
        lower=charged + files_lower,
        reached=reached + files_lower,
        upper=upper + files_upper,
        anon_reached=reached,
        anon_upper=upper,
        # Shared memory that nobody maps is the tree's, but not main's.
        main_reached=reached + files_lower if span.is_alone and not shared else 0,
        children_reached=rest,
    )


def _find_tops(
    trace: MemoryTrace, began: Sequence[Nanoseconds], drift: Bytes | None
) -> list[float]:
    """Bound, from above, the anonymous and shared memory of each span; nan if it is unknown.

    The largest charge of a group, or the sum of all processes less what they count too often.
    """
    made_ns = trace.reads[0].peak_since_ns or 0
    shared = SharedPages(trace)
    tops = []
    for read, since_ns in zip(trace.reads, began, strict=True):
        top = UNKNOWN
        # The first peak counts since the group was made.
        covers = read.peak_since_ns is not None and read.peak_since_ns <= max(since_ns, made_ns)
        if read.peak_bytes is not None and _is_charged(read, drift) and covers:
            top = float(read.peak_bytes)
        elif read.peak_bytes is not None and (covers or read is trace.reads[0]):
            top = float(read.peak_bytes - shared.least(since_ns, read.started_ns))
        tops.append(top)
    return tops


class Shared(NamedTuple):
    """By how much the anonymous RSS of all processes exceeded their PSS, in one walk.

    `births_ns` are those of the processes that it walked, in order, and `inherited` adds up what
    the last of them, the last two, ... had inherited at most.
    """

    started_ns: Nanoseconds
    excess: Bytes
    births_ns: list[Nanoseconds]
    inherited: list[Bytes]


class SharedPages:
    """How much anonymous memory all processes share, which the sum of their RSS counts too often.

    A page that a walk finds shared by several processes was shared by them before, since the last
    of them was born: what was once private is shared again only with a new child.
    """

    def __init__(self, trace: MemoryTrace) -> None:
        births: defaultdict[int, list[TransitionRecord]] = defaultdict(list)
        for transition in trace.transitions:
            if transition.kind == "birth":
                births[transition.pid].append(transition)
        excess: defaultdict[int, list[MemorySample]] = defaultdict(list)
        for sample in trace.samples:
            if sample.anon_bytes is not None:
                excess[sample.sweep].append(sample)
        self._walks: list[Shared] = []
        for sweep in trace.sweeps:
            if sweep.sweep in excess:
                self._walks.append(_add_up_shared(sweep, excess[sweep.sweep], births))
        self._started_ns = [walk.started_ns for walk in self._walks]

    def least(self, since_ns: Nanoseconds, until_ns: Nanoseconds) -> Bytes:
        """Bound, from below, what is counted too often in a span of time, by the next walk."""
        place = bisect_left(self._started_ns, until_ns)
        if place == len(self._walks):
            return 0
        walk = self._walks[place]
        later = len(walk.births_ns) - bisect_right(walk.births_ns, since_ns)
        return max(0, walk.excess - (walk.inherited[later - 1] if later else 0))


def _add_up_shared(
    sweep: SweepRecord,
    samples: Sequence[MemorySample],
    births: Mapping[int, Sequence[TransitionRecord]],
) -> Shared:
    if any(sample.swap_bytes for sample in samples):  # comes back one process at a time
        return Shared(sweep.started_ns, 0, [], [])
    born = []
    for sample in samples:
        known = [each for each in births.get(sample.pid, ()) if each.time_ns <= sweep.ended_ns]
        if known:
            born.append((known[-1].time_ns, known[-1].rss_anon_bytes))
    born.sort()
    inherited = list(accumulate(size for _, size in reversed(born)))
    excess = sum(sample.rss_anon_bytes - (sample.anon_bytes or 0) for sample in samples)
    return Shared(sweep.started_ns, excess, [at for at, _ in born], inherited)


def _find_spikes(reads: Sequence[ReadRecord], drift: Bytes | None) -> list[float]:
    """Bound, from below, the anonymous and shared memory at the moment of each largest charge.

    What else was charged then: at most the largest kernel memory, the page cache that was there and
    what the whole machine added to its own since, and pages in stock, a batch for each CPU. A
    reading looks at the machine last, so what it added is known since one before that of the cache.
    """
    found = [0.0] * len(reads)
    known = [place for place, read in enumerate(reads) if read.paged_bytes is not None]
    for place in known:
        read, earlier = reads[place], bisect_left(known, place - 1)
        if (
            drift is None
            or read.peak_bytes is None
            or read.kernel_peak_bytes is None
            or not earlier
        ):
            continue
        before = known[earlier - 1]
        added = (read.paged_bytes or 0) - (reads[before].paged_bytes or 0)
        others = read.kernel_peak_bytes + (reads[place - 1].cache_bytes or 0) + added
        found[place] = max(0, read.peak_bytes - others - drift - drift / 2)
    return found


def _list_alone(trace: MemoryTrace, began: Sequence[Nanoseconds]) -> list[bool]:
    """Return in which spans the tree had no process but main, dying ones included."""
    starts = sorted(process.since_ns for process in trace.processes[1:])
    ends = sorted(process.ended_ns or math.inf for process in trace.processes[1:])
    spans = zip(began, trace.reads, strict=True)
    return [bisect_right(starts, r.ended_ns) == bisect_left(ends, b) for b, r in spans]


class FileMoves:
    """What all processes mapped and unmapped until each complete reading, and where that is known.

    `following` and `previous` are, for every reading, the places among the complete ones that are
    the next and the last to it; a reading that is complete is both. Before the first, nothing had
    been mapped; after the last, anything may have been.
    """

    def __init__(self, reads: Sequence[ReadRecord]) -> None:
        whole = [read for read in reads if read.mapped_bytes is not None]
        self.whole = whole
        self.started_ns = [read.started_ns for read in whole]
        self.ended_ns = [read.ended_ns for read in whole]
        self.mapped = [*(float(read.mapped_bytes or 0) for read in whole), math.inf, 0.0]
        self.unmapped = [*(float(read.unmapped_bytes or 0) for read in whole), math.inf, 0.0]
        self.most = [*(float(read.most_mapped_bytes or 0) for read in whole), math.inf, 0.0]
        self.left = [*(float(read.left_bytes or 0) for read in whole), math.inf, 0.0]
        self.since = [*(read.left_since_sweep for read in whole), None, None]
        counts = list(accumulate(int(read.mapped_bytes is not None) for read in reads))
        self.previous = [count - 1 for count in counts]  # -1 is the last value: 0
        self.following = [
            count - (read.mapped_bytes is not None)
            for count, read in zip(counts, reads, strict=True)
        ]


class Walk(NamedTuple):
    """The PSS of mapped files in a sweep that walked all processes, from below and above.

    `before` and `after` are the places of the complete readings that enclose it. What moved in
    between is added to and taken from what was read.
    """

    sweep: int
    before: int
    after: int
    lower: float
    upper: float


def _find_walks(trace: MemoryTrace, moves: FileMoves) -> list[Walk]:
    walked: defaultdict[int, list[MemorySample]] = defaultdict(list)
    for sample in trace.samples:
        if sample.file_bytes is not None:
            walked[sample.sweep].append(sample)
    walks = []
    for sweep in trace.sweeps:
        samples = walked.get(sweep.sweep, [])
        before = bisect_right(moves.ended_ns, sweep.started_ns) - 1
        after = bisect_left(moves.started_ns, sweep.ended_ns)
        if samples and len(samples) == sweep.processes and before >= 0 and after < len(moves.whole):
            walks.append(_bound_walk(samples, moves, before, after))
    return walks


def _bound_walk(samples: Sequence[MemorySample], moves: FileMoves, before: int, after: int) -> Walk:
    sweep = samples[0].sweep
    files, shared = _sum(samples, "file_bytes"), _sum(samples, "shmem_bytes")
    moved = moves.mapped[after] - moves.mapped[before]
    moved += moves.unmapped[after] - moves.unmapped[before]
    charged = [moves.whole[place].shmem_bytes for place in (before, after)]
    known = [size for size in charged if size is not None]
    if len(known) < len(charged):
        return Walk(sweep, before, after, files + shared - moved, files + shared + moved)
    # A group is charged for the shared memory that its own processes touched first.
    foreign = max(0, shared - min(known))
    return Walk(sweep, before, after, files - moved, files + foreign + moved)


def _sum(samples: Iterable[MemorySample], name: str) -> Bytes:
    return sum(getattr(sample, name) or 0 for sample in samples)


def _bound_files(trace: MemoryTrace, moves: FileMoves) -> list[tuple[float, float]]:
    """Bound mapped files in the span of each reading by the walks before and after it.

    From a walk on, files can have grown by what was mapped, and shrunk by what was unmapped.
    Within one, its own bounds hold. Towards a walk it is the other way round. Before all walks
    nothing was mapped.
    """
    walks = _find_walks(trace, moves)
    befores = [walk.before for walk in walks]
    mapped, unmapped = moves.mapped, moves.unmapped
    bounds = []
    opening = -1  # the span of a reading begins at the one before it
    for following, previous in zip(moves.following, moves.previous, strict=True):
        lower, upper = 0.0, mapped[following]
        last = bisect_right(befores, opening) - 1
        if last >= 0:
            walk = walks[last]
            grown = max(0, mapped[following] - mapped[walk.after])
            lost = max(0, unmapped[following] - unmapped[walk.after])
            if following > walk.after and moves.since[following] == walk.sweep:
                # What ended meanwhile has left nothing: new processes count as they are now.
                left = moves.left[following]
                lost = min(lost, left)
                there = mapped[walk.after] - unmapped[walk.after]
                grown = min(grown, max(0, moves.most[following] - there + left))
            upper = min(upper, walk.upper + grown)
            lower = max(lower, walk.lower - lost)
        first = bisect_left(befores, following)
        if first < len(walks):
            walk = walks[first]
            upper = min(upper, walk.upper + unmapped[walk.before] - unmapped[opening])
            lower = max(lower, walk.lower - mapped[walk.before] + mapped[opening])
        # They contradict each other if programs outside the tree began or ceased to map its files.
        bounds.append((min(lower, upper), max(lower, upper)))
        opening = previous
    return bounds
