"""Kinds of programs whose processes share memory: by a shared mapping, or after a fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory import MIB, allocate, touch
from scene import Known, Scene

if TYPE_CHECKING:
    import mmap


def shared_mapping(scene: Scene) -> Known:
    """Share a mapping between main and its children, all of which touch all of it."""
    size, plateau_s = scene.size(20, 100), scene.rng.uniform(0.2, 0.4)
    processes = scene.rng.randint(2, 6)
    block = allocate(size, shared=True)
    pause_s = scene.pause()
    # A fork does not copy the page tables of a shared mapping, so each process has to touch it.
    children = [scene.family.fork(lambda: touch(block, 0, size)) for _ in range(processes - 1)]
    scene.family.wait_reports(processes - 1)
    scene.readings.watch(*children)
    scene.hold_and_kill(plateau_s, *children)
    block.close()
    parameters = {"processes": processes, "pause_s": pause_s, "plateau_s": plateau_s}
    return Known(parameters, processes, 0, size)


def copy_on_write(scene: Scene) -> Known:
    """Fork a parent with a large block; the child writes to one half of it, then to the other."""
    half, plateau_s = scene.size(8, 40), scene.plateau_s()
    block = allocate(2 * half)
    pause_s = scene.pause()

    def body() -> None:
        touch(block, 0, half)
        scene.family.report()
        scene.family.await_permit()
        touch(block, half, 2 * half)

    child = scene.family.fork(body)
    scene.readings.watch(child)
    scene.family.wait_reports()
    scene.hold_and_permit(plateau_s)
    scene.family.wait_reports()
    scene.hold_and_kill(plateau_s, child)
    block.close()
    parameters = {"block_bytes": 2 * half, "pause_s": pause_s, "plateau_s": plateau_s}
    return Known(parameters, 2, 4 * half)


def large_parent(scene: Scene) -> Known:
    """Fork several children of a parent with at least 200 MiB; they touch little of it.

    The plateau is long because each reading of so much memory takes about 10 ms.
    """
    size, plateau_s = 200 * MIB + scene.size(0, 100), scene.rng.uniform(0.2, 0.5)
    touched = [scene.size(0.5, 4) for _ in range(scene.rng.randint(2, 5))]
    block = allocate(size)
    pause_s = scene.pause()
    children = [_touching(scene, block, each) for each in touched]
    scene.family.wait_reports(len(children))
    scene.readings.watch(*children)
    scene.hold_and_kill(plateau_s, *children)
    block.close()
    parameters = {"main_bytes": size, "touched_bytes": touched, "pause_s": pause_s}
    return Known(parameters | {"plateau_s": plateau_s}, 1 + len(children), size + sum(touched))


def _touching(scene: Scene, block: mmap.mmap, size: int) -> int:
    return scene.family.fork(lambda: touch(block, 0, size))
