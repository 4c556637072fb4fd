"""Tables of benchmarks in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTHING = "–"


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table with the first column left-aligned and all others right-aligned."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rules, *rows)) + "\n"


def format_share(share: float | None, digits: int = 1) -> str:
    """Format a share in percent; an unknown one is a dash."""
    if share is None:
        return NOTHING
    rounded = round(100 * share, digits) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:.{digits}f} %"


def format_number(value: float | None) -> str:
    """Format a number to a hundredth; an unknown one is a dash."""
    return NOTHING if value is None else f"{value:.2f}"
