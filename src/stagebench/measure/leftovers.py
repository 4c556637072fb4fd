"""What a run may leave in memory and on disk: it has a name of its own, by which it is removed.

The measured process gets a new folder as its temporary directory, and the runner names its shared
memory after that folder. The supervisor keeps the folder locked, so a folder without a lock is that
of a supervisor that was killed. What handlers share by multiprocessing's own means is removed by
its resource tracker, which `process.kill_tree` therefore kills last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "stagebench-run-"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory

LINKS = Path("/tmp")  # noqa: S108 - a short path on every machine, whatever TMPDIR is
LONGEST_FOLDER = 72
"""In bytes: a socket that multiprocessing makes in a temporary directory needs 35 of its 107. A
longer folder is reached by a link in `LINKS`."""


@contextlib.contextmanager
def own_variables(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the variables that give a run a place of its own; remove what is in it afterwards.

    `environment` is the measured process's; the place is in the temporary directory that it names.
    What killed supervisors left there is removed first.
    """
    parent = Path(environment.get("TMPDIR") or tempfile.gettempdir()).absolute()
    if not os.access(parent, os.W_OK | os.X_OK):
        parent = Path(tempfile.gettempdir()).absolute()
    for folder in parent.glob(f"{PREFIX}*"):
        _remove_abandoned(folder)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = os.open(folder, os.O_RDONLY)
    try:
        _try_lock(lock)
        place = folder
        if len(os.fsencode(folder)) > LONGEST_FOLDER:
            place = LINKS / folder.name
            place.symlink_to(folder)
        yield {"STAGEBENCH_PREFIX": folder.name, "TMPDIR": str(place)}
    finally:
        _remove(folder)
        os.close(lock)


def _try_lock(descriptor: int) -> bool:
    """Lock a folder; False if another process has locked it, or if its disk has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # of another user, or removed meanwhile
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid() and _try_lock(lock):
            _remove(folder)
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a run's temporary directory, and first the shared memory that has its name."""
    for segment in SHARED_MEMORY.glob(f"{folder.name}*"):
        with contextlib.suppress(OSError):
            segment.unlink()
    link = LINKS / folder.name
    if link.is_symlink():
        link.unlink()
    shutil.rmtree(folder, ignore_errors=True)
