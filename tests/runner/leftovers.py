"""What a workflow may have left in this process and on this machine."""

import contextlib
import gc
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from stagebench.sampler.procfs import read_children

PATIENCE_S = 10.0


class Leftovers(NamedTuple):
    """Everything that a workflow opens or starts, by name."""

    descriptors: frozenset[str]
    children: frozenset[int]
    threads: frozenset[threading.Thread]
    mappings: tuple[str, ...]
    segments: frozenset[str]
    folders: frozenset[str]

    def beyond(self, before):
        """Give what is here and was not before."""
        left = {
            name: set(now) - set(then)
            for (name, now), then in zip(self._asdict().items(), before, strict=True)
        }
        return {name: some for name, some in left.items() if some}


def look():
    """Look at all of it now."""
    shared = Path("/dev/shm")
    return Leftovers(
        frozenset(_descriptors()),
        frozenset(read_children(os.getpid())),
        frozenset(thread for thread in threading.enumerate()),
        tuple(
            line.split()[0]
            for line in Path("/proc/self/maps").read_text().splitlines()
            if "/dev/shm/" in line
        ),
        frozenset(path.name for path in shared.glob(f"stagebench_{os.getpid()}_*")),
        frozenset(
            str(path) for path in Path(tempfile.gettempdir()).glob(f"stagebench-{os.getpid()}-*")
        ),
    )


def _descriptors():
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}"  # one call


def wait_for_none(before):
    """Give what is left beyond `before` when nothing more of it goes away."""
    end = time.monotonic() + PATIENCE_S
    left = look().beyond(before)
    while left and time.monotonic() < end:
        time.sleep(0.002)
        gc.collect()
        left = look().beyond(before)
    return left
