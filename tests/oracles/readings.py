"""A program's readings of its own tree: /proc/<pid>/smaps_rollup, with as little trace as can be.

Files are opened and buffers touched beforehand; a reading allocates next to nothing, and is parsed
only when all is over.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import NamedTuple

from memory import allocate

TEXT_SIZE = 2048
"""Room for one text, which has about 800 bytes."""

KIB = 1024


class Peak(NamedTuple):
    """The reading with the largest PSS of the tree, its parts, and when it was."""

    tree_pss_bytes: int
    main_pss_bytes: int
    tree_anon_bytes: int
    tree_file_bytes: int
    tree_shmem_bytes: int
    processes: int
    time_ns: int


class Readings:
    """Rounds of readings of this process and of those that are watched."""

    def __init__(self, rounds: int, processes: int) -> None:
        # Main's alone: what is shared with a child since its fork is copied when it is written to.
        room = allocate(rounds * processes * TEXT_SIZE)
        room.madvise(mmap.MADV_DONTFORK)
        places = memoryview(room)
        texts = [[places[at : at + TEXT_SIZE]] for at in range(0, len(room), TEXT_SIZE)]
        self._rows = [texts[at : at + processes] for at in range(0, len(texts), processes)]
        self._counts = [0] * rounds
        self._times_ns = [0] * rounds
        self._next = 0
        self._plateau = 0
        self._files: list[int] = []
        self.watch()

    def begin(self) -> None:
        """Begin a plateau: what `held_ns` tells of is the last one."""
        self._plateau = self._next

    def watch(self, *pids: int) -> None:
        """Read these processes beside this one from now on, and no others.

        After an exec a process has to be named again: an open file stands for the old memory.
        """
        for file in self._files:
            os.close(file)
        self._files = [
            os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY) for pid in (os.getpid(), *pids)
        ]

    def read(self) -> None:
        """Read all of them once."""
        row = self._rows[self._next]
        for place, file in enumerate(self._files):
            os.preadv(file, row[place], 0)
        self._counts[self._next] = len(self._files)
        self._times_ns[self._next] = time.monotonic_ns()
        self._next += 1

    def peak(self) -> Peak:
        """Give the largest of all rounds."""
        return max(map(self._parse, range(self._next)))

    def restart(self) -> None:
        """Forget all rounds: their places are used again."""
        self._next = 0

    def keep_largest(self) -> None:
        """Forget all rounds but the largest, to make room."""
        best = max(range(self._next), key=self._parse)
        for column in (self._rows, self._counts, self._times_ns):
            column[0], column[best] = column[best], column[0]
        self._next = 1

    @property
    def held_ns(self) -> tuple[int, int]:
        """Give the moments of the first and the last reading of the last plateau."""
        return self._times_ns[self._plateau], self._times_ns[self._next - 1]

    def _parse(self, number: int) -> Peak:
        texts = [bytes(place) for (place,) in self._rows[number][: self._counts[number]]]
        pss = [field(text, b"Pss:") for text in texts]
        anon, file, shmem = (
            sum(field(text, name) for text in texts)
            for name in (b"Pss_Anon:", b"Pss_File:", b"Pss_Shmem:")
        )
        return Peak(sum(pss), pss[0], anon, file, shmem, len(texts), self._times_ns[number])


def field(text: bytes, name: bytes) -> int:
    """Give the value, in bytes, of one line of a smaps_rollup text."""
    start = text.index(b"\n" + name) + 1 + len(name)
    return int(text[start : text.index(b" kB", start)]) * KIB
