"""An A/A study through the real pipeline: one treatment under many names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from stagebench.store import write_text
from stagebench.tables.decisions import WORDS_OF_ORDER
from stagebench.tables.io import read_table

STUDY = "a_a"
RESULTS = Path("results")
QUANTITIES = ("makespan_s", "tree_peak_bytes")


class Findings(NamedTuple):
    """Numbers of comparisons with the baseline, and of those that claim a difference."""

    comparisons: int
    false: int


def count_real_findings(config: dict[str, object]) -> Findings:
    """Run and analyse a study by `make_config`, and count its findings."""
    file = RESULTS / f"{STUDY}.yaml"
    write_text(file, json.dumps(config, indent=1))  # JSON is YAML
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["snakemake", "--cores", "all", "--quiet", "all", "--configfile", str(file)]
    subprocess.run(command, env=os.environ | {"PATH": path}, check=True)
    words = [word for word in read_words(RESULTS / STUDY / "tables") if word]
    return Findings(len(words), sum(word in WORDS_OF_ORDER for word in words))


def make_config(names: int, blocks: int, tasks: int, elements: int, seed: int) -> dict[str, object]:
    """Return the config of a study whose treatments differ only in an unused variable."""
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


def read_words(tables: Path) -> list[str]:
    """Return the words of the comparisons of run time and memory; "" without a word."""
    comparisons = read_table(tables / "comparisons.csv")
    return list(comparisons.loc[comparisons["quantity"].isin(QUANTITIES), "word"])
