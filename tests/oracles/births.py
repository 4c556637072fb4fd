"""Kinds of programs that create processes: many short-lived ones, orphans, and by exec."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from memory import MIB, PAGE, allocate
from scene import LARGEST_PLATEAUS, ROUNDS, SIGKILL, Known, Scene, kill

if TYPE_CHECKING:
    from collections.abc import Callable

HOLDER = str(Path(__file__).with_name("holder.py"))


class Grandchild:
    """A descendant that main cannot wait for; its end closes a pipe that it alone holds."""

    def __init__(self) -> None:
        self._end, self._held = os.pipe()
        self._pid_read, self._pid_write = os.pipe()
        self.pid = 0

    def fork(self, scene: Scene, body: Callable[[], object]) -> None:
        """Fork it; to be called by a child of main."""
        if os.fork() == 0:
            try:
                os.write(self._pid_write, b"%d\n" % os.getpid())
                os.write(self._held, b"." * ROUNDS * LARGEST_PLATEAUS)
                kept = body()
                scene.family.stand_still(kept)
            finally:
                os._exit(1)
        os.close(self._held)

    def read_pid(self) -> int:
        """Return its process id; to be called by main."""
        os.close(self._held)
        self.pid = int(os.read(self._pid_read, 20))
        return self.pid

    def kill(self, number: int) -> None:
        """Do the same as `scene.kill`: its memory is freed before its end of the pipe is closed."""
        os.kill(self.pid, number)
        while os.read(self._end, 1) and number:
            pass


def churn(scene: Scene) -> Known:
    """Fork many children one after another; each touches a little memory and lives about 1 ms.

    Main and the child are read twice: at the first reading the child may still be running.
    """
    number = scene.number or scene.rng.randint(40, 120)
    size, main_size = scene.size(0.5, 2), scene.size(2, 20)
    block = allocate(main_size)
    for _ in range(number):
        child = scene.family.fork(lambda: allocate(size))
        scene.readings.watch(child)
        scene.family.wait_reports()
        for end in (0, SIGKILL):
            scene.readings.read()
            kill(child, end)
        scene.readings.keep_largest()
    block.close()
    parameters = {"children": number, "child_bytes": size, "main_bytes": main_size}
    return Known(parameters, 1 + number, size + main_size)


def double_fork(scene: Scene) -> Known:
    """Hold memory in a grandchild whose parent has ended."""
    size, plateau_s = scene.size(20, 100), scene.plateau_s()
    grandchild = Grandchild()

    def body() -> None:
        grandchild.fork(scene, lambda: allocate(size))
        os._exit(0)

    child = scene.family.fork(body)
    pid = grandchild.read_pid()
    os.waitpid(child, 0)
    scene.family.wait_reports()
    scene.readings.watch(pid)
    scene.hold(plateau_s, [grandchild.kill], last=SIGKILL)
    return Known({"grandchild_bytes": size, "plateau_s": plateau_s}, 3, size)


def orphan(scene: Scene) -> Known:
    """End a child that holds memory; its own child, which holds some as well, then takes more."""
    first = scene.size(4, 30)
    childs, more = scene.unequal_sizes()
    plateau_s = scene.plateau_s()
    grandchild = Grandchild()

    def grow() -> object:
        kept = allocate(first)
        scene.family.report()
        scene.family.await_permit()
        return kept, allocate(more)

    def body() -> object:
        grandchild.fork(scene, grow)
        return allocate(childs)

    child = scene.family.fork(body)
    pid = grandchild.read_pid()
    scene.family.wait_reports(2)
    scene.readings.watch(child, pid)
    scene.hold_and_kill(plateau_s, child)
    scene.family.permit()
    scene.family.wait_reports()
    scene.readings.watch(pid)
    scene.hold(plateau_s, [grandchild.kill], last=SIGKILL)
    parameters = {"child_bytes": childs, "first_bytes": first, "more_bytes": more}
    return Known(parameters | {"plateau_s": plateau_s}, 3, first + max(childs, more))


def fork_exec(scene: Scene) -> Known:
    """Hold memory in a forked child, and again after it has become another program."""
    before, after = scene.unequal_sizes()
    plateau_s = scene.plateau_s()
    command = _holder(scene, after)

    def body() -> None:
        allocate(PAGE).close()  # a rehearsal
        _kept, ballast = allocate(before), allocate(MIB)
        for inherited in (scene.family.life, scene.family.reporting):
            os.set_inheritable(inherited, True)
        scene.family.report()
        scene.family.await_permit()
        ballast.close()  # compensates for the pages that are touched until the exec
        os.execv(command[0], command)

    child = scene.family.fork(body)
    scene.family.wait_reports()
    scene.readings.watch(child)
    scene.hold_and_permit(plateau_s)
    scene.family.wait_reports()
    scene.readings.watch(child)
    scene.hold_and_kill(plateau_s, child)
    parameters = {"before_bytes": before, "after_bytes": after, "plateau_s": plateau_s}
    return Known(parameters, 2, max(before + MIB, after))


def vfork_exec(scene: Scene) -> Known:
    """Start a program by vfork, which shares main's memory with it until its exec."""
    own, childs, plateau_s = scene.size(8, 60), scene.size(8, 60), scene.plateau_s()
    block = allocate(own)
    pipes = (scene.family.life, scene.family.reporting)
    program = subprocess.Popen(_holder(scene, childs), pass_fds=pipes)
    scene.family.wait_reports()
    scene.readings.watch(program.pid)
    scene.hold_and_kill(plateau_s, program.pid)
    program.returncode = -SIGKILL
    block.close()
    parameters = {"main_bytes": own, "program_bytes": childs, "plateau_s": plateau_s}
    return Known(parameters, 2, own + childs)


def _holder(scene: Scene, size: int) -> list[str]:
    pipes = (scene.family.reporting, scene.family.life)
    return [*scene.python, HOLDER, str(size), *map(str, pipes)]
