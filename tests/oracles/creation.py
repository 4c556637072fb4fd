"""A program that creates processes in one of many ways, and knows how many it has created.

    python creation.py WAY --number N --truth FILE

The truth counts every process of the tree: main, the children asked for, and helpers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POOL_SIZE = 20
NOTHING = "/bin/true"


def fork(number: int) -> int:
    """Fork from the main thread."""
    for _ in range(number):
        _fork_and_wait()
    return 0


def fork_in_thread(number: int) -> int:
    """Fork from another thread."""
    thread = threading.Thread(target=fork, args=(number,))
    thread.start()
    thread.join()
    return 0


def double_fork(number: int) -> int:
    """Fork children that each fork a child of their own and leave it an orphan."""
    end, held = os.pipe()
    for _ in range(number // 2):
        child = os.fork()
        if child == 0:
            os.fork()
            os._exit(0)
        os.waitpid(child, 0)
    os.close(held)
    os.read(end, 1)  # returns when the last orphan has ended and so closed the other end
    return 0


def run_subprocess(number: int) -> int:
    """Start programs by `subprocess`, which uses vfork."""
    for _ in range(number):
        subprocess.run([NOTHING], check=True)
    return 0


def posix_spawn(number: int) -> int:
    """Start programs by posix_spawn(3)."""
    for _ in range(number):
        os.waitpid(os.posix_spawn(NOTHING, [NOTHING], os.environ), 0)
    return 0


def pool_fork(number: int) -> int:
    """Start pools of forked workers; there is no helper."""
    return _start_pools("fork", number)


def pool_forkserver(number: int) -> int:
    """Start pools of a forkserver; helpers are the forkserver and the resource tracker."""
    return _start_pools("forkserver", number) + 2


def pool_spawn(number: int) -> int:
    """Start pools of spawned workers; the resource tracker is a helper."""
    return _start_pools("spawn", number) + 1


def _start_pools(method: str, number: int) -> int:
    context = multiprocessing.get_context(method)
    for _ in range(number // POOL_SIZE):
        with context.Pool(POOL_SIZE) as pool:
            pool.map(abs, range(POOL_SIZE))
            pool.close()
            pool.join()
    return 0


def _fork_and_wait() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


WAYS: dict[str, Callable[[int], int]] = {
    "fork": fork,
    "fork_in_thread": fork_in_thread,
    "double_fork": double_fork,
    "subprocess": run_subprocess,
    "posix_spawn": posix_spawn,
    "pool_fork": pool_fork,
    "pool_forkserver": pool_forkserver,
    "pool_spawn": pool_spawn,
}
"""Functions that create a number of children and return how many helpers there were, by name.

The number must be even, and for pools a multiple of `POOL_SIZE`.
"""


def main() -> None:
    """Create the children and write how many processes there were."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=[*WAYS])
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    options = parser.parse_args()
    started_ns = time.monotonic_ns()
    helpers = WAYS[options.way](options.number)
    truth = {
        "kind": options.way,
        "children": options.number,
        "helpers": helpers,
        "processes_created": 1 + options.number + helpers,
        "duration_s": (time.monotonic_ns() - started_ns) / 1e9,
    }
    options.truth.write_text(json.dumps(truth), encoding="utf-8")


if __name__ == "__main__":
    main()
