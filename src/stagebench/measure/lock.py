"""One measurement at a time on a machine, also across checkouts and users."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from stagebench.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_PATH = "/tmp/stagebench-measure.lock"  # noqa: S108 - one path for the whole machine, whatever TMPDIR says


@contextlib.contextmanager
def measurement_lock(path: str = LOCK_PATH) -> Iterator[float]:
    """Hold the machine's measurement lock; gives the seconds waited for it.

    The kernel releases the lock when its holder ends, however that happens.
    """
    started = time.monotonic()
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield time.monotonic() - started
    finally:
        os.close(descriptor)


def _open_lock(path: str) -> int:
    """Open the lock file for reading, which flock is content with and other users are allowed."""
    try:
        # Without O_CREAT where it exists: in a sticky folder that flag is refused on others' files.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise MeasureError(f"{path}: the measurement lock cannot be opened ({error})") from error
