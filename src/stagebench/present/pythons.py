"""What ran the treatments: interpreters, whether their GIL was on, and packages of handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.present.alike import clean_name, cut_off
from stagebench.present.markdown import MISSING, count_noun, format_table
from stagebench.tables.io import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from stagebench.present.experiment import Experiment

Row = dict[str, Any]

_IDENTITY = ("python", "version", "implementation", "build", "free_threaded", "gil", "jit")
_LONGEST_BUILD = 60


def interpreters_table(experiment: Experiment) -> str:
    """Describe what ran each treatment of an experiment; "" if no treatment differs in that."""
    interpreters = experiment.tables.get("interpreters")
    if interpreters is None or not _differs(interpreters):
        return ""
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    for row in list_rows(interpreters):
        cells = (
            row["python"] or "that of stagebench",
            " ".join(filter(None, (row["implementation"], row["version"]))) or MISSING,
            _say_gil(row),
            _say_flag(row["jit"]),
            row["packages"] or "none",
            cut_off(row["build"], _LONGEST_BUILD) or MISSING,
        )
        groups.setdefault(cells, {})[row["treatment"]] = None
    rows = [[*cells, ", ".join(treatments)] for cells, treatments in groups.items()]
    columns = ["interpreter", "version", "GIL", "JIT", "packages imported", "build", "treatments"]
    return format_table(columns, rows, texts=len(columns))


def _differs(interpreters: pd.DataFrame) -> bool:
    known = interpreters[list(_IDENTITY)].astype("string").fillna("")
    return bool((known["python"] != "").any()) or len(known.drop_duplicates()) > 1


def _say_gil(row: Mapping[str, Any]) -> str:
    gil = _say_flag(row["gil"])
    if gil == "on" and _say_flag(row["free_threaded"]) == "on":
        module = clean_name(row["gil_switched_on_by"])
        return f"on, by the import of {module}" if module else "switched on"
    return gil


def _say_flag(value: Any) -> str:
    if value is None or value != value or str(value) == "<NA>":  # noqa: PLR0124 - nan
        return "unknown"
    return "on" if value else "off"


def switched_on_text(tables: Mapping[str, pd.DataFrame]) -> str:
    """Warn of treatments with the GIL on though their interpreter can do without; "" without any.

    An extension module that does not say that it can do without switches it on for the whole
    process.
    """
    interpreters = tables.get("interpreters")
    if interpreters is None or interpreters.empty:
        return ""
    could = interpreters["free_threaded"].fillna(value=False)
    found = interpreters[could & interpreters["gil"].fillna(value=False)]
    if found.empty:
        return ""
    names = list(dict.fromkeys(map(clean_name, found["treatment"])))
    modules = [clean_name(name) for name in dict.fromkeys(found["gil_switched_on_by"]) if name]
    where = f"`{names[0]}`" + (
        f" and {count_noun(len(names) - 1, 'other treatment')}" if names[1:] else ""
    )
    by = f" by the import of {modules[0]}" if modules else ""
    return f"The GIL was switched on{by} in {where}, whose interpreter can run without it."


def count_interpreters(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return how many interpreters were compared; "" if one ran everything."""
    interpreters = tables.get("interpreters")
    number = 0 if interpreters is None else interpreters["python"].nunique()
    return count_noun(number, "interpreter") if number > 1 else ""
