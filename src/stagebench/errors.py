"""Errors that a user can act on: each message names the place, the value and what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class StagebenchError(Exception):
    """Base class of all errors that stagebench raises; printed without a traceback."""

    exit_code = 1


class ConfigError(StagebenchError):
    """All problems of a config, or of another file that users write.

    Each of `problems` is one line: "dotted place: what is wrong; what is allowed".
    """

    def __init__(self, problems: list[str], *, file: str = "config") -> None:
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        super().__init__("\n".join([f"{file}: {count}", *(f"  {line}" for line in problems)]))
        self.problems = problems


class WorkflowError(StagebenchError):
    """A workflow that cannot be run as described."""


class UnsupportedError(StagebenchError):
    """A treatment that its interpreter, engine or nodes cannot run: an outcome, not a failure."""

    exit_code = 69
    """Of the measured process that ends so; EX_UNAVAILABLE of sysexits.h."""


class WorkerLostError(StagebenchError):
    """A stage's workers die before they are ready."""


class StoreError(StagebenchError):
    """A stored file is missing, cut off, or of another version."""


class MeasureError(StagebenchError):
    """A run that cannot be measured on this machine or with these arguments."""


class ModelError(StagebenchError):
    """A question that the model of a workflow cannot answer from what was measured."""


class MissingPackageError(StagebenchError):
    """A package that is no part of the plain installation is needed, and is not there."""

    def __init__(self, package: str) -> None:
        super().__init__(f'{package} is not installed; pip install "stagebench[study]" brings it')


class OptionError(StagebenchError):
    """Invalid command-line option."""

    exit_code = 2


class CommandError(StagebenchError):
    """A command that cannot be run; the exit code is the one a shell would return."""

    def __init__(self, text: str, *, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def closest(value: str, allowed: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the closest allowed name, or an empty string."""
    # Imported only for an error: every import adds to the measured process's memory.
    import difflib

    matches = difflib.get_close_matches(value, allowed, n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
