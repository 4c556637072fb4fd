"""Tasks that did not end well, stage by stage, and those that were tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.columns import OUTCOMES
from stagebench.present.markdown import count_noun, format_table

if TYPE_CHECKING:
    import pandas as pd

_ENDED = {name: f"tasks_{name}" for name in OUTCOMES if name not in ("ok", "missing")}
_WORDS = {"failed": "failed", "timed_out": "timed out", "lost": "lost its worker"}
_REPEATED = {name: f"repeated_{name}" for name in _WORDS}


def attempts_text(stages: pd.DataFrame) -> str:
    """Say how many attempts were repeated and after what; an empty text when none was."""
    counts = {name: int(stages[column].fillna(0).sum()) for name, column in _REPEATED.items()}
    total = sum(counts.values())
    if not total:
        return ""
    told = ", ".join(f"{n} {_WORDS[name]}" for name, n in counts.items() if n)
    return (
        f"Tasks were tried again after {count_noun(total, 'attempt')} ({told}). A task counts once,"
        " by its last attempt; its times are of that one, its turnaround of all."
    )


def outcomes_table(stages: pd.DataFrame) -> str:
    """Count over all runs what did not end well, by treatment and stage; empty when all did."""
    columns = [*_ENDED.values(), *_REPEATED.values()]
    key = ["experiment", "treatment", "stage"]
    counts = stages.groupby(key, sort=False)[["tasks_ok", *columns]].sum()
    counts = counts[(counts[columns] > 0).any(axis=1)]
    if counts.empty:
        return ""
    titles = ["ok", *(f"{name.replace('_', ' ')}" for name in _ENDED)]
    titles += [f"again after {name.replace('_', ' ')}" for name in _REPEATED]
    rows = [[*map(str, place), *map(str, row)] for place, row in _items(counts)]
    return format_table([*key, *titles], rows, texts=3)


def _items(counts: pd.DataFrame) -> list[tuple[tuple[str, ...], list[int]]]:
    values = counts.astype("int64").to_numpy().tolist()
    return list(zip(counts.index, values, strict=True))
