"""All readings of each process's memory counters, in order of time.

The census reads them at birth, exec and exit; the sampler reads them in every sweep.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import SHARING_BIRTHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from stagebench.records import (
        MemorySample,
        ProcessRecord,
        ReadRecord,
        SweepRecord,
        TransitionRecord,
    )
    from stagebench.units import Bytes, Nanoseconds


class MemoryTrace(NamedTuple):
    """The memory records of one run; `sampler` is that part of its run.json.

    The samples, of which a long trace has millions, are in the order of the sweeps.
    """

    sweeps: Sequence[SweepRecord]
    samples: Iterable[MemorySample]
    processes: Sequence[ProcessRecord]
    transitions: Sequence[TransitionRecord]
    sampler: Mapping[str, Any]
    reads: Sequence[ReadRecord] = ()


class State(NamedTuple):
    """A process's counters at one moment; `high_water` is the largest RSS since the last reset.

    `faults_before` is the number of page faults when the reading began. PSS and USS are None if
    only counters were read. If it `is_exact`, the RSS did not change during the reading.
    """

    at_ns: Nanoseconds
    is_exact: bool
    rss: Bytes
    rss_anon: Bytes
    high_water: Bytes
    was_reset: bool
    faults_before: int
    faults: int
    pss: Bytes | None
    uss: Bytes | None

    @property
    def shared(self) -> Bytes:
        """RSS that may be shared: all but the anonymous pages that are certainly private."""
        not_anonymous = self.rss - self.rss_anon
        return self.rss - max(0, (self.uss or 0) - not_anonymous)


BEFORE_ALL = -1
"""Stands for a sweep's number at the moment at which main's program began."""

_NO_SWEEP = -2
_UNKNOWN = -1
_FIELDS = len(State._fields)


class States:
    """The readings of one process in order of time, as plain numbers: there may be millions."""

    def __init__(self) -> None:
        self._at_ns = array("q")
        self._own = 0
        self._sweeps = array("q")
        self._values = array("q")

    def __len__(self) -> int:
        return len(self._at_ns) - self._own

    def __getitem__(self, place: int) -> State:
        return self._read(self._own + place % len(self))

    def count_before(self, at_ns: float) -> int:
        """Return how many there are before a moment."""
        return bisect_left(self._at_ns, at_ns, self._own) - self._own

    def count_until(self, at_ns: float) -> int:
        """Return how many there are before and at a moment."""
        return bisect_right(self._at_ns, at_ns, self._own) - self._own

    def _read(self, place: int) -> State:
        begin = place * _FIELDS
        values = self._values[begin : begin + _FIELDS]
        at_ns, exact, rss, rss_anon, high_water, reset, before, faults, pss, uss = values
        return State(
            at_ns=at_ns,
            is_exact=bool(exact),
            rss=rss,
            rss_anon=rss_anon,
            high_water=high_water,
            was_reset=bool(reset),
            faults_before=before,
            faults=faults,
            pss=None if pss == _UNKNOWN else pss,
            uss=None if uss == _UNKNOWN else uss,
        )

    def append(self, state: State, sweep: int = _NO_SWEEP) -> None:
        """Add a reading, which belongs to a sweep or to none."""
        self._at_ns.append(state.at_ns)
        self._sweeps.append(sweep)
        self._values.extend(_UNKNOWN if value is None else int(value) for value in state)

    def sort(self, since_ns: float) -> None:
        """Sort all readings by time; before this moment, only `find` knows them."""
        places = sorted(range(len(self._at_ns)), key=self._at_ns.__getitem__)
        values, self._values = self._values, array("q")
        for place in places:
            self._values.extend(values[place * _FIELDS : (place + 1) * _FIELDS])
        self._sweeps = array("q", [self._sweeps[place] for place in places])
        self._at_ns = array("q", [self._at_ns[place] for place in places])
        self._own = bisect_left(self._at_ns, since_ns)

    def find(self, sweep: int, at_ns: Nanoseconds) -> State | None:
        """Return the reading of a sweep that ended at this moment."""
        for place in range(bisect_left(self._at_ns, at_ns), bisect_right(self._at_ns, at_ns)):
            if self._sweeps[place] == sweep:
                return self._read(place)
        return None


@dataclass(slots=True)
class CounterHistory:
    """One process and all its readings in order of time.

    `last_fork_ns` is when the census met the last child that inherited its memory. Its descendants
    may keep pages that it mapped until `counts_until_ns`. `shared_with` is the process whose memory
    it used from its birth to its first exec or its end; if that one kept it for so long, it is a
    `lender`. `borrowers` are the processes that used this one's memory.
    """

    process: ProcessRecord
    is_main: bool
    last_fork_ns: Nanoseconds | None = None
    counts_until_ns: float = 0
    states: States = field(default_factory=States)
    execs: list[State] = field(default_factory=list)
    birth: State | None = None
    exit: State | None = None
    shared_with: CounterHistory | None = None
    lender: CounterHistory | None = None
    borrowers: list[CounterHistory] = field(default_factory=list)
    borrowed_until_ns: list[float] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def starts_ns(self) -> Nanoseconds:
        """The moment before which it had no memory of its own, or had not run."""
        if self.lender is not None or self.is_main:
            return self.execs[0].at_ns if self.execs else self.process.started_ns
        return self.process.since_ns

    @property
    def ends_ns(self) -> float:
        """The moment after which it had no memory; infinite if it did not end within the trace."""
        return float("inf") if self.process.ended_ns is None else self.process.ended_ns

    @property
    def is_borrower(self) -> bool:
        """Whether it used its lender's memory until its end."""
        return self.lender is not None and not self.execs

    @property
    def shared_until_ns(self) -> float:
        """When it stopped to use the memory that it shared at its birth."""
        return self.execs[0].at_ns if self.execs else self.ends_ns

    @property
    def shared_faults(self) -> int | None:
        """Bound its page faults in the memory that it shared at its birth; None if unknown."""
        last = self.execs[0] if self.execs else self.exit
        return None if last is None else last.faults

    def foreign_faults(self, after_ns: float, until_ns: float) -> int | None:
        """Bound the page faults of others in its memory in a span of time; None if unknown."""
        if self.shared_with is not None and self.lender is None:
            return None  # those of the one that had it before are not told apart
        faults = 0
        first = bisect_left(self.borrowed_until_ns, after_ns)
        for each in self.borrowers[first:]:
            if each.process.since_ns > until_ns:
                break
            if each.shared_faults is None:
                return None
            faults += each.shared_faults
        return faults

    def lend(self, borrower: CounterHistory) -> None:
        """Note a process that used its memory; they come in order of their birth."""
        self.borrowers.append(borrower)
        before = self.borrowed_until_ns[-1] if self.borrowed_until_ns else 0
        self.borrowed_until_ns.append(max(before, borrower.shared_until_ns))

    def state_before(self, at_ns: float) -> State | None:
        """Return the last reading at or before a moment."""
        found = self.states.count_until(at_ns)
        return self.states[found - 1] if found else None

    def state_after(self, at_ns: float) -> State | None:
        """Return the first reading at or after a moment, or else the reading at exit, if any."""
        found = self.states.count_before(at_ns)
        if found < len(self.states):
            return self.states[found]
        # Nothing runs after the last thread's exit, even if the end is reported later.
        has_ended = self.exit is not None and self.process.ended_ns is not None
        return self.states[-1] if has_ended and self.states else None

    def state_in(self, sweep: int, at_ns: Nanoseconds) -> State | None:
        """Return its reading in a sweep that ended at this moment, if there is one."""
        if sweep == BEFORE_ALL:
            return self.execs[0] if self.is_main else None
        return self.states.find(sweep, at_ns)

    def lost_ns(self, execs: list[State]) -> float:
        """Return when it gave up the memory it had: at the first of `execs`, or at its exit."""
        ends = self.exit.at_ns if self.exit and self.process.ended_ns is not None else self.ends_ns
        return min([ends, *(each.at_ns for each in execs)])

    def execs_between(self, after_ns: float, until_ns: float) -> list[State]:
        """Return its execs in a span of time."""
        return [each for each in self.execs if after_ns < each.at_ns <= until_ns]


def build_counter_histories(
    processes: Iterable[ProcessRecord],
    transitions: Iterable[TransitionRecord],
    sweeps: Iterable[SweepRecord],
    samples: Iterable[MemorySample],
) -> list[CounterHistory]:
    """Sort all readings by process; where a pid was reused, the time decides."""
    histories = [CounterHistory(process, place == 0) for place, process in enumerate(processes)]
    by_pid: dict[int, list[CounterHistory]] = {}
    for history in histories:
        by_pid.setdefault(history.pid, []).append(history)
    for transition in transitions:
        history = _of_that_time(by_pid[transition.pid], transition.time_ns)
        _add_transition(history, transition)
    known = {sweep.sweep: sweep for sweep in sweeps}
    for sample in samples:
        if sample.sweep in known:
            sweep = known[sample.sweep]
            history = _of_that_time(by_pid[sample.pid], sweep.ended_ns)
            history.states.append(_sampled_state(sample, sweep), sample.sweep)
    _find_lenders(histories, by_pid)
    for history in histories:
        history.states.sort(_own_since_ns(history))
    _follow_memory(histories, by_pid)
    return histories


def _find_lenders(histories: list[CounterHistory], by_pid: dict[int, list[CounterHistory]]) -> None:
    """Find whose memory each process used that was born to share it.

    If that one ended or began a new program first, the process counts as one of its own: its
    memory may then count twice, but never not at all.
    """
    for history in histories:
        parents = by_pid.get(history.process.parent_pid or 0)
        if parents is None or history.process.birth not in SHARING_BIRTHS:
            continue
        met_ns = history.process.started_ns
        owner = history.shared_with = _find_owner(_of_that_time(parents, met_ns), met_ns)
        later = [each for each in owner.execs if each.at_ns >= history.process.since_ns]
        if owner.lost_ns(later) >= history.shared_until_ns:
            history.lender = owner
        owner.lend(history)


def _find_owner(history: CounterHistory, at_ns: Nanoseconds) -> CounterHistory:
    """Return the process whose memory one used at a moment: its own, unless it shared it."""
    while history.shared_with is not None and history.shared_until_ns > at_ns:
        history = history.shared_with
    return history


def _own_since_ns(history: CounterHistory) -> float:
    """Return since when its memory was its own: before, it was its lender's, or main's our own."""
    borrows = history.lender is not None
    if not (borrows or history.is_main):
        return float("-inf")
    if history.execs or borrows:
        history.birth = None
    if history.execs:
        return history.execs[0].at_ns
    return float("inf") if borrows else float("-inf")


def _follow_memory(
    histories: list[CounterHistory], by_pid: dict[int, list[CounterHistory]]
) -> None:
    """Note when each process last forked, and how long descendants may keep its pages."""
    # Youngest first: each child's `counts_until_ns` is final before its parent takes it over.
    for history in reversed(histories):
        history.counts_until_ns = max(history.counts_until_ns, history.ends_ns)
        parents = by_pid.get(history.process.parent_pid or 0)
        if parents and history.lender is None:
            met_ns = history.process.started_ns
            parent = _find_owner(_of_that_time(parents, met_ns), met_ns)
            parent.counts_until_ns = max(parent.counts_until_ns, history.counts_until_ns)
            parent.last_fork_ns = max(parent.last_fork_ns or 0, met_ns)


def _of_that_time(histories: list[CounterHistory], at_ns: Nanoseconds) -> CounterHistory:
    starts = [history.process.since_ns for history in histories]
    return histories[max(0, bisect_right(starts, at_ns) - 1)]


def _add_transition(history: CounterHistory, transition: TransitionRecord) -> None:
    state = State(
        at_ns=transition.time_ns,
        # At birth and exec its only thread is stopped; at an exit other threads may run on.
        is_exact=transition.kind != "exit",
        rss=transition.rss_bytes,
        rss_anon=transition.rss_anon_bytes,
        high_water=transition.high_water_bytes,
        was_reset=False,
        faults_before=transition.faults,
        faults=transition.faults,
        pss=None,
        uss=None,
    )
    history.states.append(state)
    if transition.kind == "birth":
        history.birth = state
    elif transition.kind == "exec":
        history.execs.append(state)
    else:
        history.exit = state


def _sampled_state(sample: MemorySample, sweep: SweepRecord) -> State:
    return State(
        at_ns=sweep.ended_ns,
        is_exact=not sweep.torn,
        rss=sample.rss_bytes,
        rss_anon=sample.rss_anon_bytes,
        high_water=sample.high_water_bytes,
        was_reset=bool(sample.mark_reset),
        faults_before=sample.faults_before,
        faults=sample.faults,
        pss=sample.pss_bytes,
        uss=sample.uss_bytes,
    )
