"""What a workflow may have left behind in this process and on this machine."""

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
        """Return what exists now and did not exist before."""
        left = {
            name: set(now) - set(then)
            for (name, now), then in zip(self._asdict().items(), before, strict=True)
        }
        return {name: some for name, some in left.items() if some}


def look():
    """Return everything that exists now."""
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
        with contextlib.suppress(FileNotFoundError):  # the listing's own descriptor
            yield f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}"  # a single call


def wait_for_none(before):
    """Wait until nothing is left beyond `before`; return what remains after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    left = look().beyond(before)
    while left and time.monotonic() < end:
        time.sleep(0.002)
        gc.collect()
        left = look().beyond(before)
    return left
