"""Opening a census: by ptrace where that is permitted, by polling where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.errors import MeasureError
from stagebench.sampler.poll_census import PollCensus
from stagebench.sampler.ptrace_census import PtraceCensus

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.records import TransitionRecord
    from stagebench.sampler.lives import Census
    from stagebench.sampler.ptrace import Report


def open_census(
    means: str,
    main: int,
    supervisor: int,
    strangers: frozenset[int],
    *,
    exit_kill: bool,
    write_transition: Callable[[TransitionRecord], None],
    observe: Callable[[Report], None] | None = None,
) -> Census:
    """Take up the census of the tree that begins with `main`, a child of `supervisor`.

    `auto` falls back to polling where ptrace is refused; `ptrace` raises MeasureError there.
    Polling has no transition to write, and no stop to show to `observe`.
    """
    if means == "poll":
        return PollCensus(supervisor, strangers)
    try:
        return PtraceCensus(
            main, exit_kill=exit_kill, write_transition=write_transition, observe=observe
        )
    except PermissionError as error:
        if means == "auto":
            return PollCensus(supervisor, strangers)
        raise MeasureError(
            f"census: ptrace is not permitted here ({error.strerror}); allow it"
            " (kernel.yama.ptrace_scope below 3, no seccomp filter on it), or set census: auto"
        ) from error
