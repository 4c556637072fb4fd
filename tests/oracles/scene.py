"""What every kind of program is given: its random sizes, its children, its readings."""

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
"""Readings of a plateau."""

SIGKILL = int(signal.SIGKILL)
"""A plain number beside 0, which rehearses it: the named one lies in a page of its own."""

LARGEST_PLATEAUS = 4
LARGEST_TREE = 8


class Known(NamedTuple):
    """What is known of a program by its construction."""

    parameters: dict[str, Any]
    processes_created: int
    anonymous_bytes: int
    shared_mapping_bytes: int | None = None


class Family:
    """Children that report and then stand still.

    They are ended by SIGKILL where they stand: on its way out a child would touch pages that it
    had shared until then, after the last reading. When main ends first they end by themselves.
    """

    def __init__(self) -> None:
        self.life, self._life_end = os.pipe()
        self._reports, self.reporting = os.pipe()
        self._permits, self._permitting = os.pipe()
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._anything = os.open("/dev/zero", os.O_RDONLY)

    def fork(self, body: Callable[[], object]) -> int:
        """Fork a child that runs `body`, reports, and stands still with what `body` gave."""
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
        """Close, in a child, the ends by which it would see its parent alive for ever."""
        os.close(self._life_end)
        os.close(self._permitting)

    def stand_still(self, _kept: object = None) -> NoReturn:
        """Report, and wait for the end of main or, rather, to be killed."""
        self.report()
        os.read(self.life, 1)
        os._exit(0)

    def report(self) -> None:
        """Tell main, from a child, that all is as main wanted it."""
        os.write(self.reporting, b"r")

    def wait_reports(self, count: int = 1) -> None:
        """Wait for that many reports."""
        for _ in range(count):
            os.read(self._reports, 1)

    def permit(self, permitted: int = 1) -> None:
        """Let one child that awaits it go on; with 0, do the same to no effect, as a rehearsal."""
        os.write(self._permitting if permitted else self._nowhere, b"p")

    def await_permit(self) -> None:
        """Wait, in a child, for main's permission to go on; without main there is none."""
        for source in (self._anything, self._permits):  # the first is a rehearsal
            if not os.read(source, 1):
                os._exit(1)


class Scene:
    """One run of one kind."""

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
        """Draw two sizes, either the larger one, by more than what an interpreter needs itself."""
        small = self.size(4, 40)
        large = small + self.size(16, 40)
        return (small, large) if self.rng.random() < 0.5 else (large, small)

    def plateau_s(self) -> float:
        """Draw how long memory is held."""
        return self.rng.uniform(0.08, 0.2)

    def pause(self) -> float:
        """Stay as it is for a random time, as a program does between two steps; gives the time."""
        pause_s = self.rng.uniform(0, 0.15)
        time.sleep(pause_s)
        return pause_s

    def hold(
        self, length_s: float, ends: Iterable[Callable[[int], None]] = (), last: int = 0
    ) -> None:
        """Read the tree several times over `length_s`; at its end call each of `ends` with `last`.

        They are called with 0 in the rounds before: so the end runs through no code, and
        touches no page, that was not in use before the last reading.
        """
        self.readings.begin()
        started = time.monotonic()
        for done in range(1, ROUNDS + 1):
            time.sleep(max(0.0, started + length_s * done / ROUNDS - time.monotonic()))
            self.readings.read()
            for end in ends:
                end(last if done == ROUNDS else 0)

    def hold_and_permit(self, length_s: float) -> None:
        """Read the tree over `length_s`, then let a child that awaits it go on."""
        self.hold(length_s, [self.family.permit], 1)

    def hold_and_kill(self, length_s: float, *children: int) -> None:
        """Read the tree over `length_s`, then kill its children where they stand."""
        self.hold(length_s, [functools.partial(kill, child) for child in children], SIGKILL)


def kill(child: int, number: int) -> None:
    """Send a signal; if it is none, see whether the child has ended, else wait until it has.

    A tracer keeps a killed child's memory for a while. Meanwhile this process stands still, too.
    """
    os.kill(child, number)
    os.waitpid(child, 0 if number else os.WNOHANG)
