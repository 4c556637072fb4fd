"""What a task waits for between its submission and its start.

    submitted ─ in the queue ─ start of its worker ─ hand-over ─ started

All of it follows from the records of any run: a worker can take a task once it is ready and the
result of its task before has been received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from stagebench.units import Nanoseconds


class Turn(NamedTuple):
    """One attempt that a worker started; `ready_ns` is when that worker was ready, if known."""

    worker: Hashable
    ready_ns: Nanoseconds | None
    submitted_ns: Nanoseconds
    started_ns: Nanoseconds
    received_ns: Nanoseconds


class Waited(NamedTuple):
    """The parts of a waiting time: in the queue, for the start of the worker, hand-over to it."""

    queue_ns: Nanoseconds
    start_ns: Nanoseconds
    send_ns: Nanoseconds


def split_waiting(turns: Sequence[Turn]) -> list[Waited]:
    """Return the parts of each turn's waiting time, in the order of the turns."""
    free_ns: dict[Hashable, Nanoseconds] = {}
    found: dict[int, Waited] = {}
    for place in sorted(range(len(turns)), key=lambda place: turns[place].started_ns):
        turn = turns[place]
        is_first = turn.worker not in free_ns
        free = free_ns.get(turn.worker, turn.ready_ns or turn.submitted_ns)
        waited = turn.started_ns - turn.submitted_ns
        busy = min(max(0, free - turn.submitted_ns), waited)
        found[place] = Waited(0 if is_first else busy, busy if is_first else 0, waited - busy)
        free_ns[turn.worker] = turn.received_ns
    return [found[place] for place in range(len(turns))]
