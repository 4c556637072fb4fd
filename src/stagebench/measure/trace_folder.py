"""The folder of a trace: where it is made, and how it is taken back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stagebench import store
from stagebench.errors import OptionError

if TYPE_CHECKING:
    from datetime import datetime


WRITTEN_FIRST = (
    store.RUN_FILE,
    store.SWEEPS_FILE,
    store.SAMPLES_FILE,
    store.TRANSITIONS_FILE,
)
"""What is in a folder before the command begins."""


class TraceFolder(NamedTuple):
    """A folder for one trace; `made` says whether it is this program's to remove."""

    path: Path
    made: bool

    def discard(self) -> None:
        """Remove what the start of a trace wrote, when there was nothing to trace."""
        for name in WRITTEN_FIRST:
            (self.path / name).unlink(missing_ok=True)
        if self.made:
            self.path.rmdir()


def make_trace_folder(chosen: Path | None, program: str, now: datetime) -> TraceFolder:
    """Make the chosen folder, or one of a new name in the current one; raises OptionError."""
    return _make_default(program, now) if chosen is None else _make_chosen(chosen)


def _make_chosen(path: Path) -> TraceFolder:
    try:
        path.mkdir()
    except FileExistsError:
        _check_empty(path)
        return TraceFolder(path, made=False)
    except OSError as error:
        raise OptionError(f"--out {path}: cannot be made ({error.strerror})") from error
    return TraceFolder(path, made=True)


def _check_empty(path: Path) -> None:
    try:
        found = any(path.iterdir())
    except OSError as error:
        raise OptionError(f"--out {path}: cannot be used ({error.strerror})") from error
    if found:
        raise OptionError(
            f"--out {path}: is not empty; name a folder that is, or one that does not exist"
        )


def _make_default(program: str, now: datetime) -> TraceFolder:
    name = re.sub(r"[^\w.+-]", "_", Path(program).name)[:100]
    stem = f"trace-{name}-{now:%Y%m%dT%H%M%S}"
    path, number = Path(stem), 1
    while True:
        try:
            path.mkdir()
        except FileExistsError:  # another trace of the same second
            number += 1
            path = Path(f"{stem}-{number}")
        except OSError as error:
            raise OptionError(
                f"{path}: cannot be made here ({error.strerror}); choose a place with --out"
            ) from error
        else:
            return TraceFolder(path, made=True)
