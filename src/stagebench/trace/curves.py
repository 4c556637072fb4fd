"""What the figure of one trace shows: PSS over time, of the tree and of single processes."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.tables.quantities import MEMORY_PARTS
from stagebench.trace.summary import PSS_KINDS, add_cpu, find_cpu, name_process
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from stagebench.records import ProcessRecord
    from stagebench.trace.recording import Recording
    from stagebench.units import Bytes, Nanoseconds, Seconds


class ProcessCourse(NamedTuple):
    """One process over time, or others together, whose `name` is None.

    `pss_bytes` has a value for each sweep, which is NaN if that did not read it.
    """

    name: Mapping[str, Any] | None
    processes: int
    peak_bytes: Bytes
    cpu: Mapping[str, Any]
    pss_bytes: Sequence[float]


class Curves(NamedTuple):
    """PSS at the end of every sweep by part, and the number of processes from each moment on.

    Times are seconds since the start of the command. `courses` are the processes, the largest
    first; `gaps` are the places of sweeps before which nothing was seen for long.
    """

    time_s: Sequence[Seconds]
    pss_bytes: Mapping[str, Sequence[Bytes]]
    changed_s: Sequence[Seconds]
    alive: Sequence[int]
    courses: Sequence[ProcessCourse] = ()
    gaps: Collection[int] = frozenset()


def build_curves(recording: Recording) -> Curves:
    """Build the PSS of every sweep, also process by process, and the number of processes."""
    memory, origin_ns = recording.memory, recording.origin_ns
    totals, own = _collect_samples(recording)
    times: list[Seconds] = []
    pss: dict[str, list[Bytes]] = {part: [] for part in MEMORY_PARTS}
    numbers: list[int] = []
    held: list[bool] = []
    latest: int | None = None
    for sweep in memory.sweeps:
        if sweep.kind == "pss":
            latest = sweep.sweep if sweep.sweep in totals else None
        if sweep.kind not in PSS_KINDS or latest is None:
            continue
        times.append(to_seconds(sweep.ended_ns - origin_ns))
        numbers.append(latest)
        held.append(sweep.kind == "held")
        for part in MEMORY_PARTS:
            pss[part].append(totals[latest][part])
    changes = count_alive(recording)
    return Curves(
        time_s=times,
        pss_bytes=pss,
        changed_s=[to_seconds(moment - origin_ns) for moment, _ in changes],
        alive=[alive for _, alive in changes],
        courses=_list_courses(recording, own, numbers),
        gaps=find_gaps(times, held),
    )


GAP_TIMES = 5
GAP_SHARE = 0.01
"""A gap is longer than usual by this factor, and long enough to be seen in a figure."""


def find_gaps(time_s: Sequence[Seconds], held: Sequence[bool]) -> frozenset[int]:
    """Return the places of sweeps before which it is not known, for long, what happened.

    Until a `held` sweep nothing did, so there is no gap before it.
    """
    spans = [later - earlier for earlier, later in pairwise(time_s)]
    if not spans:
        return frozenset()
    least = max(GAP_TIMES * median(spans), GAP_SHARE * time_s[-1])
    return frozenset(
        place for place, span in enumerate(spans, 1) if span > least and not held[place]
    )


def count_alive(recording: Recording) -> list[tuple[Nanoseconds, int]]:
    """List how many processes were alive from each moment on, by the census or else by sweeps."""
    memory = recording.memory
    if "created" not in recording.run["census"]:
        return [(sweep.started_ns, sweep.processes) for sweep in memory.sweeps]
    steps: Counter[Nanoseconds] = Counter()
    for process in memory.processes:
        steps[max(process.started_ns, recording.origin_ns)] += 1
        steps[min(process.ended_ns or recording.ended_ns, recording.ended_ns)] -= 1
    alive, counts = 0, []
    for moment in sorted(steps):
        alive += steps[moment]
        counts.append((moment, alive))
    return counts


class OwnSamples(NamedTuple):
    """The PSS of one process in sweeps, by their numbers."""

    sweeps: array[int]
    pss_bytes: array[int]


def _collect_samples(
    recording: Recording,
) -> tuple[dict[int, dict[str, Bytes]], dict[int, OwnSamples]]:
    """Add up PSS by sweep and part, and sort it by process; reads the samples once."""
    processes = recording.memory.processes
    find = _process_finder(processes)
    ended_ns = {sweep.sweep: sweep.ended_ns for sweep in recording.memory.sweeps}
    totals: defaultdict[int, dict[str, Bytes]] = defaultdict(lambda: dict.fromkeys(MEMORY_PARTS, 0))
    own: defaultdict[int, OwnSamples] = defaultdict(lambda: OwnSamples(array("q"), array("q")))
    for sample in recording.memory.samples:
        if sample.pss_bytes is not None:
            place = find(sample.pid, ended_ns[sample.sweep])
            part = "main" if processes[place].role == "main" else "children"
            totals[sample.sweep][part] += sample.pss_bytes
            totals[sample.sweep]["tree"] += sample.pss_bytes
            own[place].sweeps.append(sample.sweep)
            own[place].pss_bytes.append(sample.pss_bytes)
    return dict(totals), dict(own)


def _process_finder(
    processes: Sequence[ProcessRecord],
) -> Callable[[int, Nanoseconds], int]:
    """Return a function that finds the place of the process that had a pid at a moment."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, process in enumerate(processes):
        places[process.pid].append(place)

    def find(pid: int, at_ns: Nanoseconds) -> int:
        found = places[pid]
        if len(found) > 1:
            later = bisect_right(found, at_ns, key=lambda place: processes[place].since_ns)
            return found[max(0, later - 1)]
        return found[0]

    return find


SHOWN = 7
"""So many processes are shown on their own in the figure; the rest is added up."""


def _list_courses(
    recording: Recording, own: Mapping[int, OwnSamples], numbers: Sequence[int]
) -> list[ProcessCourse]:
    """Return the PSS of the largest processes over time, and of all others together.

    `numbers` are those of the sweeps whose values hold, in order of time.
    """
    used, processes = find_cpu(recording), recording.memory.processes
    order = sorted(own, key=lambda place: -max(own[place].pss_bytes))
    courses = [
        ProcessCourse(
            name=name_process(processes[place]),
            processes=1,
            peak_bytes=max(own[place].pss_bytes),
            cpu=add_cpu([used[place]]),
            pss_bytes=_follow(dict(zip(*own[place], strict=True)), numbers),
        )
        for place in order[:SHOWN]
    ]
    if rest := order[SHOWN:]:
        sums: Counter[int] = Counter()
        for place in rest:
            sums.update(dict(zip(*own[place], strict=True)))
        others = ProcessCourse(
            name=None,
            processes=len(rest),
            peak_bytes=max(sums.values()),
            cpu=add_cpu([used[place] for place in rest]),
            pss_bytes=_follow(sums, numbers),
        )
        courses.append(others)
    return courses


def _follow(by_sweep: Mapping[int, Bytes], numbers: Sequence[int]) -> array[float]:
    """Return the value of each sweep; NaN where there is none."""
    return array("d", [by_sweep.get(number, math.nan) for number in numbers])
