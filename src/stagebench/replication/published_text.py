"""Published values beside the measured ones, as the report shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import (
    MISSING,
    count_noun,
    escape,
    format_number,
    format_spread,
    format_table,
    render_template,
)
from stagebench.present.report import Section
from stagebench.tables.quantities import PARAMETER, words_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from stagebench.present.report import Contents

_TEMPLATE = Path(__file__).with_name("published.md.j2")

HEADLINES = (
    "makespan_s",
    "stage_efficiency",
    "tree_peak_bytes",
    "main_peak_bytes",
    "children_peak_bytes",
)
"""Quantities that are compared in the text; the others can be unfolded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of one experiment: its scale in words, and tables by title."""

    experiment: str
    scale: str
    headlines: dict[str, str]
    others: dict[str, str]


def render_published(contents: Contents) -> str:
    """Return the section that compares published with measured values; "" without any."""
    published = contents.tables["published"]
    comparisons = compare_experiments(published)
    if not comparisons:
        return ""
    values = {"comparisons": comparisons, "coverage": coverage_text(published)}
    return render_template(_TEMPLATE, values)


def compare_experiments(published: pd.DataFrame) -> list[Comparison]:
    """Return the comparison of every experiment that has published values."""
    return [
        _show_experiment(str(name), rows)
        for name, rows in published.groupby("experiment", sort=False)
    ]


def _show_experiment(experiment: str, rows: pd.DataFrame) -> Comparison:
    values = rows[rows["treatment"] != ""]
    tables = {
        _title(str(quantity), str(unit)): (quantity, own)
        for (quantity, unit), own in values.groupby(["quantity", "unit"], sort=False)
    }
    texts = {title: _quantity_table(own) for title, (_, own) in tables.items()}
    first = [title for name in HEADLINES for title, (own, _) in tables.items() if own == name]
    return Comparison(
        experiment=experiment,
        scale=_scale(rows[rows["quantity"].str.startswith(PARAMETER)]),
        headlines={title: texts[title] for title in first},
        others={title: table for title, table in texts.items() if title not in first},
    )


def _title(quantity: str, unit: str) -> str:
    """Return a quantity in words: "tree_peak_bytes" in MiB becomes "tree peak (MiB)"."""
    name = escape(quantity) if quantity.startswith(PARAMETER) else words_of(quantity)
    return name if unit == "1" else f"{name} ({unit})"


def _scale(parameters: pd.DataFrame) -> str:
    known = parameters[parameters["measured_relative"].notna()]
    if known.empty:
        return "The size of this study relative to the published one is not known."
    if (known["measured_relative"] == 1).all():
        return "This experiment ran at the published size."
    sizes = (_parameter(row) for row in known.to_dict("records"))
    return (
        f"This experiment did not run at the published size ({'; '.join(sizes)}): absolute values"
        " that depend on it cannot be compared, but ratios can."
    )


def _parameter(row: dict[Hashable, Any]) -> str:
    name = str(row["quantity"]).removeprefix(PARAMETER)
    published = row["stated"] if pd.notna(row["stated"]) else row["logged"]
    return f"{row['stage']} {escape(name)} {row['median']:,.10g} of {published:,.10g}".strip()


def _quantity_table(rows: pd.DataFrame) -> str:
    with_stage = bool((rows["stage"] != "").any())
    basis = next((basis for basis in rows["basis"] if basis), "")
    columns = ["treatment", *(["stage"] if with_stage else []), "stated", "logged", "measured"]
    if basis:
        columns += [f"{basis}: stated", "logged", "measured (median)"]
    cells = [_row(row, with_stage=with_stage, with_basis=bool(basis)) for _, row in rows.iterrows()]
    return format_table(columns, cells, texts=1 + with_stage)


def _row(row: pd.Series[float], *, with_stage: bool, with_basis: bool) -> list[str]:
    relative = [row[f"{kind}_relative"] for kind in ("stated", "logged", "measured")]
    return [
        str(row["treatment"]),
        *([str(row["stage"])] if with_stage else []),
        MISSING if pd.isna(row["stated"]) else f"~{row['stated']:g}",
        MISSING if pd.isna(row["logged"]) else f"{row['logged']:g}",
        format_spread(row),
        *([format_number(value) for value in relative] if with_basis else []),
    ]


def coverage_text(published: pd.DataFrame) -> str:
    """Count the treatments that have a published value: "15 treatments of runtime and …"."""
    named = published[published["treatment"] != ""]
    counts = named.groupby("experiment", sort=False)["treatment"].nunique()
    parts = [f"{count_noun(count, 'treatment')} of `{name}`" for name, count in counts.items()]
    return " and ".join(parts)


PUBLISHED = Section(
    "published", "Published and measured", "published values beside those of here", render_published
)
