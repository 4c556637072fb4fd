"""Under what conditions the runs were made: warm-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.present.markdown import count_noun, format_table

if TYPE_CHECKING:
    import pandas as pd


def warm_ups_text(warm_ups: pd.DataFrame) -> str:
    """Say how many runs came before the first block; an empty text where none did."""
    if warm_ups.empty:
        return ""
    failed = int((warm_ups["status"] != "ok").sum())
    told = f" **{failed} of them did not succeed**, see [below](#trust)." if failed else ""
    return (
        f"{count_noun(len(warm_ups), 'run')} to warm up came before the first block: recorded, and"
        f" in no number, figure or comparison of this report.{told}"
    )


def failed_warm_ups_table(warm_ups: pd.DataFrame) -> str:
    """List the warm-ups that did not end ok; an empty text when all did."""
    failed = warm_ups[warm_ups["status"] != "ok"]
    if failed.empty:
        return ""
    columns = ["experiment", "treatment", "status", "detail", "warm-up"]
    rows = [
        [*(str(row[name]) for name in columns[:4]), str(row["replicate"])]
        for _, row in failed.iterrows()
    ]
    return format_table(columns, rows, texts=4)
