"""Units of time and memory: names for annotations, conversion at the edge, formatting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


Seconds: TypeAlias = float
Nanoseconds: TypeAlias = int
Bytes: TypeAlias = int

NS_PER_S = 1_000_000_000
KIB = 1024
MIB = 1024 * 1024
GIB = 1024 * MIB
TIB = 1024 * GIB


def to_seconds(duration_ns: Nanoseconds) -> Seconds:
    """Convert nanoseconds to seconds."""
    return duration_ns / NS_PER_S


def to_nanoseconds(duration_s: Seconds) -> Nanoseconds:
    """Convert seconds to whole nanoseconds."""
    return round(duration_s * NS_PER_S)


def quantile_s(ordered_ns: Sequence[Nanoseconds], share: float) -> Seconds | None:
    """Return the value below which a share of an ordered list lies, in seconds."""
    if not ordered_ns:
        return None
    return to_seconds(ordered_ns[min(len(ordered_ns) - 1, int(share * len(ordered_ns)))])


def format_bytes(size: Bytes) -> str:
    """Format a size with the largest binary unit below it, three digits: "1.49 GiB"."""
    for name, unit in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(size) >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"


def format_seconds(duration: Seconds) -> str:
    """Format a duration for reading: "1 h 05 min", "3 min 20 s", "4.2 s", "12 ms"."""
    if duration >= 3600:  # seconds an hour
        hours, minutes = divmod(round(duration / 60), 60)
        return f"{hours} h {minutes:02d} min"
    if duration >= 100:  # from here on minutes read better
        minutes, seconds = divmod(round(duration), 60)
        return f"{minutes} min {seconds:02d} s"
    if duration >= 1:
        return f"{duration:.3g} s"
    return f"{duration * 1000:.3g} ms"


_DIGITS = 3
_MOST_PLACES = 4


def count_places(value: float) -> int:
    """Return how many decimal places three digits of a value take, at most four."""
    if value == 0 or not math.isfinite(value):
        return 0
    # What is just below a power of ten by its last bit is rounded up to it.
    return min(_MOST_PLACES, max(0, _DIGITS - 1 - math.floor(math.log10(abs(value)) + 1e-9)))


ALPHA = 0.05
"""How often a test may find what is not there; an effect is found where its p is below."""

CONFIDENCE = 1 - ALPHA
"""How often an interval holds what it estimates."""


def tell_number(number: float) -> str:
    """Write a parameter: whole where it is, with a comma for each thousand."""
    return f"{number:,.10g}"
