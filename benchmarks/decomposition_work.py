"""A handler of known make-up, for decomposition.py; it notes what it has done."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from pathlib import Path

import numpy as np

SIZE = 640
_matrix = np.ones((SIZE, SIZE))
_lock = threading.Lock()
_released = [0.0]
"""When the lock was last released: a thread that waits for it is then ready to go on."""


def work(
    *,
    truth: str,
    rounds: int = 1,
    spin_s: float = 0.0,
    numpy_s: float = 0.0,
    sleep_s: float = 0.0,
    reads: int = 0,
    read_s: float = 0.0,
    lock_sleep_s: float = 0.0,
    lock_spin_s: float = 0.0,
) -> None:
    """Do so often what is asked for: compute with and without the GIL, sleep, read, lock.

    `spin_s` and `numpy_s` are CPU time; the lock is shared by all threads. For how long it was
    blocked, and computed with and without the GIL, is appended to the file `truth`.
    """
    started_ns = time.monotonic_ns()
    blocked_s, held_s, computing_s = 0.0, 0.0, 0.0
    for _ in range(rounds):
        if spin_s:
            held_s += spin(spin_s)
        if numpy_s:
            computing_s += multiply(numpy_s)
        if sleep_s:
            time.sleep(sleep_s)
            blocked_s += sleep_s
        for _ in range(reads):
            read(read_s)
            blocked_s += read_s
        if lock_sleep_s or lock_spin_s:
            waits_s = acquire()
            blocked_s += waits_s + lock_sleep_s
            if lock_sleep_s:
                time.sleep(lock_sleep_s)
            if lock_spin_s:
                held_s += spin(lock_spin_s)
            _released[0] = time.monotonic()
            _lock.release()
    known = {
        "thread_id": threading.get_native_id(),
        "started_ns": started_ns,
        "blocked_s": blocked_s,
        "held_s": held_s,
        "computing_s": computing_s,
    }
    with Path(truth).open("a", encoding="ascii") as file:
        file.write(json.dumps(known) + "\n")


def spin(seconds: float) -> float:
    """Compute with the GIL; return the CPU time."""
    start = time.thread_time()
    while (spent := time.thread_time() - start) < seconds:
        pass
    return spent


def multiply(seconds: float) -> float:
    """Compute without the GIL, a few milliseconds at a time; return the CPU time."""
    start, out = time.thread_time(), np.empty_like(_matrix)
    while (spent := time.thread_time() - start) < seconds:
        np.matmul(_matrix, _matrix, out=out)
    return spent


def read(seconds: float) -> None:
    """Wait for a pipe to which nobody writes."""
    receiver, sender = os.pipe()
    select.select([receiver], [], [], seconds)
    os.close(receiver)
    os.close(sender)


def acquire() -> float:
    """Take the lock; return how long another thread kept it meanwhile."""
    if _lock.acquire(blocking=False):
        return 0.0
    start = time.monotonic()
    _lock.acquire()
    return max(0.0, _released[0] - start)
