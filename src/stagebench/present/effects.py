"""Comparisons with the baseline, drift over the study, and precision, as sentences and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_about,
    format_bracket,
    format_interval,
    format_number,
    format_percent,
    format_quantity,
    format_table,
    quote_code,
    title_quantity,
)
from stagebench.tables.decisions import (
    EQUIVALENT,
    NO_INTERVAL,
    NOT_DECIDED,
    WORDS_OF_ORDER,
    decide,
)
from stagebench.tables.quantities import HIGHER, LOWER, QUANTITIES, UNITS, words_of
from stagebench.tables.schema import IN_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.present.experiment import Experiment


HEADLINES = ("makespan_s", "tree_peak_bytes")
"""Quantities that the report compares; `comparisons.csv` has them all."""


def effects_table(experiment: Experiment) -> str:
    """Return median, ratio and word of every treatment; "" if there is nothing to compare."""
    rows = _comparisons(experiment)
    if rows.empty:
        return ""
    columns, cells = ["treatment"], {name: [name] for name in experiment.listed}
    for quantity in HEADLINES:
        own = rows[rows["quantity"] == quantity]
        columns += [title_quantity(quantity), "n", f"× {experiment.baseline} [95 %]", "word"]
        for treatment, cell in cells.items():
            cell.extend(_effect_cells(own, treatment))
    return format_table(columns, list(cells.values()), texts=1)


MOST_NAMED = 10
"""Of more treatments that have a gap in common than this, some are named."""


def _name_some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def gap_notes(experiment: Experiment) -> list[str]:
    """List why intervals are missing and which blocks have no pair, each reason once."""
    rows = _comparisons(experiment)
    shared: dict[tuple[str, str], list[str]] = {}
    for (treatment, note), own in rows[rows["note"] != ""].groupby(
        ["treatment", "note"], sort=False
    ):
        whole = len(own) == int((rows["treatment"] == treatment).sum())
        names = [f"{row['stage']} {words_of(row['quantity'])}".strip() for _, row in own.iterrows()]
        what = "everything" if whole else ", ".join(names)
        shared.setdefault((what, str(note)), []).append(f"`{treatment}`")
    others = len(experiment.treatments) - 1
    return [
        f"{'every treatment' if 1 < others == len(names) else _name_some(names)} ({what}): {note}"
        for (what, note), names in shared.items()
    ]


def baseline_failure(experiment: Experiment) -> str:
    """Report that every run of the baseline failed, so that nothing is compared; "" otherwise."""
    baseline = experiment.baseline
    if not baseline or not experiment.runs(baseline).empty:
        return ""
    return (
        f"**The baseline {quote_code(baseline)} of {quote_code(experiment.name)} failed in every"
        " block, so nothing is compared with it.**"
    )


def _comparisons(experiment: Experiment) -> pd.DataFrame:
    return experiment.tables["comparisons"]


def _effect_cells(rows: pd.DataFrame, treatment: str) -> list[str]:
    own = rows[rows["treatment"] == treatment]
    if len(own):
        return _cells(own.iloc[0])
    first = rows.iloc[0]
    ends = first["baseline_median"], first["baseline_median_upper"]
    return [bracket_cell(ends, str(first["quantity"])), "", "1", "baseline"]


def _cells(row: pd.Series[float]) -> list[str]:
    median = bracket_cell((row["median"], row["median_upper"]), str(row["quantity"]))
    return [median, str(row["n"]), ratio_cell(row), str(row["word"]) or MISSING]


def bracket_cell(ends: tuple[float, float], quantity: str) -> str:
    """Return a median in the unit of its heading, from its lower to its upper end."""
    unit = QUANTITIES[quantity].unit
    if unit == "share":
        return format_quantity(ends[0], quantity)
    return format_bracket(ends, scale=1 / UNITS[unit].size)


def ratio_cell(row: pd.Series[float]) -> str:
    """Return "1.09 [1.02–1.17]", followed by the pairing if it is not within blocks.

    What brackets leave open is "0.87 – 1.09"; what has no bound at all is a dash.
    """
    if pd.isna(row["ratio"]) or _is_boundless(row):
        return MISSING
    cell = _factor(row)
    return cell if str(row["pairing"]) == IN_BLOCKS else f"{cell} {row['pairing']}"


def _is_boundless(row: pd.Series[float]) -> bool:
    return row["ratio"] == 0 and row["ratio_upper"] == float("inf")


def outcome_of(row: pd.Series[float]) -> str:
    """Return what the limits of a ratio in a row of a table decide."""
    low, high, margin = (float(row[name]) for name in ("low", "high", "margin"))
    return decide(low, high, margin)


def describe_ratio(row: pd.Series[float], *, lower: str, higher: str, to: str = "") -> str:
    """Return "13.4 [9.41–18.9] × faster than t1", where `lower` is "faster" and `to` is "t1".

    Below 1 the ratio and its interval are inverted. Where the limits decide nothing, neither word
    is used: "no difference from t1 found (1.02 [0.90–1.15] ×)". A pairing other than within blocks
    is named.
    """
    outcome = outcome_of(row)
    label = "" if str(row["pairing"]) == IN_BLOCKS else f", {row['pairing']}"
    if outcome in (LOWER, HIGHER):
        is_lower = outcome == LOWER
        than = f" than {to}" if to else ""
        ratio = _factor(row, is_inverted=is_lower)
        return f"{ratio} × {lower if is_lower else higher}{than}{label}"
    if outcome == EQUIVALENT:
        said, ratio = f"equivalent{f' to {to}' if to else ''}", f"{_factor(row)} ×"
    elif outcome == NOT_DECIDED and pd.isna(row["ratio_upper"]):
        said, ratio = f"no difference{f' from {to}' if to else ''} found", f"{_factor(row)} ×"
    else:
        said = f"{NOT_DECIDED}{f' against {to}' if to else ''}"
        ratio = "no bound is known" if _is_boundless(row) else f"{_factor(row)} ×"
        ratio += ", no interval" if outcome == NO_INTERVAL else ""
    return f"{said} ({ratio}{label})"


def _factor(row: pd.Series[float], *, is_inverted: bool = False) -> str:
    """Return a ratio with its interval; what brackets leave open goes from its lower end on."""
    names = ("ratio", "ratio_upper", "low", "high")
    ratio, upper, low, high = (float(row[name]) for name in names)
    upper = ratio if pd.isna(upper) else upper
    if is_inverted:
        ratio, upper, low, high = (_invert(value) for value in (upper, ratio, high, low))
    limits = "" if pd.isna(low) else f" {format_interval(low, high)}"
    if ratio == 0:
        return f"≤ {format_number(upper)}{limits}"
    return f"{format_bracket((ratio, upper))}{limits}"


def _invert(value: float) -> float:
    return 1 / value if value else float("inf")


_WHO = {
    "position": ("the last run of a block", "than the first"),
    "time": ("the last run of the study", "than the first"),
    "first block": ("a run of the first block", "than those of the others"),
}
"""Effect → the runs that are compared, and with which."""

_VERBS = {"makespan_s": ("takes {} less time", "takes {} longer")}
_OTHER_VERBS = ("has a peak {} lower", "has a peak {} higher")


def drift_findings(drift: pd.DataFrame) -> list[str]:
    """Describe each effect that was found: its interval excludes 1, by however little."""
    found = drift[_is_drifting(drift)]
    return [_sentence(row) for _, row in found.iterrows()]


def _is_drifting(drift: pd.DataFrame) -> pd.Series[bool]:
    limits = zip(drift["low"], drift["high"], strict=True)
    words = [decide(low, high, 0.0) in WORDS_OF_ORDER for low, high in limits]
    return pd.Series(words, index=drift.index, dtype=bool)


def drift_text(drift: pd.DataFrame) -> str:
    """Report how many tests there were and how many found an effect."""
    known = drift.dropna(subset=["p"])
    if known.empty:
        return "There are too few runs to test for drift."
    found = int(_is_drifting(known).sum())
    tests = count_noun(len(known), "test")
    silent = len(drift) - len(known)
    rest = f" For {silent} more tests there were too few runs." if silent else ""
    if found:
        return f"{found} of {tests} found an effect of a run's place in the study.{rest}"
    return (
        f"None of {tests} found an effect of a run's place in the study; their intervals show"
        f" how large one may still be.{rest}"
    )


def drift_table(drift: pd.DataFrame) -> str:
    """Return every test: the ratio with its interval, and the adjusted p."""
    columns = ["experiment", "quantity", "effect", "runs", "ratio [95 %]", "p", "adjusted p"]
    rows = [
        [
            *(str(row[name]) for name in ("experiment", "quantity", "effect", "n")),
            (MISSING if _is_boundless(row) else _factor(row))
            if pd.notna(row["ratio"])
            else str(row["note"]),
            *(format_number(row[name]) for name in ("p", "p_adjusted")),
        ]
        for _, row in drift.iterrows()
    ]
    return format_table(columns, rows, texts=3)


def _sentence(row: pd.Series[float]) -> str:
    who, than = _WHO[str(row["effect"])]
    names = ("ratio", "ratio_upper", "low", "high")
    ratio, upper, low, high = (float(row[name]) for name in names)
    nearer = ratio if ratio > 1 or pd.isna(upper) else upper
    verb = _VERBS.get(str(row["quantity"]), _OTHER_VERBS)[nearer > 1]
    least = "" if pd.isna(upper) else "at least "
    changed = verb.format(f"{least}{format_percent(abs(nearer - 1))}")
    p = format_number(float(row["p_adjusted"]))
    return (
        f"{row['experiment']}: {who} {changed} {than}"
        f" (95 % interval of the ratio {format_interval(low, high)}, adjusted p {p})."
    )


_DEFAULT_QUANTITIES = ("makespan_s",)
"""Quantities whose precision is reported if the study names none."""


def precision_table(comparisons: pd.DataFrame, plan: Mapping[str, Any], block_s: float) -> str:
    """Return the half-widths reached and wanted per experiment and quantity; "" without any."""
    columns = ["experiment", "quantity", "target", "narrowest", "median", "widest"]
    columns += ["reached in", "more blocks", "which take"]
    chosen = _choose_comparisons(comparisons, plan)
    groups = chosen.groupby(["experiment", "quantity"], sort=False)
    rows = [[str(name) for name in key] + _precision_cells(own, block_s) for key, own in groups]
    return format_table(columns, rows, texts=2) if rows else ""


def precision_text(
    comparisons: pd.DataFrame, plan: Mapping[str, Any], block_s: float, nodes: int = 1
) -> str:
    """Report the target, and how many more blocks, of `block_s` each, would reach it.

    With several `nodes` these have to be of further nodes.
    """
    chosen = _choose_comparisons(comparisons, plan)
    if chosen.empty:
        return "Nothing was compared."
    target = (
        f"The target is the `{'until' if 'until' in plan else 'precision'}` of the config."
        if plan["precision"]
        else "The config names no `precision`, so the target is its margin: a wider interval cannot"
        " show that two treatments are equivalent."
    )
    return f"{target} {_outlook(chosen, plan, block_s, nodes)}"


def _outlook(chosen: pd.DataFrame, plan: Mapping[str, Any], block_s: float, nodes: int) -> str:
    known = chosen["more_blocks"].dropna()
    silent = len(chosen) - len(known)
    rest = f" {count_noun(silent, 'comparison')} had no interval."
    unknown = rest if silent else ""
    if known.empty:
        return f"There is no interval: one needs three blocks.{unknown}"
    more = int(known.max())
    key = "at_most" if "until" in plan else "replicates"
    where = ", all on further nodes" if nodes > 1 else ""
    take = "takes" if more == 1 else "take"
    if more == 0:
        return f"All {count_noun(len(known), 'interval')} are narrow enough.{unknown}"
    return (
        f"{int((known == 0).sum())} of {count_noun(len(known), 'interval')} are narrow enough. All"
        f" would be after {count_noun(more, 'more block')}{where}, which {take} about"
        f" {format_about(more * block_s)}, if runs vary as much as now: set"
        f" `{key}: {int(plan['replicates']) + more}`, and only the new runs are measured.{unknown}"
    )


def _choose_comparisons(comparisons: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    return comparisons[comparisons["quantity"].isin(list(plan["precision"]) or _DEFAULT_QUANTITIES)]


def _precision_cells(own: pd.DataFrame, block_s: float) -> list[str]:
    widths, more = own["half_width"].dropna(), own["more_blocks"].dropna()
    half_widths = (
        [widths.min(), widths.median(), widths.max()] if len(widths) else [float("nan")] * 3
    )
    most = int(more.max()) if len(more) else None
    return [
        f"± {format_percent(float(own['half_width_wanted'].iloc[0]))}",
        *(format_percent(float(width)) for width in half_widths),
        f"{int((more == 0).sum())} of {len(own)}",
        MISSING if most is None else str(most),
        format_about(most * block_s) if most else MISSING,
    ]
