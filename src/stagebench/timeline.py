"""What a trace's figure draws: made by analyse, drawn by present."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.units import Bytes, Seconds


class Timeline(NamedTuple):
    """PSS at the end of every sweep, by part; the number of processes from each moment on.

    Seconds since the start of the command.
    """

    time_s: Sequence[Seconds]
    pss_bytes: Mapping[str, Sequence[Bytes]]
    changed_s: Sequence[Seconds]
    alive: Sequence[int]
