"""How the processes of a tree map and unmap files, which no control group counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from stagebench.units import Bytes


class Moves:
    """How processes map and unmap files, added up over the tree's life.

    Both sums only grow. What they grew by between two moments bounds what was mapped and unmapped,
    as far as the counters were read: at every reading, and at birth, exec and exit. `most` is the
    largest difference of both since it was taken, and `left` what processes unmapped since the
    last walk that had been there then.
    """

    def __init__(self) -> None:
        self.mapped: Bytes = 0
        self.unmapped: Bytes = 0
        self.left: Bytes = 0
        self._most: Bytes = 0
        self._shared: dict[int, Bytes] = {}
        self._walked: set[int] = set()

    def note(self, pid: int, shared: Bytes) -> None:
        """Take the next value of a process, which begins with nothing."""
        grown = shared - self._shared.get(pid, 0)
        self._shared[pid] = shared
        if grown > 0:
            self.mapped += grown
            self._most = max(self._most, self.mapped - self.unmapped)
        elif grown:
            self._lose(pid, -grown)

    def end(self, pid: int) -> None:
        """Take in that a process has lost all of its memory."""
        self._lose(pid, self._shared.pop(pid, 0))
        self._walked.discard(pid)

    def _lose(self, pid: int, lost: Bytes) -> None:
        self.unmapped += lost
        if pid in self._walked:
            self.left += lost

    def take_most(self) -> Bytes:
        """Return the largest difference since the last call."""
        most, self._most = self._most, self.mapped - self.unmapped
        return most

    def note_walk(self) -> None:
        """Take in that the files of all processes were walked."""
        self.left = 0
        self._walked = set(self._shared)

    @property
    def total(self) -> Bytes:
        """All that moved either way."""
        return self.mapped + self.unmapped

    @property
    def processes(self) -> AbstractSet[int]:
        """Those that map something, by id."""
        return self._shared.keys()
