"""The parts of every kind of program: random sizes, children and readings."""

from __future__ import annotations

import functools
import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from memory import MIB, PAGE
from readings import Readings

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

ROUNDS = 4
"""Readings per plateau."""

SIGKILL = int(signal.SIGKILL)
"""A plain int like 0, which is used to rehearse it: the enum member lies in a page of its own."""

LARGEST_PLATEAUS = 4
LARGEST_TREE = 8


class Known(NamedTuple):
    """What is known about a program by its construction."""

    parameters: dict[str, Any]
    processes_created: int
    anonymous_bytes: int
    shared_mapping_bytes: int | None = None


class Family:
    """Children that report and then stand still.

    SIGKILL ends them where they stand: a regular exit would touch pages that the child shared
    until then, after the last reading. If main ends first, they end by themselves.
    """

    def __init__(self) -> None:
        self.life, self._life_end = os.pipe()
        self._reports, self.reporting = os.pipe()
        self._permits, self._permitting = os.pipe()
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._anything = os.open("/dev/zero", os.O_RDONLY)

    def fork(self, body: Callable[[], object]) -> int:
        """Fork a child that runs `body`, reports, and stands still with the result of `body`."""
        pid = os.fork()
        if pid:
            return pid
        try:
            self.leave_parent()
            kept = body()
            self.stand_still(kept)
        finally:
            os._exit(1)

    def leave_parent(self) -> None:
        """Close, in a child, its copies of the pipe ends whose closing reports main's end."""
        os.close(self._life_end)
        os.close(self._permitting)

    def stand_still(self, _kept: object = None) -> NoReturn:
        """Report, and wait to be killed, or for the end of main."""
        self.report()
        os.read(self.life, 1)
        os._exit(0)

    def report(self) -> None:
        """Report to main, from a child, that it is ready."""
        os.write(self.reporting, b"r")

    def wait_reports(self, count: int = 1) -> None:
        """Wait for a number of reports."""
        for _ in range(count):
            os.read(self._reports, 1)

    def permit(self, permitted: int = 1) -> None:
        """Let one waiting child continue; with 0, do the same without effect, as a rehearsal."""
        os.write(self._permitting if permitted else self._nowhere, b"p")

    def await_permit(self) -> None:
        """Wait, in a child, for main's permission to continue; exit if main has ended."""
        for source in (self._anything, self._permits):  # the first one is a rehearsal
            if not os.read(source, 1):
                os._exit(1)


class Scene:
    """One run of one kind of program."""

    def __init__(
        self, rng: random.Random, *, scale: float, number: int | None, python: list[str]
    ) -> None:
        self.rng = rng
        self.number = number
        self.python = python
        self.family = Family()
        self.readings = Readings(ROUNDS * LARGEST_PLATEAUS, LARGEST_TREE)
        self.publish: Callable[[Known], None] = lambda _known: None
        self._scale = scale

    def size(self, low_mib: float, high_mib: float) -> int:
        """Draw a size in whole pages."""
        low, high = (int(bound * self._scale * MIB) // PAGE for bound in (low_mib, high_mib))
        return self.rng.randint(low, high) * PAGE

    def unequal_sizes(self) -> tuple[int, int]:
        """Draw two sizes in random order; they differ by more than an interpreter itself needs."""
        small = self.size(4, 40)
        large = small + self.size(16, 40)
        return (small, large) if self.rng.random() < 0.5 else (large, small)

    def plateau_s(self) -> float:
        """Draw for how long memory is held."""
        return self.rng.uniform(0.08, 0.2)

    def pause(self) -> float:
        """Sleep for a random time, as between two steps of a program; returns that time."""
        pause_s = self.rng.uniform(0, 0.15)
        time.sleep(pause_s)
        return pause_s

    def hold(
        self, length_s: float, ends: Iterable[Callable[[int], None]] = (), last: int = 0
    ) -> None:
        """Read the tree several times over `length_s`, then call each of `ends` with `last`.

        In the rounds before they are called with 0, as a rehearsal: so at the end no code is run
        and no page is touched for the first time.
        """
        self.readings.begin()
        started = time.monotonic()
        for done in range(1, ROUNDS + 1):
            time.sleep(max(0.0, started + length_s * done / ROUNDS - time.monotonic()))
            self.readings.read()
            for end in ends:
                end(last if done == ROUNDS else 0)

    def hold_and_permit(self, length_s: float) -> None:
        """Read the tree over `length_s`, then let a waiting child continue."""
        self.hold(length_s, [self.family.permit], 1)

    def hold_and_kill(self, length_s: float, *children: int) -> None:
        """Read the tree over `length_s`, then kill its children where they stand."""
        self.hold(length_s, [functools.partial(kill, child) for child in children], SIGKILL)


def kill(child: int, number: int) -> None:
    """Send a signal and wait until the child has ended; with 0, only check whether it has.

    A tracer keeps a killed child's memory for a while, so this process stands still meanwhile.
    """
    os.kill(child, number)
    os.waitpid(child, 0 if number else os.WNOHANG)
