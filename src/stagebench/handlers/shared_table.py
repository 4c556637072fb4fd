"""Shared table: all workers read one large table that nobody changes.

The question is how they get it: `by` is one of

    global         each worker process makes one of its own; threads read that of their process
    fork           main makes it before the workers start, and forked workers inherit it
    shared_memory  main makes it in shared memory, which workers map
    path           main writes it to a file, which workers map

A table of objects is a list of whole numbers, each a Python object with a reference count. A table
of numbers is a block of memory, from which an object is made for each read.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from array import array
from itertools import count, repeat
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from stagebench.errors import UnsupportedError
from stagebench.handlers.bounds import Bounds, MemoryNeed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.shared_memory import SharedMemory

MIB = 1024 * 1024
SIZE_MIB, READS = 64.0, 500_000
ENTRY_BYTES = {"numbers": 8, "objects": 40}
"""Of objects: a pointer in the list (8) and an int (32 with its padding), CPython on 64 bits."""

BLOCK = 128 * 1024
"""Entries that are written at a time: more would be held twice for a moment."""

By: TypeAlias = Literal["global", "fork", "shared_memory", "path"]
Of: TypeAlias = Literal["numbers", "objects"]
Size: TypeAlias = Annotated[float, Bounds(at_least=0.001)]


def shared_table(
    *,
    by: By,  # noqa: ARG001 - begin_stage reads it
    size_mib: Size = SIZE_MIB,
    reads: Annotated[int, Bounds(at_least=1)] = READS,
    of: Of = "numbers",
) -> int:
    """Return the sum of `reads` entries, read one by one, evenly spread over a table.

    by: how workers get the table: global, fork, shared_memory or path. size_mib: its size in
    MiB. of: numbers in a block of memory, or objects in a list. The table is made once, from the
    stage's parameters; only `reads` may differ between tasks. A call outside a stage makes one for
    itself. Raises ArithmeticError if the closed form of the sum differs.
    """
    return sum_entries(make_entries(of, count_entries(of, size_mib)), reads)


def memory_need(*, size_mib: float = SIZE_MIB, **_others: object) -> MemoryNeed:
    """Estimate: a table of its own for each worker, as with `by: global`; the others need less."""
    return MemoryNeed(working_bytes=int(size_mib * MIB), result_bytes=0)


def why_unsupported(
    *, executor: str, start_method: str | None, by: By, of: Of = "numbers", **_others: object
) -> str:
    """Return why a stage's workers cannot get the table in this way, or an empty text."""
    if of == "objects" and by in ("shared_memory", "path"):
        return f"by {by}: a block of memory holds numbers; Python objects cannot be mapped"
    if by == "fork" and executor == "interpreter":
        return "by fork: a subinterpreter inherits no objects from main"
    if by == "fork" and start_method not in (None, "fork"):
        return f"by fork: a worker that is started by {start_method} inherits no objects from main"
    return ""


def count_entries(of: Of, size_mib: float) -> int:
    """Return how many entries a table of this size has."""
    return max(1, int(size_mib * MIB) // ENTRY_BYTES[of])


def make_entries(of: Of, entries: int) -> Sequence[int]:
    """Return a table in this process's own memory; each entry is its own place."""
    if of == "objects":
        return list(range(entries))
    numbers = memoryview(array("q", [0]) * entries)
    _fill(numbers)
    return numbers


def _fill(numbers: memoryview) -> None:
    for start in range(0, len(numbers), BLOCK):
        numbers[start : start + BLOCK] = _block(start, len(numbers))


def _block(start: int, entries: int) -> array[int]:
    return array("q", range(start, min(start + BLOCK, entries)))


def sum_entries(table: Sequence[int], reads: int) -> int:
    """Read evenly spread entries, and again from the first once all were read; return their sum."""
    places = range(0, len(table), -(-len(table) // reads))  # rounded up: to the table's end
    rounds, rest = divmod(reads, len(places))
    total = 0
    for span in (*repeat(places, rounds), places[:rest]):
        for place in span:
            total += table[place]
    exact = rounds * _sum(places) + _sum(places[:rest])
    if total != exact:
        raise ArithmeticError(f"the sum of {reads} entries is {exact}, computed {total}")
    return total


def _sum(places: range) -> int:
    return (places[0] + places[-1]) * len(places) // 2 if places else 0


def begin_stage(
    *, executor: str, start_method: str | None, parameters: Mapping[str, Any]
) -> StageTable:
    """Make the table in main where `by` says so; return what the workers call."""
    reason = why_unsupported(executor=executor, start_method=start_method, **parameters)
    if reason:
        raise UnsupportedError(reason)
    table = StageTable(**{name: parameters[name] for name in parameters if name != "reads"})
    table.begin_stage(has_threads=executor == "thread")
    return table


shared_table.begin_stage = begin_stage  # type: ignore[attr-defined]


class StageTable:
    """What the workers of one stage call instead of `shared_table`; it travels without the table.

    The tables themselves are in `_tables`, because a forked worker inherits only what is not
    pickled.
    """

    def __init__(self, *, by: By, size_mib: float = SIZE_MIB, of: Of = "numbers") -> None:
        self._by, self._of, self._size_mib = by, of, size_mib
        self._entries = count_entries(of, size_mib)
        self._number = next(_numbers)
        self._place = ""
        self._has_opened = False

    def __call__(
        self,
        *,
        by: By,
        size_mib: float = SIZE_MIB,
        reads: int = READS,
        of: Of = "numbers",
    ) -> int:
        """Read the table as `shared_table` does."""
        if (by, of, size_mib) != (self._by, self._of, self._size_mib):
            raise ValueError(
                f"by {by}, of {of}, size_mib {size_mib:g} are not the stage's own; allowed for a"
                " task: reads"
            )
        return sum_entries(_tables[self._number].entries, reads)

    def begin_stage(self, *, has_threads: bool) -> None:
        """Make in main what the workers inherit or map; for threads, the table itself."""
        if self._by == "shared_memory":
            _tables[self._number] = table = _share_memory(self._entries)
            self._place = table.mapping.name
        elif self._by == "path":
            self._place = _write_file(self._entries)
        if (has_threads or self._by == "fork") and self._number not in _tables:
            _tables[self._number] = self._open()

    def begin_worker(self) -> None:
        """Make or map the table, unless it is there: it is inherited, or threads have it."""
        if self._number not in _tables:
            _tables[self._number] = self._open()
            self._has_opened = True

    def end_worker(self) -> None:
        """Close what this worker has opened."""
        if self._has_opened:
            _tables.pop(self._number).close()

    def end_stage(self) -> None:
        """Remove what was made in main; workers that are still there keep what they have mapped."""
        table = _tables.pop(self._number, None)
        if table is not None:
            table.close()
        if self._by == "shared_memory" and table is not None:
            table.mapping.unlink()
        elif self._by == "path":
            os.unlink(self._place)

    def _open(self) -> _Table:
        if self._by == "shared_memory":
            return _map_shared(self._place, self._entries)
        if self._by == "path":
            return _map_file(self._place)
        return _Table(make_entries(self._of, self._entries))


class _Table(NamedTuple):
    """A table that is open in this process, and the memory or file that it lies in, if any."""

    entries: Sequence[int]
    mapping: Any = None

    def close(self) -> None:
        """Unmap it; a task that still reads it fails."""
        if isinstance(self.entries, memoryview):
            self.entries.release()
        if self.mapping is not None:
            self.mapping.close()


_tables: dict[int, _Table] = {}
"""Tables that are open in this process, or were when it was forked, by the stage's number."""

_numbers = count()


def _share_memory(entries: int) -> _Table:
    # Imported only when needed: every import adds to the measured process's memory.
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=entries * ENTRY_BYTES["numbers"])
    numbers = _view(memory, entries)
    _fill(numbers)
    return _Table(numbers, memory)


def _map_shared(name: str, entries: int) -> _Table:
    from multiprocessing.shared_memory import SharedMemory

    # Main removes it. Before 3.13 whoever maps it also registers it to be removed at the end.
    untracked: Any = {"track": False} if sys.version_info >= (3, 13) else {}
    memory = SharedMemory(name, **untracked)
    return _Table(_view(memory, entries), memory)


def _view(memory: SharedMemory, entries: int) -> memoryview:
    data: Any = memory.buf
    # Shared memory ends with a page, after the last entry.
    with data[: entries * ENTRY_BYTES["numbers"]] as used:
        numbers: memoryview = used.cast("q")
    return numbers


def _write_file(entries: int) -> str:
    """Return the path of a new file that holds a table."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        for start in range(0, entries, BLOCK):
            file.write(_block(start, entries))
    return file.name


def _map_file(path: str) -> _Table:
    with open(path, "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _Table(memoryview(mapping).cast("q"), mapping)
