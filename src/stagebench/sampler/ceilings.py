"""The most anonymous memory that the processes of a tree can have held between two readings.

For where there is no control group: what each process had, and a page for each of its page faults,
but no more than the kernel's high-water mark of its RSS allows. docs/method.md has the proof.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stagebench.units import HUGE_PAGE_BYTES, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from stagebench.records import TransitionRecord
    from stagebench.sampler.procfs import Counters, Sizes
    from stagebench.units import Bytes

MOVED_BYTES: Bytes = MIB
"""The mark of a process is worth reading if its faults can have brought more than this."""


class Ceiling:
    """What one process can have held at most since it was read last.

    `anon` and `shared` are what it had then, `faults` what it had counted before that, and `last`
    what it has counted since. `replaced` bounds the programs that it has left behind by exec
    meanwhile. `has_mark`: its high-water mark covers the whole time.
    """

    __slots__ = ("anon", "faults", "has_exited", "has_mark", "last", "replaced", "shared")

    def __init__(self, anon: Bytes, shared: Bytes, faults: int, replaced: Bytes = 0) -> None:
        self.anon = anon
        self.shared = shared
        self.faults = self.last = faults
        self.replaced = replaced
        self.has_exited = False
        self.has_mark = not replaced

    def most(self, fault_bytes: Bytes) -> Bytes:
        """Return what it can have had, huge pages apart."""
        return self.anon + self.replaced + (self.last - self.faults) * fault_bytes


class Ceilings:
    """Bounds the sum of all processes' anonymous memory since the last reading began.

    Pages that several processes share count for each of them, except that a process counts none of
    what it inherited until the first reading after its birth: its parent had that when it was read,
    or got it by a fault since. One fault brings at most `fault_bytes`, or a huge page, of which
    `read_huge` counts those that the machine has handed out. A mark lags by `drift` at most.
    """

    def __init__(
        self, fault_bytes: Bytes, drift: Bytes, read_huge: Callable[[], int | None]
    ) -> None:
        self._fault_bytes = fault_bytes
        self._drift = drift
        self._read_huge = read_huge
        self._huge = self._huge_before = read_huge() or 0
        self._huge_bytes: Bytes = 0
        self._ceilings: dict[int, Ceiling] = {}
        self._faults: Mapping[int, int] = {}
        self._total: Bytes | None = 0
        self._slack: Bytes = 0

    @property
    def processes(self) -> AbstractSet[int]:
        """Those whose faults count, by id: they live, or have ended since the last reading."""
        return self._ceilings.keys()

    def note_transition(self, transition: TransitionRecord) -> None:
        """Take in a birth, exec or exit; an exit may be that of one of several threads."""
        pid, known = transition.pid, self._ceilings.get(transition.pid)
        if transition.kind == "exit":
            if known is not None:
                known.last = transition.faults
                known.has_exited = True
            return
        replaced, anon = 0, 0
        if transition.kind == "exec":
            anon = transition.rss_anon_bytes
            if known is not None:
                known.last = transition.faults
        if known is not None:
            replaced = known.most(self._fault_bytes)
        self._ceilings[pid] = Ceiling(anon, 0, transition.faults, replaced)

    def note_reset(self, pids: Iterable[int]) -> None:
        """Take in that high-water marks were reset: they do not cover the time before."""
        for pid in self._ceilings.keys() & pids:
            self._ceilings[pid].has_mark = False

    def note_faults(self, faults: Mapping[int, int]) -> list[int]:
        """Take in the faults of all `processes` that could be read; list those worth a mark.

        A reading of the tree begins with it. It may be made anew before `renew`.
        """
        moved, added = [], 0
        for pid, ceiling in self._ceilings.items():
            if pid in faults:
                ceiling.last = faults[pid]
            if (brought := ceiling.last - ceiling.faults) > 0:
                added += brought
                moved.append(pid)
        self._faults = faults
        if added:
            self._huge = self._read_huge() or 0
        self._huge_bytes = (self._huge - self._huge_before) * HUGE_PAGE_BYTES
        if self._huge_bytes:
            return moved  # each of which may have got them
        bar = MOVED_BYTES // self._fault_bytes
        return [pid for pid in moved if self._ceilings[pid].last - self._ceilings[pid].faults > bar]

    def bound(self, owners: AbstractSet[int], counters: Mapping[int, Counters]) -> Bytes | None:
        """Bound the sum since the last reading began; None if that is not known.

        `owners` are the processes that have memory of their own; `counters` are of those that were
        worth a mark. While the last reading went on, some had not been read yet, so that the bound
        before still holds, except for what was added meanwhile.
        """
        is_known = owners <= self._ceilings.keys()
        total = added = 0
        room: float = 0
        for pid, ceiling in self._ceilings.items():
            if pid not in self._faults and not ceiling.has_exited:
                is_known = False
            most = ceiling.most(self._fault_bytes)
            brought = most - ceiling.anon - ceiling.replaced
            top = self._read_top(ceiling, counters.get(pid))
            if brought:
                room += max(0, top - most)
            added += brought
            total += min(most, int(top)) if top < math.inf else most
        total += int(min(self._huge_bytes, room))
        before, self._total = self._total, total if is_known else None
        if before is None or not is_known:
            return None
        return max(total, before + min(added + self._huge_bytes, self._slack))

    def _read_top(self, ceiling: Ceiling, counters: Counters | None) -> float:
        """Return what a process's high-water mark leaves for anonymous memory."""
        if counters is None or not ceiling.has_mark:
            return math.inf
        shared = min(ceiling.shared, counters.rss_bytes - counters.rss_anon_bytes)
        return counters.high_water_bytes + self._drift - shared

    def renew(self, sizes: Mapping[int, Sizes], slack: Bytes) -> None:
        """Begin the next span; `sizes` has the memory of those that own some.

        `slack` bounds what can have been added while this reading went on.
        """
        ceilings = {}
        for pid, counted in self._faults.items():
            anon, shared = sizes.get(pid, (0, 0))
            ceilings[pid] = Ceiling(anon, shared, counted)
            if pid not in sizes and pid in self._ceilings:
                ceilings[pid].has_exited = self._ceilings[pid].has_exited
        self._ceilings, self._slack = ceilings, slack
        self._huge_before = self._huge
