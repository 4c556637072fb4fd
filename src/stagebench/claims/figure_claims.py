"""Published values and the entries of `figures:` that they match → one claim per value."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stagebench.claims.model import (
    FIGURE,
    LOGGED,
    RATIO,
    RUN_MEASURES,
    STAGE_MEASURES,
    STATED,
    AmountError,
    Claim,
    ClaimTest,
    Limit,
    Measure,
    Needs,
    Published,
    Range,
    around,
    from_reference,
    is_count,
    measure_unit,
    parse_amount,
    publish,
    read_needs,
)
from stagebench.design.problems import KeyPath, Problem, problem, some, unknown
from stagebench.present.markdown import format_estimate
from stagebench.tables.quantities import PARAMETER, base_of, published_size, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from stagebench.claims.model import Grid

Json = dict[str, Any]

VALUE, ABOVE_BASE, SHOWN = "value", "above_base", "shown"
_KEY = ("experiment", "treatment", "stage", "quantity")


class _NoFigureError(ValueError):
    """A published value that cannot become a claim; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """A published value, the entry that it matches, and all published values."""

    row: Json
    entry: Json
    grid: Grid
    rows: list[Json]


def make_figures(
    entries: Iterable[tuple[Json, KeyPath]],
    grids: Mapping[str, Grid],
    reference: list[Json],
    problems: list[Problem],
) -> list[Claim]:
    """Return the claim of each published value, and add problems to `problems`.

    The first entry that matches a value decides how it is judged.
    """
    entries = list(entries)
    seen: Counter[str] = Counter()
    claims, wrong = [], _Wrong()
    for row in reference:
        if row["quantity"].startswith(PARAMETER) or not _is_published(row):
            continue
        name = ".".join(row[key] for key in _KEY if row[key])
        entry, path = _match(row, entries, grids)
        if entry is None:
            wrong.add(("figures",), _unmatched(row, grids), name)
            continue
        seen[name] += 1
        figure = _Figure(row=row, entry=entry, grid=grids[row["experiment"]], rows=reference)
        try:
            claims.append(_make(figure, name if seen[name] == 1 else f"{name}-{seen[name]}"))
        except (AmountError, _NoFigureError) as error:
            wrong.add(path, str(error), name)
    problems += wrong.problems()
    return claims


class _Wrong:
    """Problems of published values; values with the same problem are reported together."""

    def __init__(self) -> None:
        self._names: dict[tuple[KeyPath, str], list[str]] = {}

    def add(self, path: KeyPath, text: str, name: str) -> None:
        """Add a problem of a published value."""
        self._names.setdefault((path, text), []).append(name)

    def problems(self) -> Iterator[Problem]:
        """Yield one problem per text, with the first values that have it."""
        for (path, text), names in self._names.items():
            yield problem(path, f"{text} (published: {some(names)})")


def _is_published(row: Json) -> bool:
    return not (math.isnan(row["stated"]) and math.isnan(row["logged"]))


def _match(
    row: Json, entries: list[tuple[Json, KeyPath]], grids: Mapping[str, Grid]
) -> tuple[Json | None, KeyPath]:
    grid = grids.get(row["experiment"])
    if grid is None or (row["treatment"] and row["treatment"] not in grid.treatments):
        return None, ()
    factors = grid.treatments.get(row["treatment"], {})
    for entry, path in entries:
        named = (entry["experiment"], entry["quantity"]) == (row["experiment"], row["quantity"])
        in_stage = entry.get("stage", row["stage"]) == row["stage"]
        if named and in_stage and _has_levels(factors, entry.get("where", {})):
            return entry, path
    return None, ()


def _has_levels(factors: Mapping[str, object], where: Mapping[str, object]) -> bool:
    return all(
        name in factors
        and (factors[name] == level or (isinstance(level, list) and factors[name] in level))
        for name, level in where.items()
    )


def _unmatched(row: Json, grids: Mapping[str, Grid]) -> str:
    grid = grids.get(row["experiment"])
    if grid is None:
        return unknown("experiment", row["experiment"], grids)
    if row["treatment"] and row["treatment"] not in grid.treatments:
        return unknown("treatment", row["treatment"], grid.treatments)
    stage = f" of stage {row['stage']}" if row["stage"] else ""
    return (
        f"no entry matches {row['quantity']}{stage} of {row['experiment']}; allowed: each published"
        " value is judged, or shown"
    )


def _make(figure: _Figure, name: str) -> Claim:
    row, entry = figure.row, figure.entry
    way = entry.get("as", VALUE)
    unit = _unit(figure)
    columns = ("stated", "logged")
    stated, logged = (from_reference(row[column], row["unit"], unit) for column in columns)
    nearest = parse_amount(entry["to_nearest"], unit) if "to_nearest" in entry else None
    published = publish(stated, logged, nearest)
    treatments = [row["treatment"]] if row["treatment"] else list(figure.grid.treatments)
    tests = tuple(_test(figure, way, unit, treatment, published) for treatment in treatments)
    is_judged = any(test.allowed is not None for test in tests)
    return Claim(
        id=name,
        kind=FIGURE,
        says=_says(row, published),
        place=row["place"],
        experiment=row["experiment"],
        tests=tests,
        needs=read_needs(entry, scale="full") if is_judged else Needs(),
    )


def _unit(figure: _Figure) -> str:
    """Return the unit of a published quantity; raises if the row's unit does not fit."""
    row = figure.row
    known = STAGE_MEASURES if row["stage"] else RUN_MEASURES
    if row["quantity"] not in known:
        raise _NoFigureError(unknown("quantity", row["quantity"], known))
    if row["stage"] and row["stage"] not in figure.grid.stages:
        raise _NoFigureError(unknown("stage", row["stage"], figure.grid.stages))
    unit = measure_unit(row["quantity"])
    if published_size(row["quantity"], row["unit"]) is None:
        raise _NoFigureError(f"{row['quantity']} is in {unit}, not in '{row['unit']}'")
    return unit


def _test(figure: _Figure, way: str, unit: str, treatment: str, published: Published) -> ClaimTest:
    row, base = figure.row, figure.grid.baseline
    is_ratio = way == RATIO and treatment != base
    is_judged = is_ratio or way in (VALUE, ABOVE_BASE)
    allowed, limit = _allowed(figure, way, unit) if is_judged else (None, Limit())
    return ClaimTest(
        experiment=row["experiment"],
        treatment=treatment,
        to=base if is_ratio else "",
        by=RATIO if is_ratio else "",
        measure=Measure(
            quantity=row["quantity"],
            stage=row["stage"],
            minus=_base_of(row["quantity"]) if way == ABOVE_BASE else "",
            unit=unit,
        ),
        unit="ratio" if is_ratio else unit,
        allowed=allowed,
        limit=limit,
        published=published,
    )


def _base_of(quantity: str) -> str:
    base = base_of(quantity)
    if base is None:
        raise _NoFigureError(
            f"as: above_base of {quantity}; allowed: main and tree, no base itself"
        )
    return base


def _allowed(figure: _Figure, way: str, unit: str) -> tuple[Range, Limit]:
    """Return the range around a published value, relative to what it is judged by."""
    entry, quantity = figure.entry, figure.row["quantity"]
    tolerance = entry.get("tolerance")
    if tolerance is None and not is_count(quantity):
        raise _NoFigureError(
            "its entry has no tolerance; allowed: a number with %, or with the unit of the quantity"
        )
    unit = "ratio" if way == RATIO else unit
    source, expected = next(_expected(figure, way), ("", None))
    if expected is None:
        raise _NoFigureError(f"nothing that {way} refers to was published; allowed: value, shown")
    text = format_estimate((expected,), None, "1" if way == RATIO else unit)
    allowed, half, twice = (
        around(expected, text, tolerance, unit, stretch=stretch) for stretch in (1, 0.5, 2)
    )
    if tolerance is None:
        return allowed, Limit(source=source)
    return allowed, Limit(source=source, chosen=str(tolerance), half=half, twice=twice)


def _expected(figure: _Figure, way: str) -> Iterator[tuple[str, float]]:
    """Yield the published values that can be judged this way, the statement first."""
    row = figure.row
    for column in (STATED, LOGGED):
        value = _in_own_unit(row, column)
        if value is None:
            continue
        if way == VALUE:
            yield column, value
            continue
        base = _published_base(figure, way, column)
        if base is not None:
            yield column, value / base if way == RATIO else value - base


def _published_base(figure: _Figure, way: str, column: str) -> float | None:
    """Find the value to compare with, in the same column."""
    row = figure.row
    if way == RATIO:
        wanted = [(figure.grid.baseline, row["stage"], row["quantity"])]
    else:
        # There is no child before the workflow starts, so main and tree have the same base.
        names = (_base_of(row["quantity"]), "tree_base_bytes", "main_base_bytes")
        wanted = [(row["treatment"], "", name) for name in names]
    for treatment, stage, quantity in wanted:
        key = (row["experiment"], treatment, stage, quantity)
        for other in figure.rows:
            if tuple(other[name] for name in _KEY) == key:
                value = _in_own_unit(other, column)
                if value is not None:
                    return value
    return None


def _in_own_unit(row: Json, column: str) -> float | None:
    """Return a published value in its quantity's own unit; None where there is none."""
    size = published_size(row["quantity"], row["unit"])
    return None if size is None or math.isnan(row[column]) else float(row[column] * size)


def _says(row: Json, published: Published) -> str:
    of = " in ".join(name for name in (row["stage"], row["treatment"]) if name)
    quantity = words_of(row["quantity"])
    value = published.stated or f"{published.logged} (by the log)"
    return f"{quantity}{f' of {of}' if of else ''}: {value}"
