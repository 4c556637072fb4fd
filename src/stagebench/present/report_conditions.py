"""Under what conditions the runs were made: warm-ups, campaigns, a quiet machine or a noisy one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.present.markdown import (
    count_noun,
    format_number,
    format_percent,
    format_table,
)

if TYPE_CHECKING:
    import pandas as pd

MANY_NOISY_SHARE = 0.1
"""From this share of noisy runs on, the report says so among its first sentences."""


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


def campaigns_text(runs: pd.DataFrame) -> str:
    """Say in which calls of Snakemake the runs were made; an empty text where it was one."""
    counts = runs.groupby("campaign")["replicate"].count()
    if len(counts) < 2:  # one campaign is the rule
        return ""
    told = ", ".join(f"{name or 'unknown'} ({count_noun(n, 'run')})" for name, n in counts.items())
    return (
        f"The runs are of {len(counts)} campaigns (calls of Snakemake): {told}. Runs are compared"
        " with those of their own campaign first."
    )


def quiet_text(runs: pd.DataFrame) -> str:
    """Say how long runs waited for a quiet machine, and whether it became quiet."""
    known = runs[runs["quiet"].notna()]
    if known.empty:
        return "No run waited for the machine to be quiet: how busy it was before is not known."
    waits, quiet = known["quiet_wait_s"], int(known["quiet"].sum())
    unknown = len(runs) - len(known)
    rest = f", unknown for {unknown}" if unknown else ""
    return (
        f"The machine was quiet before {quiet} of {count_noun(len(known), 'run')}{rest}; a run"
        f" waited {format_number(waits.median())} s for that in the median,"
        f" {format_number(waits.max())} s at most."
    )


def noisy_text(runs: pd.DataFrame) -> str:
    """Say how many runs are flagged as noisy, and of which treatment most are."""
    noisy = runs[runs["noisy"] != ""]
    if noisy.empty:
        return f"None of {count_noun(len(runs), 'run')} is flagged as noisy."
    counts = (noisy["experiment"] + "/" + noisy["treatment"]).value_counts()
    share = format_percent(len(noisy) / len(runs))
    most = counts[counts == counts.max()]
    where = f", {most.iloc[0]} of them of {most.index[0]}" if len(most) == 1 else ""
    return (
        f"**{len(noisy)} of {count_noun(len(runs), 'run')} ({share}) flagged as noisy**{where}."
        " They are in all numbers above, as every run is."
    )


def noise_findings(runs: pd.DataFrame) -> list[str]:
    """Warn where many runs are flagged as noisy."""
    noisy = int((runs["noisy"] != "").sum())
    if noisy < MANY_NOISY_SHARE * len(runs):
        return []
    of = f"{noisy} of {count_noun(len(runs), 'run')}"
    return [f"**{of} were disturbed** by something else: they are [flagged as noisy](#trust)."]


def noisy_table(runs: pd.DataFrame) -> str:
    """List the noisy runs and why they are flagged; an empty text where none is."""
    noisy = runs[runs["noisy"] != ""]
    if noisy.empty:
        return ""
    columns = ["experiment", "treatment", "noisy", "replicate", "status"]
    rows = [[str(row[name]) for name in columns] for _, row in noisy.iterrows()]
    return format_table(columns, rows, texts=3)
