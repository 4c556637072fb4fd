"""Kinds of programs that hold memory: steadily, for a spike, in threads, or until killed."""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import TYPE_CHECKING

from memory import PAGE, allocate
from scene import SIGKILL, Known, Scene, kill

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 64

STABLE_ROUNDS = 5
"""The number of rounds in a row without growth after which the written truth holds."""


def steady(scene: Scene) -> Known:
    """Hold memory in main and in a child."""
    own, childs = scene.size(8, 60), scene.size(8, 60)
    plateau_s = scene.plateau_s()
    block = allocate(own)
    pause_s = scene.pause()
    child = scene.family.fork(lambda: allocate(childs))
    scene.family.wait_reports()
    scene.readings.watch(child)
    scene.hold_and_kill(plateau_s, child)
    block.close()
    parameters = {"main_bytes": own, "child_bytes": childs}
    return Known(parameters | {"pause_s": pause_s, "plateau_s": plateau_s}, 2, own + childs)


def spike_main(scene: Scene, length_s: float) -> Known:
    """Hold some memory in main, and much more for `length_s`."""
    base, spike = scene.size(2, 10), scene.size(20, 120)
    before_s, after_s = scene.rng.uniform(0.05, 0.15), scene.rng.uniform(0.05, 0.15)
    block = allocate(base)
    time.sleep(before_s)
    for size in (PAGE, spike):  # the first one is a rehearsal
        brief = allocate(size)
        scene.hold(length_s)
        brief.close()
    time.sleep(after_s)
    block.close()
    parameters = {"base_bytes": base, "spike_bytes": spike, "length_s": length_s}
    return Known(parameters, 1, base + spike)


def spike_child(scene: Scene, length_s: float) -> Known:
    """Hold a lot of memory for `length_s` in a child, which then frees it or is killed."""
    return _spike_in_child(scene, length_s, scene.family.fork)


def spike_thread_child(scene: Scene, length_s: float) -> Known:
    """Do the same as `spike_child` in a child of a thread, which /proc lists under that thread."""
    over = threading.Event()
    born: list[int] = []

    def fork_and_wait(body: Callable[[], object]) -> None:
        born.append(scene.family.fork(body))
        # If the thread ended, the child would belong to another one.
        over.wait()

    def fork(body: Callable[[], object]) -> int:
        threading.Thread(target=fork_and_wait, args=(body,)).start()
        while not born:
            time.sleep(0.001)
        return born[0]

    known = _spike_in_child(scene, length_s, fork)
    over.set()
    return known


def _spike_in_child(
    scene: Scene, length_s: float, fork: Callable[[Callable[[], object]], int]
) -> Known:
    spike, frees = scene.size(20, 120), scene.rng.random() < 0.5
    before_s, after_s = scene.rng.uniform(0.05, 0.15), scene.rng.uniform(0.05, 0.15)

    def body() -> None:
        for size in (PAGE, spike):  # the first one is a rehearsal
            brief = allocate(size)
            scene.family.report()
            scene.family.await_permit()
            brief.close()

    time.sleep(before_s)
    child = fork(body)
    scene.readings.watch(child)
    scene.family.wait_reports()
    scene.hold_and_permit(length_s)
    scene.family.wait_reports()
    if frees:
        scene.hold_and_permit(length_s)
        scene.family.wait_reports()
        time.sleep(after_s)
        kill(child, SIGKILL)
    else:
        scene.hold_and_kill(length_s, child)
    time.sleep(after_s)
    return Known({"spike_bytes": spike, "length_s": length_s, "frees": frees}, 2, spike)


def threads(scene: Scene) -> Known:
    """Hold memory in each of 64 threads."""
    size, plateau_s = scene.size(0.2, 1), scene.plateau_s()
    blocks = []
    gate = threading.Lock()
    gate.acquire()

    def hold() -> None:
        blocks.append(allocate(size))
        scene.family.report()
        with gate:
            pass

    crew = [threading.Thread(target=hold) for _ in range(THREADS)]
    for thread in crew:
        thread.start()
    scene.family.wait_reports(THREADS)
    scene.hold(plateau_s)
    for block in blocks:  # before the threads wake up and touch their stacks
        block.close()
    gate.release()
    for thread in crew:
        thread.join()
    parameters = {"threads": THREADS, "thread_bytes": size, "plateau_s": plateau_s}
    return Known(parameters, 1, THREADS * size)


def killed_main(scene: Scene) -> Known:
    """Kill main while it and a child hold memory.

    The truth has to be written before, and writing it takes a few more pages. So it is read and
    written again until it no longer changes.
    """
    own, childs = scene.size(10, 80), scene.size(4, 20)
    plateau_s = scene.plateau_s()
    kept = allocate(own)
    parameters = {"main_bytes": own, "child_bytes": childs, "pause_s": scene.pause()}
    known = Known(parameters | {"plateau_s": plateau_s}, 2, own + childs)
    child = scene.family.fork(lambda: allocate(childs))
    scene.family.wait_reports()
    scene.readings.watch(child)
    signal_self = functools.partial(os.kill, os.getpid())
    scene.hold(plateau_s, [signal_self])
    written = stable = 0
    while stable < STABLE_ROUNDS:
        largest = scene.readings.peak().tree_pss_bytes
        stable += 1
        if largest > written:
            scene.publish(known)
            written, stable = largest, 0
        scene.readings.restart()
        scene.hold(0.0, [signal_self])
    signal_self(SIGKILL)
    return Known({"kept": len(kept)}, 0, 0)  # never reached
