"""All readings of each process's memory counters, in order of time.

The census reads them at birth, exec and exit; the sampler reads them in every sweep.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import SHARING_BIRTHS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagebench.records import MemorySample, ProcessRecord, SweepRecord, TransitionRecord
    from stagebench.units import Bytes, Nanoseconds


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


_at_ns = attrgetter("at_ns")


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
    states: list[State] = field(default_factory=list)
    by_sweep: dict[int, State] = field(default_factory=dict)
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
        found = bisect_right(self.states, at_ns, key=_at_ns)
        return self.states[found - 1] if found else None

    def state_after(self, at_ns: float) -> State | None:
        """Return the first reading at or after a moment, or else the reading at exit, if any."""
        found = bisect_left(self.states, at_ns, key=_at_ns)
        if found < len(self.states):
            return self.states[found]
        # Nothing runs after the last thread's exit, even if the end is reported later.
        has_ended = self.exit is not None and self.process.ended_ns is not None
        return self.states[-1] if has_ended and self.states else None

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
            state = _sampled_state(sample, sweep)
            history.states.append(state)
            history.by_sweep[sample.sweep] = state
    _find_lenders(histories, by_pid)
    for history in histories:
        history.states.sort(key=lambda state: state.at_ns)
        _drop_foreign_memory(history)
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


def _drop_foreign_memory(history: CounterHistory) -> None:
    """Drop readings of memory that was not its own: its lender's, or main's before its exec."""
    if history.lender is not None or history.is_main:
        own = history.execs[0].at_ns if history.execs else None
        if own is not None or history.lender is not None:
            history.states = [state for state in history.states if own and state.at_ns >= own]
            history.birth = None


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
