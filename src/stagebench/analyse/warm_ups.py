"""Warm-up runs: told of, and in no estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.traces import read_planned, span_s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def summarise_warm_ups(plan: dict[str, Any], raw: Path) -> Iterator[dict[str, Any]]:
    """Give one row per warm-up, in the order of the plan; raises StoreError as for other runs."""
    for planned in plan["warm_up_runs"]:
        _, run = read_planned(plan, planned, raw)
        names = ("experiment", "treatment", "replicate", "rank")
        yield {
            **{name: planned[name] for name in names},
            **{name: run[name] for name in ("campaign", "status", "detail", "started_at")},
            "own_time_s": span_s(run["exec_ns"], run["exited_ns"]),
        }
