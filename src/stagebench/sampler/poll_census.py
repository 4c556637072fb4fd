"""The census by polling, where ptrace is not permitted: what lives between two polls is missed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from stagebench.sampler.lives import Life
from stagebench.sampler.procfs import read_children, read_command
from stagebench.sampler.sweep import walk_tree

if TYPE_CHECKING:
    from collections.abc import Callable

SETTLING_NS = 500_000_000
"""For so long a new process's command line is read anew: a child shows its parent's until exec."""


class PollCensus:
    """Lists the tree below `supervisor` at every update.

    `strangers` are children of the supervisor that are none of the run's.
    """

    means = "poll"

    def __init__(
        self,
        supervisor: int,
        strangers: frozenset[int] = frozenset(),
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        children: Callable[[int], list[int]] = read_children,
        command: Callable[[int], str] = read_command,
    ) -> None:
        self._supervisor = supervisor
        self._strangers = strangers
        self._clock = clock
        self._children = children
        self._command = command
        self.lives: list[Life] = []
        self.alive: dict[int, Life] = {}
        self.changes = 0
        self._updated_ns = clock()

    def update(self) -> None:
        """List the tree again, and note who came and who went; collect who ended."""
        self._reap()
        found = dict(walk_tree(self._supervisor, self._children, self._strangers))
        now_ns = self._clock()
        for pid in self.alive.keys() - found.keys():
            self.alive.pop(pid).ended_ns = now_ns
            self.changes += 1
        for pid, parent in found.items():
            self._see(pid, parent, now_ns)
        self._updated_ns = now_ns

    def _reap(self) -> None:
        """Collect the supervisor's own children that have ended, orphans that it adopted too."""
        for pid in set(self._children(self._supervisor)) - self._strangers:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended and pid in self.alive:
                self.alive[pid].exit_status = os.waitstatus_to_exitcode(status)

    def _see(self, pid: int, parent: int, now_ns: int) -> None:
        life = self.alive.get(pid)
        if life is None:
            life = Life(
                pid=pid,
                parent_pid=parent,
                since_ns=self._updated_ns,
                started_ns=now_ns,
                command="",
            )
            self.lives.append(life)
            self.alive[pid] = life
            self.changes += 1
        if now_ns - life.started_ns <= SETTLING_NS:
            life.command = self._command(pid) or life.command
