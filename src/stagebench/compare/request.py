"""`stagebench compare`: read, compare, write files, and say whether something is forbidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.compare.comparison_json import write_comparison
from stagebench.compare.comparison_page import render_comparison
from stagebench.compare.comparison_text import format_comparison
from stagebench.compare.findings import USUAL_QUANTITIES, compare_sources
from stagebench.compare.forbidden import check_conditions, parse_condition
from stagebench.compare.sources import read_sources
from stagebench.errors import OptionError, StoreError, closest
from stagebench.store import write_text
from stagebench.tables.quantities import list_level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class ComparisonRequest(NamedTuple):
    """The arguments of `compare`; `margin` and `campaigns_differ` are shares."""

    sides: Sequence[str]
    by: str
    quantities: Sequence[str]
    margin: float
    campaigns_differ: float
    fail_if: Sequence[str]
    page: Path | None
    json: Path | None


def answer_comparison(request: ComparisonRequest, show: Callable[[str], None]) -> None:
    """Compare, show the text, write the files; raises ForbiddenError if a condition holds."""
    conditions = [parse_condition(text) for text in request.fail_if]
    chosen = _check_quantities(request.quantities)
    quantities = dict.fromkeys(
        [*(chosen or USUAL_QUANTITIES), *(one.quantity for one in conditions)]
    )
    comparison = compare_sources(
        read_sources(request.sides),
        by=request.by,
        quantities=[*quantities],
        margin=request.margin,
        campaigns_differ=request.campaigns_differ,
    )
    show(format_comparison(comparison))
    if request.page is not None:
        _write("--html", request.page, render_comparison(comparison))
    if request.json is not None:
        _write("--json", request.json, write_comparison(comparison, conditions))
    check_conditions(comparison, conditions)


def _write(option: str, path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise StoreError(f"{option} {path}: cannot be written ({error.strerror})") from error


def _check_quantities(names: Sequence[str]) -> list[str]:
    known = [name for name, one in list_level("run").items() if one.better]
    for name in names:
        if name not in known:
            raise OptionError(
                f"--quantity {name!r} is not allowed{closest(name, known)}; allowed: quantities of"
                f" runs in docs/glossary.md, such as {', '.join(USUAL_QUANTITIES)}"
            )
    return list(names)
