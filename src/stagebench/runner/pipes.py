"""The pipes between main and a worker process: one each way, as the standard library's pools have.

A socket pair would need one object only. But a read from it brings 200 KiB, and a block of that
size that is freed makes glibc raise the size from which on blocks are mappings of their own
(mallopt(3), M_MMAP_THRESHOLD): up to 30 MiB of results that main had dropped stayed with it. A read
from a pipe brings 64 KiB, and nothing stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext


class Ends(NamedTuple):
    """What one side has of the two pipes of a worker."""

    receiver: Connection[Any, Any]
    sender: Connection[Any, Any]

    def close(self) -> None:
        """Close both."""
        self.receiver.close()
        self.sender.close()


MAIN_ENDS: set[Ends] = set()
"""Main's ends of the pipes of all its workers. A forked worker has copies of them, and closes them:
while somebody holds one, the worker at its other end cannot see that main is gone."""


def open_pipes(context: BaseContext) -> tuple[Ends, Ends]:
    """Open both pipes of a worker; gives main's ends, and the worker's."""
    from_worker, to_main = context.Pipe(duplex=False)
    try:
        from_main, to_worker = context.Pipe(duplex=False)
    except OSError:
        # No descriptors are left for the second.
        Ends(from_worker, to_main).close()
        raise
    ours = Ends(from_worker, to_worker)
    MAIN_ENDS.add(ours)
    return ours, Ends(from_main, to_main)


def forget_main_ends() -> None:
    """Close, in a worker, what it has been given of main's ends by being forked."""
    for ends in MAIN_ENDS:
        ends.close()
    MAIN_ENDS.clear()


def close_main_ends(ends: Ends) -> None:
    """Close main's ends of one worker."""
    MAIN_ENDS.discard(ends)
    ends.close()
