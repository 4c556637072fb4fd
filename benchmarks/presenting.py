"""How much time and memory figures, report and page of a study take.

    python -m benchmarks.presenting --source results/default

Presents the study itself, and a made one of 1,000 runs of 100 treatments: copies of the rows of
one experiment's tables, each treatment with a name of its own. Rules run as Snakemake runs them:
the figures of an experiment in a process, as many at a time as there are cores, then the report
with its page. Prints a row per study: wall time of both rules, their CPU time, and the largest
RSS of one process. Exits with 1 if the study takes more than 15 s or 300 MiB, or the made one
more than 90 s or 800 MiB. So may the 5,000 runs of `--large`, which `benchmarks.analysis` analysed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from benchmarks.markdown import format_table

from stagebench.store import read_json, write_json
from stagebench.tables.io import read_tables, write_tables
from stagebench.units import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

TREATMENTS, REPLICATES = 100, 10

LIMITS = {"as measured": (15.0, 300 * MIB), "made": (90.0, 800 * MIB), "large": (90.0, 800 * MIB)}
"""Study → seconds and bytes that it may take."""


class Cost(NamedTuple):
    """The cost of presenting one study."""

    study: str
    runs: int
    treatments: int
    figures_s: float
    report_s: float
    cpu_s: float
    peak_bytes: int

    @property
    def is_within(self) -> bool:
        """Whether it keeps to the limits."""
        longest_s, largest = LIMITS[self.study]
        return self.figures_s + self.report_s <= longest_s and self.peak_bytes <= largest


def main() -> None:
    """Present both studies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, default=Path("results/default"))
    parser.add_argument("--experiment", default="runtime", help="the one that is multiplied")
    parser.add_argument("--large", type=Path, help="analysed study of benchmarks.large_study")
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores usable")
    with tempfile.TemporaryDirectory(prefix="presenting-") as scratch:
        made = Path(scratch) / "made"
        multiply(options.source, options.experiment, made)
        costs = [
            present("as measured", options.source, Path(scratch) / "out"),
            present("made", made, made),
        ]
        if options.large:
            costs.append(present("large", options.large, Path(scratch) / "large"))
    print(tabulate(costs))
    sys.exit(not all(cost.is_within for cost in costs))


def present(name: str, study: Path, out: Path) -> Cost:
    """Run the rules `figures` and `report` of a study."""
    tables = study / "tables"
    runs = read_tables(tables)["runs"]
    experiments = list(dict.fromkeys(runs["experiment"]))
    claims = study / "claims"
    judged = ["--claims", str(claims)] if claims.exists() else []
    begun = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        figures = [
            cores.submit(
                measure,
                *("figures", "--tables", str(tables), "--experiment", experiment),
                *("--out", str(out / "figures" / experiment)),
            )
            for experiment in experiments
        ]
        used = [one.result() for one in figures]
    drawn = time.monotonic()
    used.append(
        measure(
            *("report", "--plan", str(study / "plan.json"), "--tables", str(tables)),
            *("--figures", str(out / "figures"), "--out", str(out), *judged),
        )
    )
    done = time.monotonic()
    treatments = len(runs[["experiment", "treatment"]].drop_duplicates())
    cpu_s = sum(cpu for cpu, _ in used)
    peak_bytes = max(peak for _, peak in used)
    return Cost(name, len(runs), treatments, drawn - begun, done - drawn, cpu_s, peak_bytes)


def measure(*arguments: str) -> tuple[float, int]:
    """Run a subcommand; return its CPU time and the largest RSS of its process."""
    process = subprocess.Popen([sys.executable, "-m", "stagebench", *arguments])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments[0]}: ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * KIB


def multiply(study: Path, experiment: str, out: Path) -> None:
    """Write plan and tables of a study with many copies of one experiment's treatments."""
    found = {
        name: table[table["experiment"] == experiment] if "experiment" in table.columns else table
        for name, table in read_tables(study / "tables").items()
    }
    runs = found["runs"]
    originals = list(dict.fromkeys(runs["treatment"]))
    copies = {
        originals[n % len(originals)] + f"-c{n}" * (n >= len(originals)): n
        for n in range(TREATMENTS)
    }
    known = [runs.loc[runs["treatment"] == one, "replicate"].unique() for one in originals]
    sources = [
        Source(
            copy,
            originals[n % len(originals)],
            replicate,
            of=int(own[replicate % len(own)]),
            is_again=replicate >= len(own),
        )
        for copy, n in copies.items()
        for own in [known[n % len(originals)]]
        for replicate in range(REPLICATES)
    ]
    made = {
        name: copy_rows(table, sources)
        if "treatment" in table.columns and name not in _ONCE
        else table
        for name, table in found.items()
    }
    made["runs"] = number_copies(made["runs"])
    write_tables(
        {name: made[name][list(table.columns)] for name, table in found.items()}, out / "tables"
    )
    plan = read_json(study / "plan.json")
    planned: dict[str, Any] = {
        "experiments": [one for one in plan["experiments"] if one["name"] == experiment],
        "runs": [run for run in plan["runs"] if run["experiment"] == experiment],
        "replicates": REPLICATES,
    }
    write_json(out / "plan.json", plan | planned)


_ONCE = ("contrasts", "published", "advice", "predictions")
"""Tables in which a treatment is compared with others; they stay as they are."""


class Source(NamedTuple):
    """Which replicate of a treatment a replicate of its copy is, maybe not for the first time."""

    copy: str
    original: str
    replicate: int
    of: int
    is_again: bool


def copy_rows(table: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """Return the rows of every copy under its name, with as many replicates as wanted."""
    if "replicate" not in table.columns:
        places = table.groupby("treatment").indices
        found = {one.copy: places.get(one.original, _NONE) for one in sources}
        rows = table.iloc[np.concatenate(list(found.values()))]
        return rows.assign(treatment=np.repeat(list(found), list(map(len, found.values()))))
    places = table.groupby(["treatment", "replicate"]).indices
    parts = [places.get((one.original, one.of), _NONE) for one in sources]
    lengths = list(map(len, parts))

    def each(values: Sequence[Any]) -> Any:
        return np.repeat(np.array(values), lengths)

    rows = table.iloc[np.concatenate(parts)].assign(
        treatment=each([one.copy for one in sources]),
        replicate=each([one.replicate + 1 for one in sources]),
    )
    if "shown" not in rows.columns:
        return rows
    return rows.assign(
        shown=rows["shown"] & each([not one.is_again for one in sources]),
        baseline=rows["baseline"] & each([one.copy == sources[0].copy for one in sources]),
    )


_NONE = np.array([], dtype=np.intp)


def number_copies(runs: pd.DataFrame) -> pd.DataFrame:
    """Give every treatment a level of its own, so that factors tell them apart."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(runs["treatment"]))}
    factors = [
        json.dumps(json.loads(text or "{}") | {"copy": numbers[name] // 18})
        for name, text in zip(runs["treatment"], runs["factors"], strict=True)
    ]
    return runs.assign(factors=factors)


def tabulate(costs: list[Cost]) -> str:
    """Format a row per study."""
    columns = [
        "study",
        "runs",
        "treatments",
        "figures s",
        "report s",
        "both s",
        "CPU s",
        "peak RSS MiB",
    ]
    rows = [
        [
            cost.study,
            f"{cost.runs:,}",
            str(cost.treatments),
            f"{cost.figures_s:.1f}",
            f"{cost.report_s:.1f}",
            f"{cost.figures_s + cost.report_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_bytes / MIB:.0f}",
        ]
        for cost in costs
    ]
    return format_table(columns, rows)


if __name__ == "__main__":
    main()
