"""A program's readings of its own tree from /proc/<pid>/smaps_rollup, with little side effect.

Files are opened and buffers touched beforehand. A reading allocates next to nothing, and is parsed
only at the end.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import NamedTuple

from memory import allocate

TEXT_SIZE = 2048
"""Space for one text of about 800 bytes."""

KIB = 1024


class Peak(NamedTuple):
    """The reading with the largest PSS of the tree, with its parts and its time."""

    tree_pss_bytes: int
    main_pss_bytes: int
    tree_anon_bytes: int
    tree_file_bytes: int
    tree_shmem_bytes: int
    processes: int
    time_ns: int


class Readings:
    """Rounds of readings of this process and of the watched ones."""

    def __init__(self, rounds: int, processes: int) -> None:
        # Not inherited: writing to a page that is shared with a forked child would copy it.
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
        """Begin a plateau, to which `held_ns` then refers."""
        self._plateau = self._next

    def watch(self, *pids: int) -> None:
        """From now on, read this process and the given ones only.

        Call it again after an exec, because an open file refers to the old memory.
        """
        for file in self._files:
            os.close(file)
        self._files = [
            os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY) for pid in (os.getpid(), *pids)
        ]

    def read(self) -> None:
        """Read all watched processes once."""
        row = self._rows[self._next]
        for place, file in enumerate(self._files):
            os.preadv(file, row[place], 0)
        self._counts[self._next] = len(self._files)
        self._times_ns[self._next] = time.monotonic_ns()
        self._next += 1

    def peak(self) -> Peak:
        """Return the largest of all rounds."""
        return max(map(self._parse, range(self._next)))

    def restart(self) -> None:
        """Forget all rounds and reuse their space."""
        self._next = 0

    def keep_largest(self) -> None:
        """Forget all rounds but the largest, to make room."""
        best = max(range(self._next), key=self._parse)
        for column in (self._rows, self._counts, self._times_ns):
            column[0], column[best] = column[best], column[0]
        self._next = 1

    @property
    def held_ns(self) -> tuple[int, int]:
        """The times of the first and the last reading of the last plateau."""
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
    """Return the value of one line of a smaps_rollup text in bytes."""
    start = text.index(b"\n" + name) + 1 + len(name)
    return int(text[start : text.index(b" kB", start)]) * KIB
