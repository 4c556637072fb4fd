"""Opening a census by ptrace or, where that is not permitted, by polling.

The polling census is here, too; it misses processes that live between two polls.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from stagebench.errors import MeasureError
from stagebench.sampler.processes import Life, may_share_memory, read_cpu_ns
from stagebench.sampler.procfs import children_reader, read_command
from stagebench.sampler.ptrace import PtraceCensus, PtraceRefusedError
from stagebench.sampler.sweep import walk_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.records import TransitionRecord
    from stagebench.sampler.processes import Census
    from stagebench.sampler.ptrace import Report


def open_census(
    means: str,
    main: int,
    supervisor: int,
    strangers: frozenset[int],
    *,
    exit_kill: bool,
    write_transition: Callable[[TransitionRecord], None],
    observe: Callable[[Report], None] | None = None,
) -> Census:
    """Start a census of the tree of `main`, a child of `supervisor`.

    If ptrace is refused, `auto` falls back to polling and `ptrace` raises MeasureError. A polling
    census calls neither `write_transition` nor `observe`.
    """
    if means == "poll":
        return _open_poll_census(supervisor, strangers)
    try:
        return PtraceCensus(
            main, exit_kill=exit_kill, write_transition=write_transition, observe=observe
        )
    except PtraceRefusedError as error:
        if means == "auto":
            return _open_poll_census(supervisor, strangers)
        raise MeasureError(
            f"census: ptrace is not permitted here ({error}); allow it"
            " (kernel.yama.ptrace_scope below 3, no seccomp filter on it), or set census: auto"
        ) from error


def _open_poll_census(supervisor: int, strangers: frozenset[int]) -> PollCensus:
    census = PollCensus(supervisor, strangers)
    census.update()  # main is still held: later it may end between two updates
    return census


SETTLING_NS = 500_000_000
"""A new process's command line is reread for this long: until exec, a child shows its parent's."""


class PollCensus:
    """Lists the tree below `supervisor` at every update.

    `strangers` are children of the supervisor that do not belong to the run.
    """

    means = "poll"

    def __init__(
        self,
        supervisor: int,
        strangers: frozenset[int] = frozenset(),
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        children: Callable[[int], list[int]] | None = None,
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
        """Reap ended children, list the tree again, and note which processes came and went."""
        self._reap()
        found = self._find()
        now_ns = self._clock()
        for pid in self.alive.keys() - found.keys():
            self.alive.pop(pid).ended_ns = now_ns
            self.changes += 1
        for pid, parent in found.items():
            self._see(pid, parent, now_ns)
        self._find_owners()
        self._updated_ns = now_ns

    def _find(self) -> dict[int, int | None]:
        """Return every process of the tree, with its parent."""
        children = self._children or children_reader()
        return dict(walk_tree(self._supervisor, children, self._strangers))

    def _find_owners(self) -> None:
        """Find out whose memory new processes have, and whether those that shared it still do."""
        shared = {life.space for life in self.alive.values() if not life.owns_memory}
        open_ = [life for life in self.alive.values() if not life.space or life.space in shared]
        if not open_:
            return
        owners = [life for life in self.alive.values() if life not in open_]
        for life in open_:
            owner = next((each for each in owners if may_share_memory(each.pid, life.pid)), None)
            life.owns_memory = owner is None
            life.space = life.pid if owner is None else owner.space
            if owner is None:
                owners.append(life)

    def _reap(self) -> None:
        """Reap the supervisor's children that have ended, including adopted orphans."""
        children = self._children or children_reader()
        for pid in set(children(self._supervisor)) - self._strangers:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            cpu_ns = read_cpu_ns(pid)
            _, status = os.waitpid(pid, 0)
            if pid in self.alive:
                self.alive[pid].exit_status = os.waitstatus_to_exitcode(status)
                self.alive[pid].note_cpu(cpu_ns, is_final=True)

    def _see(self, pid: int, parent: int | None, now_ns: int) -> None:
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
        life.note_cpu(read_cpu_ns(pid))
