"""How large the page of a study is, and how soon a browser shows its answer and its charts.

    python -m benchmarks.page --tables docs/reference/published/tables

Renders the study, and one of 1,000 runs of 100 treatments made from copies of its largest
experiment. Each is opened several times in a headless Chromium, in turn with a page that has the
answer alone, to which times are also given as ratios. Exits with 1 if a page is larger, or its
first paint later, than it may be.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from benchmarks.markdown import format_table
from tests.present.page.browser import find_browser, open_browser

from stagebench.present.answer import make_screen
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.page.page import render_page
from stagebench.tables.io import make_table, read_tables
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.present.page.browser import Browser

LARGEST_BYTES = {"study": 3 * MIB, "1,000 runs": 15 * MIB}
LATEST_PAINT_S = 1.0
TREATMENTS, REPLICATES = 100, 10


PAINT = "performance.getEntriesByName('first-contentful-paint')[0]"


class Cost(NamedTuple):
    """The cost of one page; times in seconds since it was opened."""

    name: str
    render_s: float
    size_bytes: int
    paint_s: float
    drawn_s: float


def main() -> None:
    """Render both pages and open them."""
    options = parse_options()
    program = find_browser()
    if program is None:
        sys.exit("needs a Chromium on PATH")
    tables = read_compressed(options.tables)
    experiments = split_experiments(tables)
    studies = {"study": experiments, "1,000 runs": [multiply(largest_of(experiments))]}
    with tempfile.TemporaryDirectory(prefix="page-") as scratch:
        folder = Path(scratch)
        rendered = {name: render(found, folder / name) for name, found in studies.items()}
        answer = folder / "answer.html"
        answer.write_text(ANSWER_ALONE)
        with open_browser(program, folder / "browser") as browser:
            rows = [measure(browser, name, *one) for name, one in rendered.items()]
            alone = measure(browser, "the answer alone", 0.0, answer)
    print(tabulate([alone, *rows], alone))
    too_large = any(one.size_bytes > LARGEST_BYTES[one.name] for one in rows)
    sys.exit(too_large or any(one.paint_s > LATEST_PAINT_S for one in rows))


ANSWER_ALONE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>a</title></head>
<body><h1>Study</h1><p>Use it.</p><script>
requestAnimationFrame(() => setTimeout(() => { document.documentElement.dataset.ready = "yes"; }));
</script></body></html>
"""


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=Path, default=Path("docs/reference/published/tables"))
    return parser.parse_args()


def read_compressed(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a study, also those that are kept as a reference, compressed."""
    if not list(folder.glob("*.csv.gz")):
        return read_tables(folder)
    with tempfile.TemporaryDirectory(prefix="tables-") as scratch:
        for path in folder.glob("*.csv.gz"):
            (Path(scratch) / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        return read_tables(Path(scratch))


def largest_of(experiments: Sequence[Experiment]) -> Experiment:
    """Return the experiment with the most tasks."""
    return max(experiments, key=lambda one: len(one.tables["tasks"]))


def multiply(experiment: Experiment) -> Experiment:
    """Return an experiment of `TREATMENTS` treatments with `REPLICATES` runs each, of copies."""
    names = experiment.treatments
    copies = -(-TREATMENTS // len(names))
    kept = [f"{name}-{copy}" for copy in range(copies) for name in names][:TREATMENTS]
    tables = {
        name: copy_treatments(table, copies, kept) if "treatment" in table else table
        for name, table in experiment.tables.items()
    }
    return Experiment(name=experiment.name, tables=tables | {"runs": copy_runs(tables["runs"])})


def copy_treatments(table: pd.DataFrame, copies: int, kept: Sequence[str]) -> pd.DataFrame:
    """Repeat the rows of a table with other names of treatments."""
    every = [table.assign(treatment=table["treatment"] + f"-{copy}") for copy in range(copies)]
    joined = pd.concat(every, ignore_index=True)
    return joined[joined["treatment"].isin(kept)]


def copy_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Repeat runs until every treatment has enough; copies are not shown."""
    have = int(runs["replicate"].max())
    times = -(-REPLICATES // have)
    every = [
        runs.assign(
            replicate=runs["replicate"] + copy * have,
            shown=runs["shown"] & (copy == 0),
        )
        for copy in range(times)
    ]
    joined = pd.concat(every, ignore_index=True)
    return joined[joined["replicate"] <= REPLICATES]


def render(experiments: Sequence[Experiment], folder: Path) -> tuple[float, Path]:
    """Render a page; return how long it took, and its path."""
    begun = time.monotonic()
    tables = {
        name: pd.concat([one.tables[name] for one in experiments]) for name in experiments[0].tables
    }
    tables["environment"] = make_table("environment", [])
    plan = {
        "study": "study",
        "runs": [None] * len(tables["runs"]),
        "experiments": [{"name": one.name} for one in experiments],
    }
    render_page(make_screen(tables, plan), experiments, folder / "report.html")
    return time.monotonic() - begun, folder / "report.html"


def measure(browser: Browser, name: str, render_s: float, path: Path) -> Cost:
    """Open a page five times; return medians."""
    paints, drawn = [], []
    for _ in range(5):
        browser.open(path)
        browser.wait(f"{PAINT} !== undefined")
        paints.append(browser.run(f"{PAINT}.startTime"))
        drawn.append(browser.run("performance.getEntriesByName('drawn')[0]?.startTime ?? 0"))
    times = (statistics.median(one) / 1000 for one in (paints, drawn))
    return Cost(name, render_s, path.stat().st_size, *times)


def tabulate(costs: Sequence[Cost], alone: Cost) -> str:
    """Return a table of all costs."""
    columns = ["page", "rendered in s", "MB", "first paint s", "× the answer alone", "drawn s"]
    rows = [
        [
            one.name,
            f"{one.render_s:.1f}",
            f"{one.size_bytes / 1e6:.2f}",
            f"{one.paint_s:.2f}",
            f"{one.paint_s / alone.paint_s:.1f}",
            f"{one.drawn_s:.2f}",
        ]
        for one in costs
    ]
    return format_table(columns, rows)


if __name__ == "__main__":
    main()
