"""How large the page of a study is, and how soon a browser shows its answer and its charts.

    python -m benchmarks.page --tables docs/reference/published/tables

Renders the study, and one of 1,000 runs of 100 treatments made from copies of its runtime runs.
Each page is opened five times in a headless Chromium, and so is one of a sentence alone; times
are medians, also given as ratios to those of that page. `--large` takes a study of
`benchmarks.large_study` that `benchmarks.analysis` has analysed, too. Exits with 1 if a page is
larger, or its first paint later, than it may be.
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

from benchmarks.markdown import format_table
from benchmarks.presenting import multiply
from tests.browser import find_browser, open_browser

from stagebench.present.answer import make_screen
from stagebench.present.experiment import split_experiments
from stagebench.present.page.page import render_page
from stagebench.store import read_json, write_json
from stagebench.tables.io import read_table, read_tables
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.browser import Browser

LARGEST_BYTES = {"study": 3 * MIB, "1,000 runs": 15 * MIB, "5,000 runs": 15 * MIB}
LATEST_PAINT_S = 1.0


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
    with tempfile.TemporaryDirectory(prefix="page-") as scratch:
        folder = Path(scratch)
        studies = make_studies(options.tables, folder)
        if options.large:
            (folder / "larger").mkdir()
            for name in ("plan.json", "tables"):
                (folder / "larger" / name).symlink_to((options.large / name).resolve())
            studies["5,000 runs"] = folder / "larger"
        rendered = {name: render(study) for name, study in studies.items()}
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
    parser.add_argument("--large", type=Path, help="analysed study of benchmarks.large_study")
    return parser.parse_args()


def unpack_reference(tables: Path, out: Path) -> Path:
    """Write the compressed tables of a reference as a study, with what a page needs of its plan."""
    (out / "tables").mkdir(parents=True)
    for path in tables.glob("*.csv.gz"):
        (out / "tables" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    experiments = list(read_table(out / "tables/runs.csv")["experiment"])
    plan = {
        "study": tables.parent.name,
        "experiments": [{"name": name} for name in dict.fromkeys(experiments)],
        "runs": [{"experiment": name} for name in experiments],
    }
    write_json(out / "plan.json", plan)
    return out


def make_studies(tables: Path, folder: Path) -> dict[str, Path]:
    """Write the study of a reference, and one of 1,000 runs made from it; return both folders."""
    study = unpack_reference(tables, folder / "study")
    multiply(study, "runtime", folder / "large")
    return {"study": study, "1,000 runs": folder / "large"}


def render(study: Path) -> tuple[float, Path]:
    """Render the page of a study; return how long it took, and the page's path."""
    begun = time.monotonic()
    tables = read_tables(study / "tables")
    screen = make_screen(tables, read_json(study / "plan.json"))
    render_page(screen, split_experiments(tables), study / "report.html")
    return time.monotonic() - begun, study / "report.html"


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
