"""Verdicts on claims, as a section of the report and as text for a terminal of 80 columns.

The report also compares the speed of the machine with the published one, stage by stage, because a
pipeline's ratios depend on it: a simulated download takes about as long everywhere, a computation
does not.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from stagebench.claims.model import FIGURE
from stagebench.present.markdown import (
    MISSING,
    Markdown,
    count_noun,
    escape,
    format_estimate,
    format_number,
    format_table,
    quote_code,
    render_template,
)
from stagebench.present.report import Section
from stagebench.tables.io import list_rows
from stagebench.tables.quantities import PARAMETER, UNITS, words_of
from stagebench.tables.schema import VERDICTS
from stagebench.units import ALPHA, count_places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stagebench.present.report import Contents


_TEMPLATE = Path(__file__).with_name("claims.md.j2")

Row = dict[str, Any]

REFUTED, CONTRADICTED, _, NOT_TESTABLE, REPRODUCED, SHOWN = VERDICTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The claims of one verdict that are not figures; `otherwise` says what follows if refuted."""

    verdict: str
    count: int
    table: str
    otherwise: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The claims on one published quantity of an experiment, with counts of verdicts."""

    title: str
    counts: str
    table: str


def render_claims(contents: Contents) -> str:
    """Return the section on judged claims; "" if the study has none."""
    claims = describe_claims(contents.tables)
    return render_template(_TEMPLATE, {"claims": claims}) if claims["counts"] else ""


def describe_claims(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the values of the report's section on claims."""
    claims = list_rows(tables["claims"])
    tests = first_tests(list_rows(tables["claim_tests"]))
    statements = [row for row in claims if row["kind"] != FIGURE]
    return {
        "counts": count_verdicts(claims),
        "total": total_text(claims),
        "chance": chance_text(claims),
        "kinds": kinds_text(claims),
        "speed": speed_sentences(tables),
        "statements": [
            _statements(verdict, own)
            for verdict in VERDICTS
            if (own := [row for row in statements if row["verdict"] == verdict])
        ],
        "fallen": fallen_figures(claims, tests),
        "depending": depending_text(claims),
        "figures": _all_figures([row for row in claims if row["kind"] == FIGURE], tests),
    }


def fallen_figures(claims: list[Row], tests: Mapping[str, Row]) -> list[str]:
    """Tell figures that contradict their own log apart from those that another machine explains."""
    figures = [row for row in claims if row["kind"] == FIGURE]
    contradicted = [row for row in figures if row["verdict"] == CONTRADICTED]
    refuted = [tests[row["id"]] for row in figures if row["verdict"] == REFUTED]
    relative = [test for test in refuted if _depends_on_speed(test)]
    others = [test for test in refuted if not _depends_on_speed(test)]
    lines = []
    if contradicted:
        listed = "; ".join(
            f"{quote_code(row['id'])}: stated {row['stated']}, logged {row['logged']}"
            for row in contradicted
        )
        lines.append(
            f"{len(contradicted)} of the document's differ from the authors' own log, so no machine"
            f" can decide them: {listed}."
        )
    if relative:
        lines.append(
            f"{len(relative)} with no such contradiction relate stages to each other, and so depend"
            " on how fast the CPU is beside the simulated network. They are different on this"
            f" machine: {_counts(relative)}."
        )
    if others:
        lines.append(
            f"{len(others)} with no such contradiction differ here, although they do not depend on"
            f" the speed of stages: {_counts(others)}."
        )
    return lines


def _depends_on_speed(test: Row) -> bool:
    return test["quantity"] in (MAKESPAN, EFFICIENCY, SHARE)


def _counts(tests: list[Row]) -> str:
    """Count tests by their quantities: "stage efficiency 4, makespan 3"."""
    counts = Counter(words_of(test["quantity"]) for test in tests)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def depending_text(claims: list[Row]) -> str:
    """Report how many verdicts depend on tolerances and limits that the claims file chose."""
    chosen = [row for row in claims if row["at_half"]]
    half, twice = (
        sum(row[name] != row["verdict"] for row in chosen) for name in ("at_half", "at_twice")
    )
    if not chosen:
        return ""
    return (
        "Verdicts that rest on a tolerance or another limit that was chosen here, not published:"
        f" {len(chosen)}. Half of it would change {half} of them, twice of it {twice}; each says"
        " so."
    )


def first_tests(tests: list[Row]) -> dict[str, Row]:
    """Return the first test of each claim; a figure has only one, or one per treatment."""
    return {row["claim"]: row for row in reversed(tests)}


def whose(figure: Row, test: Row) -> str:
    """Return the treatment of a published value; a value without one is tested on all."""
    is_every = figure["id"] == f"{figure['experiment']}.{test['quantity']}"
    return "every treatment" if is_every else str(test["treatment"])


def total_text(claims: list[Row]) -> str:
    """Count claims, and apart from them the published values that are only shown."""
    shown = sum(row["verdict"] == SHOWN for row in claims)
    text = count_noun(len(claims) - shown, "claim")
    return f"{text}, and {count_noun(shown, 'value')} only shown" if shown else text


def count_verdicts(claims: list[Row]) -> str:
    """Return "3 refuted, 12 reproduced", in the order in which claims are listed."""
    counts = {verdict: sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def kinds_text(claims: list[Row]) -> str:
    """Report how many of the judged claims of each kind were refuted."""
    kinds = dict.fromkeys(row["kind"] for row in claims)
    refuted = Counter(row["kind"] for row in claims if row["verdict"] == REFUTED)
    judged = Counter(row["kind"] for row in claims if row["verdict"] not in (NOT_TESTABLE, SHOWN))
    parts = [
        f"{refuted[kind]} of {count_noun(judged[kind], kind)}" for kind in kinds if judged[kind]
    ]
    return f"Of those judged, refuted: {', '.join(parts)}." if parts else "None could be judged."


def chance_text(claims: list[Row]) -> str:
    """Report how many of the verdicts that follow from an interval may be due to chance."""
    decided = sum(row["verdict"] in (REFUTED, REPRODUCED) for row in claims)
    if not decided:
        return "No verdict follows from an interval here."
    expected = decided * ALPHA
    many = "fewer than one" if expected < 1 else f"about {expected:.0f}"
    return (
        f"Refuted or reproduced by an interval: {decided}. Such an interval misses the true value"
        f" once in {1 / ALPHA:.0f} times, so {many} of them may be due to chance."
    )


def measured_text(row: Row) -> str:
    """Return "1.02 [0.98, 1.06] ×", or a dash if nothing was measured."""
    if pd.isna(row["measured"]):
        return MISSING
    low, high = (None if pd.isna(row[name]) else row[name] for name in ("low", "high"))
    return format_limits((row["measured"],), (low, math.inf if high is None else high), row["unit"])


def format_limits(
    values: tuple[float, ...], limits: tuple[float | None, float | None], unit: str
) -> str:
    """Format an estimate with its limits; one that nothing limits from above has "[29.0, ∞)".

    Without a limit, or with an infinite one on both sides, the estimate is all there is.
    """
    low, high = limits
    finite = tuple(value for value in values if math.isfinite(value))
    if low is None or high is None or not math.isfinite(low):
        return format_estimate(finite, None, unit)
    if math.isfinite(high):
        return format_estimate(finite, (low, high), unit)
    size, word = UNITS[unit].size, UNITS[unit].word
    places = count_places(max(finite) / size)
    numbers = [f"{value / size:.{places}f}" for value in (finite[0], low)]
    return f"{numbers[0]} [{numbers[1]}, ∞) {word}".rstrip()


def published_text(row: Row) -> str:
    """Return "50 s (log: 46.99 s)"."""
    if row["stated"] and row["logged"]:
        return f"{row['stated']} (log: {row['logged']})"
    return row["stated"] or (f"log: {row['logged']}" if row["logged"] else MISSING)


def sorted_by_verdict(claims: list[Row]) -> list[Row]:
    """Sort claims by verdict, those of one verdict in their own order."""
    return sorted(claims, key=lambda row: VERDICTS.index(row["verdict"]))


def _statements(verdict: str, claims: list[Row]) -> Statements:
    cells = [
        [
            Markdown(f"{quote_code(row['id'])}, {row['kind']}: {escape(row['says'])}"),
            measured_text(row),
            published_text(row),
            row["sentence"],
        ]
        for row in claims
    ]
    consequences = [row for row in claims if verdict == REFUTED and row["otherwise"]]
    return Statements(
        verdict=verdict,
        count=len(claims),
        table=format_table(
            ["what is claimed", "measured", "published", "in words"], cells, texts=4
        ),
        otherwise=[f"{quote_code(row['id'])}: {escape(row['otherwise'])}" for row in consequences],
    )


def _all_figures(claims: list[Row], tests: Mapping[str, Row]) -> list[Figures]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in claims:
        test = tests[row["id"]]
        groups.setdefault((row["experiment"], test["quantity"]), []).append(row)
    return [
        _figures(f"{experiment}: {words_of(quantity)}", sorted_by_verdict(own), tests)
        for (experiment, quantity), own in groups.items()
    ]


def _figures(title: str, claims: list[Row], tests: Mapping[str, Row]) -> Figures:
    with_stage = any(tests[row["id"]]["stage"] for row in claims)
    stage = ["stage"] if with_stage else []
    cells = [
        [
            row["verdict"],
            whose(row, tests[row["id"]]),
            *([tests[row["id"]]["stage"]] if with_stage else []),
            measured_text(row),
            published_text(row),
            row["sentence"],
        ]
        for row in claims
    ]
    columns = ["verdict", "treatment", *stage, "measured", "published", "in words"]
    return Figures(
        title=title,
        counts=count_verdicts(claims),
        table=format_table(columns, cells, texts=len(columns)),
    )


CLAIMS = Section(
    "claims", "Claims", "each statement that the study judges, and its verdict", render_claims
)


WIDTH = 80
_NAME, _MEASURED, _PUBLISHED = 29, 27, 20
_EXPLAINED = VERDICTS[:3]
"""Verdicts whose claims also have a sentence."""


def format_claims(title: str, claims: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Format the claims of one study: refuted ones first, those only shown last."""
    rows = list_rows(claims)
    by_claim = first_tests(list_rows(tests))
    lines = [
        *_wrap(f"{title}: {count_noun(len(rows), 'claim')}: {count_verdicts(rows)}", ""),
        *_wrap(f"{kinds_text(rows)} 95 % intervals, not adjusted. {chance_text(rows)}", ""),
    ]
    for verdict in VERDICTS:
        own = [row for row in rows if row["verdict"] == verdict]
        lines += ["", *_section(verdict, own, by_claim)] if own else []
    return "\n".join(lines) + "\n"


def _section(verdict: str, rows: list[Row], tests: Mapping[str, Row]) -> Iterator[str]:
    title, room = f"{verdict.upper()} ({len(rows)})", _NAME + 2 + _MEASURED
    yield f"{title}{'measured':>{room - len(title)}}  {'published':>{_PUBLISHED}}"
    if verdict != NOT_TESTABLE:
        yield from _claims(verdict, rows, tests)
        return
    # Most of them share a reason, which is printed once.
    for reason, own in groupby(sorted(rows, key=_reason), key=_reason):
        yield from _wrap(f"{reason}:", "  ")
        yield from _claims(verdict, list(own), tests)


def _claims(verdict: str, rows: list[Row], tests: Mapping[str, Row]) -> Iterator[str]:
    """Yield statements by their names, then figures by quantity and treatment."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if _is_published_value(row):
            groups.setdefault(_quantity(tests[row["id"]]), []).append(row)
        else:
            yield from _statement(verdict, row)
    for quantity, own in groups.items():
        yield _heading(quantity, "expected" if tests[own[0]["id"]]["expected"] else "published")
        for row in own:
            yield from _figure(verdict, row, tests[row["id"]])


def _statement(verdict: str, row: Row) -> Iterator[str]:
    yield from _named_line(row["id"], measured_text(row), _published(row))
    if verdict in _EXPLAINED:
        yield from _wrap(row["sentence"], "    ")
    if verdict == REFUTED and row["otherwise"]:
        yield from _wrap(row["otherwise"], "    ")


def _figure(verdict: str, row: Row, test: Row) -> Iterator[str]:
    """Yield a published value by its treatment, beside what is expected of the measured one."""
    expected = test["expected"] or _published(row)
    yield from _named_line(f"    {whose(row, test)}", measured_text(row), expected)
    if verdict in _EXPLAINED and row["reason"]:
        yield from _wrap(row["reason"], "      ")


def _is_published_value(row: Row) -> bool:
    """Return whether a claim is a row of the reference: its id begins with the experiment."""
    return row["kind"] == FIGURE and str(row["id"]).startswith(f"{row['experiment']}.")


def _heading(quantity: str, last: str) -> str:
    """Return what the figures below have in common, and the title of their last column."""
    width = WIDTH - len(last) - 2
    return f"{_cut(f'  {quantity}', width).ljust(width)}  {last}"


def _quantity(test: Row) -> str:
    """Return what figures have in common: "runtime, cpu_bound: makespan as a ratio to t1"."""
    where = ", ".join(filter(None, (test["experiment"], test["stage"])))
    less = f" less {words_of(test['minus'])}" if test["minus"] else ""
    to = f" as a {test['by']} to {test['to']}" if test["to"] else ""
    return f"{where}: {words_of(test['quantity'])}{less}{to}"


def _reason(row: Row) -> str:
    return str(row["reason"])


def _published(row: Row) -> str:
    return row["stated"] or (f"log {row['logged']}" if row["logged"] else MISSING)


def _named_line(name: str, measured: str, published: str) -> Iterator[str]:
    """Yield a line, and one before it for a name that is too long for its column."""
    if len(name) > _NAME:
        yield from _wrap(name, "")
        name = ""
    yield _line(name, measured, published)


def _line(name: str, measured: str, published: str) -> str:
    cells = (
        name.ljust(_NAME),
        _cut(measured, _MEASURED).rjust(_MEASURED),
        _cut(published, _PUBLISHED).rjust(_PUBLISHED),
    )
    return "  ".join(cells)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


MAKESPAN, SERVICE = "makespan_s", "service_mean_s"
EFFICIENCY, SHARE = "stage_efficiency", "share_of_total_time"

ALIKE = 1.1
"""Stages whose factors to the published seconds differ by less are equally fast."""


class Pace(NamedTuple):
    """Published and measured seconds of a run, or of a task in a stage."""

    stage: str
    published: float
    measured: float

    @property
    def factor(self) -> float:
        """How many times as long it takes here as in the published study."""
        return self.measured / self.published

    def __str__(self) -> str:
        """Return the factor and its stage: "2.44 × in cpu_bound"."""
        return f"{format_number(self.factor)} ×" + (f" in {self.stage}" if self.stage else "")


def speed_sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Explain what refuted ratios mean on this machine, per experiment of the published size."""
    claims, tests = tables["claims"], tables["claim_tests"]
    figures = claims[(claims["kind"] == FIGURE) & (claims["verdict"] == REFUTED)]
    refuted = tests[tests["claim"].isin(figures["id"])].drop_duplicates("claim")
    published = tables["published"]
    return [
        sentence
        for name in dict.fromkeys(published["experiment"])
        if (
            sentence := _sentence(
                published[published["experiment"] == name], refuted[refuted["experiment"] == name]
            )
        )
    ]


def _sentence(published: pd.DataFrame, refuted: pd.DataFrame) -> str:
    baseline = _baseline(published)
    own = published[published["treatment"] == baseline]
    whole, stages = _paces(own, MAKESPAN), _paces(own, SERVICE)
    affected = _count(refuted, baseline)
    if not (whole and _differ(stages) and affected and _is_full_size(published)):
        return ""
    here, there = (format_number(time) for time in (whole[0].measured, whole[0].published))
    return (
        f"{baseline} of {own['experiment'].iloc[0]} took {whole[0]} the published time ({here} s"
        f" here, {there} s there), and the factor differs between stages: a task took"
        f" {', '.join(map(str, stages))}. Ratios to {baseline}, efficiencies and shares of time"
        " depend on how the CPU compares with the simulated network. If a published one is refuted"
        f" ({affected}), it is *different on this machine*, which does not mean that the authors"
        " were wrong."
    )


def _baseline(published: pd.DataFrame) -> str:
    basis = published.loc[published["quantity"] == MAKESPAN, "basis"]
    return next((text.removeprefix("ratio to ") for text in basis if text), "")


def _paces(published: pd.DataFrame, quantity: str) -> list[Pace]:
    """Return published and measured seconds by stage; logged values are the more precise ones."""
    rows = published[(published["quantity"] == quantity) & (published["unit"] == "s")]
    seconds = rows["logged"].fillna(rows["stated"])
    paces = map(Pace, rows["stage"], seconds, rows["median"])
    return [pace for pace in paces if pace.published > 0 and pace.measured > 0]


def _differ(stages: list[Pace]) -> bool:
    factors = [pace.factor for pace in stages]
    return bool(factors) and max(factors) > ALIKE * min(factors)


def _is_full_size(published: pd.DataFrame) -> bool:
    parameters = published[published["quantity"].str.startswith(PARAMETER)]
    return bool((parameters["measured_relative"] == 1).all())


def _count(refuted: pd.DataFrame, baseline: str) -> str:
    """Count what depends on the speed of stages: "ratios 4, efficiencies 8, shares 26"."""
    found = {
        "ratios": (refuted["quantity"] == MAKESPAN) & (refuted["to"] == baseline),
        "efficiencies": refuted["quantity"] == EFFICIENCY,
        "shares": refuted["quantity"] == SHARE,
    }
    counts = {name: int(rows.sum()) for name, rows in found.items()}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
