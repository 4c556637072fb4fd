"""Errors that a user can act on: each text names the place, the value and what is allowed."""

from __future__ import annotations


class StagebenchError(Exception):
    """Base of all errors that stagebench raises on purpose; printed without a traceback."""

    exit_code = 1


class ConfigError(StagebenchError):
    """Everything that is wrong with one config, or another file that users write, in one pass.

    `problems` holds one line each, "dotted place: what is wrong; what is allowed".
    """

    def __init__(self, problems: list[str], *, file: str = "config") -> None:
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        super().__init__("\n".join([f"{file}: {count}", *(f"  {line}" for line in problems)]))
        self.problems = problems


class WorkflowError(StagebenchError):
    """A workflow that cannot be run as it was described."""


class WorkerLostError(StagebenchError):
    """Workers of a stage end before they are ready to serve; it can get no others."""


class StoreError(StagebenchError):
    """A file of the on-disk contract is missing, cut off or of another version."""


class MeasureError(StagebenchError):
    """This machine or this call does not allow the run to be measured."""


class OptionError(StagebenchError):
    """An option's value that does not allow to begin."""

    exit_code = 2


class CommandError(StagebenchError):
    """A command that cannot be run; the exit code is a shell's for that."""

    def __init__(self, text: str, *, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def closest(value: str, allowed: list[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest allowed name, or an empty text."""
    # difflib is imported where an error is being written: measured processes import this module.
    import difflib

    matches = difflib.get_close_matches(value, allowed, n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
