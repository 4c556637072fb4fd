"""Units of time and memory: names for annotations, conversion at the edge, formatting."""

from __future__ import annotations

from typing import TypeAlias

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


def format_bytes(size: Bytes) -> str:
    """Format a size with the largest binary unit below it, three digits: "1.49 GiB"."""
    for name, unit in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(size) >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"


def format_seconds(duration: Seconds) -> str:
    """Format a duration for reading: "1 h 05 min", "3 min 20 s", "4.2 s", "12 ms"."""
    if duration >= 3600:  # noqa: PLR2004 - seconds an hour
        hours, minutes = divmod(round(duration / 60), 60)
        return f"{hours} h {minutes:02d} min"
    if duration >= 100:  # noqa: PLR2004 - from here on minutes read better
        minutes, seconds = divmod(round(duration), 60)
        return f"{minutes} min {seconds:02d} s"
    if duration >= 1:
        return f"{duration:.3g} s"
    return f"{duration * 1000:.3g} ms"
