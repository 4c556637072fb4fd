"""The folder of a study, as `stagebench show` prints it: its first screen, or what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.blocks import read_plan
from stagebench.errors import OptionError, StoreError
from stagebench.store import RUN_FILE, START_AGAIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

_PLAN = "plan.json"


def is_study(folder: Path) -> bool:
    """Return whether a folder is that of a study, not of a run or a trace."""
    is_run = (folder / RUN_FILE).exists()
    parts = (folder / _PLAN, folder / "raw", folder / "tables")
    return not is_run and any(path.exists() for path in parts)


def show_study(folder: Path, figure: Path | None = None) -> str:
    """Return the first screen of a study; raises StoreError if its tables are not made yet."""
    if figure is not None:
        raise OptionError(f"--figure {figure}: only for a run or a trace; {folder} is a study")
    path = folder / _PLAN
    if not path.exists():
        raise StoreError(f"{path}: is missing (rule design); {START_AGAIN}")
    plan = read_plan(path, _check_plan)
    if not (folder / "tables" / "runs.csv").exists():
        raise StoreError(f"{folder}: {_describe_progress(folder, plan)}; {START_AGAIN}")
    # Here, so that `stagebench show` reads a trace where no pandas is installed.
    from stagebench.present.answer import format_terminal, make_screen
    from stagebench.tables.io import read_tables

    text = format_terminal(make_screen(read_tables(folder / "tables"), plan))
    page = next((path for path in _list_pages(folder) if path.exists()), None)
    more = f"no report yet; {START_AGAIN}" if page is None else f"More: {page}"
    return f"{text}{more}\n"


def _check_plan(path: Path, plan: Any) -> dict[str, Any]:
    if not isinstance(plan, dict) or not {"study", "runs", "experiments"} <= plan.keys():
        raise StoreError(f"{path}: is no plan of a study; {START_AGAIN}")
    return plan


def _list_pages(folder: Path) -> list[Path]:
    return [folder / name for name in ("report.html", "report.md")]


def _describe_progress(folder: Path, plan: Mapping[str, Any]) -> str:
    """Return which step of an unfinished study is next."""
    runs = [
        folder / "raw" / run["experiment"] / run["treatment"] / f"r{run['replicate']}" / RUN_FILE
        for run in plan["runs"]
    ]
    made = sum(path.exists() for path in runs)
    if made < len(runs):
        return f"not finished, {made} of {len(runs)} runs are measured"
    return f"all {made} runs are measured, but there are no tables (rule analyse)"
