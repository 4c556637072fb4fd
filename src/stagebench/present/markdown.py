"""Numbers, tables and templates as Markdown that also reads well unrendered."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stagebench.tables.quantities import QUANTITIES, UNITS
from stagebench.units import count_places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

MISSING = "–"
_UNSHOWN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, those that turn the direction of text, and halves of characters."""

_MARKUP = re.compile(
    r"""
      \\(?=[!-/:-@\[-`{-~]) | \\$   # a backslash that takes the meaning from what follows
    | [*`|] | ~(?=~) | (?<=~)~
    | (?<![^\W_])_                   # behind a letter it begins nothing
    | (?<=\])[(\[:]                  # the target of a link or an image
    """,
    re.VERBOSE,
)
LONGEST_TEXT = 4000
"""Characters of a text that are shown: in a table, every row is as long as the longest one."""

_MOST_DIGITS = 6
"""A limit that is closer to 1 than this many places show is 1 but for rounding."""

_BARE_PIPE = re.compile(r"(?<!\\)\|")
_TAG_START = re.compile(r"<(?=[A-Za-z/!?]|$)")


def is_unknown(value: object) -> bool:
    """Return whether a value of a table is missing."""
    # Here, since rules import this module, and pandas takes longer than all else that they need.
    import pandas as pd

    return bool(pd.isna(value))  # type: ignore[call-overload]


def format_number(value: float, *, scale: float = 1) -> str:
    """Format with three digits, at most four places and no exponent; a missing value is a dash."""
    return (
        MISSING if is_unknown(value) else _with_places(value * scale, count_places(value * scale))
    )


def format_percent(share: float) -> str:
    """Format a share as whole percent: "43 %"; below ten percent with one place."""
    if is_unknown(share):
        return MISSING
    # From 9.95 % on, one place would give "10.0 %".
    whole = abs(share) >= 0.0995 or share == 0
    return f"{100 * share:.0f} %" if whole else f"{100 * share:.1f} %"


def format_quantity(value: float, quantity: str) -> str:
    """Format a value of a quantity in the unit of its heading; a share, which has none, with %."""
    unit = QUANTITIES[quantity].unit
    return format_percent(value) if unit == "share" else format_number(value / UNITS[unit].size)


def title_quantity(quantity: str) -> str:
    """Write a quantity with the unit of its values: "tree_peak_bytes" is "tree peak MiB"."""
    known = QUANTITIES[quantity]
    return f"{known.label} {UNITS[known.unit].heading}".rstrip()


def format_estimate(
    values: tuple[float, ...], limits: tuple[float, float] | None, unit: str
) -> str:
    """Format an estimate (two values: a bracket's ends) with its interval: "1.02 [0.98, 1.06] ×".

    All have as many places as three digits of the largest take.
    """
    size, word = UNITS[unit].size, UNITS[unit].word
    numbers = [value / size for value in (*values, *(limits or ())) if math.isfinite(value)]
    places = 0 if _are_whole(numbers) else count_places(max(map(abs, numbers), default=0))
    texts = [_without_minus_zero(value / size, places) for value in values]
    text = " to ".join(dict.fromkeys(texts))
    # What was the same in every block needs no interval.
    if limits is not None and limits[0] < limits[1]:
        ends = ", ".join(_without_minus_zero(limit / size, places) for limit in limits)
        text += f" [{ends}]"
    return f"{text} {word}".rstrip()


def format_bracket(ends: tuple[float, float | None], *, scale: float = 1) -> str:
    """Format what is known between two ends: "159 – 171", "≥ 159", or "159" if it is exact.

    The upper end is infinite if it is unknown, None or the same if the lower one is exact.
    """
    low, high = ends
    text = format_number(low, scale=scale)
    if high is None or is_unknown(high) or high == low or is_unknown(low):
        return text
    if math.isinf(high):
        return f"≥ {text}"
    upper = format_number(high, scale=scale)
    return text if upper == text else f"{text} – {upper}"


def format_interval(low: float, high: float) -> str:
    """Format the 95 % interval of a ratio: "[0.97–1.05]"; only a limit of 1 reads as 1."""
    return f"[{_format_limit(low)}–{_format_limit(high)}]"


def _format_limit(limit: float) -> str:
    if math.isinf(limit):
        return "∞"
    text = format_number(limit)
    places = count_places(limit)
    while float(text.removeprefix("<")) == 1 and round(limit, _MOST_DIGITS) != 1:
        places += 1
        text = _with_places(limit, places)
    return text


def format_spread(summary: pd.Series[float], *, scale: float = 1) -> str:
    """Format "median (min to max)" with the places of the median; without a spread, the median."""
    if is_unknown(summary["median"]):
        return MISSING
    values = [float(summary[name]) * scale for name in ("median", "min", "max")]
    places = 0 if _are_whole(values) else count_places(values[0])
    median, low, high = (_with_places(value, places) for value in values)
    return median if low == high else f"{median} ({low} to {high})"


class Markdown(str):
    """Text whose marks are meant."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    """Return Markdown, in one line, that shows a text as it is: no mark and no tag is in force.

    This is the one way by which text from a config, a run or a machine gets into a document.
    """
    if isinstance(text, Markdown):
        return text
    line = show_line(str(text)).replace("&", "&amp;")
    return Markdown(_TAG_START.sub("&lt;", _MARKUP.sub(r"\\\g<0>", line)))


def quote_code(text: object) -> Markdown:
    """Return a text as code within a line, without its own backquotes."""
    return Markdown(f"`{show_line(str(text)).replace('`', '') or ' '}`")


def escape_marked(text: str) -> Markdown:
    """Escape a sentence in which names in backquotes are code."""
    parts = text.split("`")
    return Markdown(
        "".join(
            quote_code(part) if place % 2 else _escape_inside(part)
            for place, part in enumerate(parts)
        )
    )


def _escape_inside(part: str) -> str:
    """Escape a part of a sentence; the spaces at its ends stay."""
    before, after = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return f"{before}{escape(part.strip())}{after}" if part.strip() else part


def show_line(text: str) -> str:
    """Return the beginning of a text in one line, with what cannot be shown replaced."""
    cut = f"{text[:LONGEST_TEXT]}…" if len(text) > LONGEST_TEXT else text
    return _UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", " ".join(cut.split()))


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Return a padded Markdown table; the first `texts` columns are text, the others numbers.

    A cell is text that stands for itself, unless it is `Markdown`.
    """
    # A table is split into cells before anything else is read, code included.
    cells = [[_BARE_PIPE.sub(r"\|", escape(cell)) for cell in row] for row in [columns, *rows]]
    widths = [max(3, *(len(row[index]) for row in cells)) for index in range(len(columns))]
    rule = ["-" * w if i < texts else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [_line(cells[0], widths, texts), "|" + "|".join(f" {part} " for part in rule) + "|"]
    return "\n".join(lines + [_line(row, widths, texts) for row in cells[1:]])


def render_template(file: Path, values: Mapping[str, Any]) -> str:
    """Render a template, which may include others of its folder; pages (html.j2) are escaped."""
    return _environment(file.parent).get_template(file.name).render(values)


@cache
def _environment(folder: Path) -> Environment:
    """Return what compiles the templates of a folder, each once."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def format_about(duration_s: float) -> str:
    """Return a duration as people estimate it: "40 s", "9 min", "2.5 h"."""
    if duration_s < 90:  # which is no minute and a half yet
        return f"{max(1, round(duration_s))} s"
    if duration_s < 5400:  # an hour and a half
        return f"{round(duration_s / 60)} min"
    return f"{duration_s / 3600:.1f} h"


def count_noun(count: int, noun: str) -> str:
    """Return "1 run", "3 runs"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _are_whole(values: Sequence[float]) -> bool:
    return all(value == math.floor(value) for value in values)


def _with_places(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    if value and not float(text):  # rounds to zero without being zero
        return f"<{10**-places:.{places}f}"
    return text


def _without_minus_zero(value: float, places: int) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:.{places}f}"
    return text if float(text) else text.removeprefix("-")


def _line(cells: Sequence[str], widths: list[int], texts: int) -> str:
    padded = [
        cell.ljust(width) if index < texts else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"
