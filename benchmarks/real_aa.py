"""An A/A study through the real pipeline: one treatment under many names, which nothing tells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml
from benchmarks.words import EQUIVALENT, INCONCLUSIVE, find_words

from stagebench.store import write_text
from stagebench.tables import numbers, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

STUDY = "a_a"
RESULTS = Path("results")
QUANTITIES = ("makespan_s", "tree_peak_bytes")
MARGIN = 0.05


class Findings(NamedTuple):
    """Comparisons with the baseline, and those of them that claim a difference."""

    comparisons: int
    false: int


def count_real_findings(config: dict[str, object]) -> Findings:
    """Run and analyse a study that `make_config` made, and count what it finds."""
    file = RESULTS / f"{STUDY}.yaml"
    write_text(file, yaml.safe_dump(config, sort_keys=False))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["snakemake", "--cores", "all", "--quiet", "all", "--configfile", str(file)]
    subprocess.run(command, env=os.environ | {"PATH": path}, check=True)
    words = list(read_words(RESULTS / STUDY / "tables"))
    return Findings(len(words), sum(word not in (EQUIVALENT, INCONCLUSIVE) for word in words))


def make_config(names: int, blocks: int, tasks: int, elements: int, seed: int) -> dict[str, object]:
    """Describe a study in which nothing but names differs: they fill a variable nobody reads."""
    stage = {
        "name": "square",
        "handler": "sum_squares_native",
        "executor": "process",
        "start_method": "fork",
        "workers": 2,
        "parameters": {"elements": elements},
    }
    experiment = {
        "name": "names",
        "workflow": "squares",
        "tasks": tasks,
        "sampler": {"cpu_budget": 0.1},
        "process": {"environment": {"STAGEBENCH_NAME": "{name}"}},
        "factors": {"name": [f"n{number:02d}" for number in range(names)]},
        "baseline": {"name": "n00"},
    }
    return {
        "study": STUDY,
        "seed": seed,
        "replicates": blocks,
        "time_limit_s": 60,
        "workflows": [{"name": "squares", "stages": [stage]}],
        "experiments": [experiment],
    }


def read_words(tables: Path) -> Iterator[str]:
    """Yield the words of all comparisons: of run time and of memory."""
    runs = read_table(tables / "runs.csv")
    for quantity in QUANTITIES:
        yield from find_words(_by_treatment(runs, quantity), MARGIN)


def _by_treatment(runs: pd.DataFrame, quantity: str) -> NDArray[np.float64]:
    """Give a quantity's values, treatment x block, the baseline first."""
    values = runs.assign(value=numbers(runs, quantity)).sort_values("baseline", ascending=False)
    wide = values.pivot_table(index="treatment", columns="block", values="value", sort=False)
    return wide.to_numpy()
