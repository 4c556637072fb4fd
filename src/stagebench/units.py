"""Units of time and memory: type aliases, conversion, formatting; and the level of all tests."""

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

HUGE_PAGE_BYTES: Bytes = 2 * MIB
"""The most that one page fault maps while the machine hands out huge pages."""


def to_seconds(duration_ns: Nanoseconds) -> Seconds:
    """Convert nanoseconds to seconds."""
    return duration_ns / NS_PER_S


def to_nanoseconds(duration_s: Seconds) -> Nanoseconds:
    """Convert seconds to whole nanoseconds."""
    return round(duration_s * NS_PER_S)


def quantile_s(ordered_ns: Sequence[Nanoseconds], share: float) -> Seconds | None:
    """Return a quantile of sorted values in seconds; None for an empty list."""
    if not ordered_ns:
        return None
    return to_seconds(ordered_ns[min(len(ordered_ns) - 1, int(share * len(ordered_ns)))])


def format_bytes(size: Bytes) -> str:
    """Format a size in the largest binary unit below it, with three digits: "1.49 GiB"."""
    for name, unit in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(size) >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"


def parse_bytes(text: str) -> Bytes:
    """Return the size that a number and a unit name: "1.5 GiB"."""
    number, unit = text.split()
    return round(float(number) * {"KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}[unit])


def format_seconds(duration: Seconds) -> str:
    """Format a duration for reading: "1 h 05 min", "3 min 20 s", "4.2 s", "12 ms", "3 µs"."""
    if duration >= 3600:  # seconds an hour
        hours, minutes = divmod(round(duration / 60), 60)
        return f"{hours} h {minutes:02d} min"
    if duration >= 100:  # from here on minutes read better
        minutes, seconds = divmod(round(duration), 60)
        return f"{minutes} min {seconds:02d} s"
    if duration >= 0.9995:  # which rounds to 1
        return f"{duration:.3g} s"
    if duration >= 0.0009995 or duration <= 0:
        return f"{duration * 1000:.3g} ms"
    return f"{duration * 1_000_000:.3g} µs"


_DIGITS = 3
_MOST_PLACES = 4


def count_places(value: float) -> int:
    """Return how many decimal places three digits of a value need, at most four."""
    if value == 0 or not math.isfinite(value):
        return 0
    # A value just below a power of ten, by its last bit, counts as that power.
    return min(_MOST_PLACES, max(0, _DIGITS - 1 - math.floor(math.log10(abs(value)) + 1e-9)))


ALPHA = 0.05
"""The level of all tests: an effect is found if its p-value is below this."""


def format_parameter(number: float) -> str:
    """Format a parameter: no decimals for a whole number, commas between thousands."""
    return f"{number:,.10g}"
