"""Small studies that are really run, some with a slower handler, and compared with each other.

Each study is measured in several campaigns, and all studies in turn, as docs/compare.md advises:
what differs from one quarter of an hour to the next is then a part of every interval. Single
campaigns, whose intervals have an allowance in its place, are compared beside them, with several
allowances: `findings.CAMPAIGNS_DIFFER` was chosen by them. How much campaigns differ is printed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stagebench.compare.findings import CAMPAIGNS_DIFFER, TREATMENT, compare_sources
from stagebench.compare.sources import read_sources
from stagebench.store import write_text
from stagebench.tables.decisions import WORDS_OF_ORDER
from stagebench.tables.io import read_tables
from stagebench.tables.quantities import HIGHER

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path("results") / "comparing"
PAIRS = 20
SLOWER_STUDIES = 10
STUDIES = 7
"""Seven studies make 21 pairs."""

CAMPAIGNS = 3

ALLOWANCES = (0.0, CAMPAIGNS_DIFFER, 1.5 * CAMPAIGNS_DIFFER, 2 * CAMPAIGNS_DIFFER)
"""By how much single campaigns are taken to differ, in turn."""

BLOCKS = 5
TASKS = 6
ROUNDS = 5_000_000
HANDLER = '''"""A handler of known work."""


def work() -> int:
    """Add numbers."""
    total = 0
    for number in range({rounds}):
        total += number
    return total
'''

QUANTITIES = ("makespan_s", "cpu_s")
"""The first one has the bars; CPU time suffers less from what else runs on the machine."""

MOST_FALSE = 0.05
LEAST_FOUND = 0.9


def compare_real_studies() -> bool:
    """Run the studies, print what was found, and return whether a bar is missed."""
    same: list[list[Path]] = [[] for _ in range(STUDIES)]
    slower: list[list[Path]] = [[] for _ in range(SLOWER_STUDIES)]
    for campaign in range(1, 1 + CAMPAIGNS):
        for number, own in enumerate(same):
            own.append(run_study(f"same{number}-{campaign}", ROUNDS))
        for number, own in enumerate(slower):
            own.append(run_study(f"slower{number}-{campaign}", round(1.1 * ROUNDS)))
    for quantity in (*QUANTITIES, "tree_peak_bytes"):
        spread = find_spread([campaign for own in same for campaign in own], quantity)
        print(f"{quantity}: campaigns of the same differ by {100 * spread:.2f} %.")
    alone = [([[s[c]] for s in same], [[s[c]] for s in slower]) for c in range(CAMPAIGNS)]
    for quantity in QUANTITIES:
        for allowance in ALLOWANCES:
            print(f"Each campaign alone, allowance {100 * allowance:g} %:")
            for sides in alone:
                is_missed(*sides, quantity, allowance)
    print("All campaigns joined:")
    missed = [is_missed(same, slower, quantity) for quantity in QUANTITIES]
    return missed[0]


def find_spread(campaigns: Sequence[Path], quantity: str) -> float:
    """Return the standard deviation of logarithms between campaigns, without that of their runs."""
    runs = pd.concat(
        [read_tables(folder / "tables")["runs"].assign(folder=str(folder)) for folder in campaigns]
    )
    logs = np.log(runs[quantity]).groupby([runs["treatment"], runs["folder"]])
    within = logs.var().mean() / logs.size().mean()
    between = logs.mean().groupby("treatment").var().mean()
    return float(np.sqrt(max(0.0, between - within)))


def is_missed(
    same: Sequence[Sequence[Path]],
    slower: Sequence[Sequence[Path]],
    quantity: str,
    allowance: float = CAMPAIGNS_DIFFER,
) -> bool:
    """Compare the studies by one quantity, print what was found, and return whether bars miss."""
    pairs = list(itertools.combinations(same, 2))[:PAIRS]
    outcomes = [list_outcomes(base, other, quantity, allowance) for base, other in pairs]
    rows = [one for own in outcomes for one in own.values()]
    false = sum(one in WORDS_OF_ORDER for one in rows)
    pairs_false = sum(any(one in WORDS_OF_ORDER for one in own.values()) for own in outcomes)
    found = sum(
        list_outcomes(same[number % len(same)], other, quantity, allowance).get("t1") == HIGHER
        for number, other in enumerate(slower)
    )
    print(
        f"{quantity}, A/A: {false} of {len(rows)} comparisons in {pairs_false} of {len(pairs)}"
        f" pairs found a difference; t1 with a handler 10 % slower: found in {found} of"
        f" {len(slower)}."
    )
    return false > MOST_FALSE * len(rows) or found < LEAST_FOUND * len(slower)


def list_outcomes(
    base: Sequence[Path], other: Sequence[Path], quantity: str, allowance: float
) -> dict[str, str]:
    """Return the outcome of every treatment, of the campaigns of two sides."""
    sides = [f"base={','.join(map(str, base))}", f"other={','.join(map(str, other))}"]
    found = compare_sources(read_sources(sides), quantities=[quantity], campaigns_differ=allowance)
    return {
        one.label: one.outcome
        for family in found.pairs[0].families
        for one in family.findings
        if one.kind == TREATMENT
    }


def run_study(name: str, rounds: int) -> Path:
    """Run a small study anew, with a handler of so many rounds; return its results."""
    write_text(FOLDER / name / "known_work.py", HANDLER.format(rounds=rounds))
    config = FOLDER / name / "study.yaml"
    write_text(config, json.dumps(make_config(f"comparing-{name}"), indent=1))  # JSON is YAML
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    target = f"results/comparing-{name}/tables"
    command = ["snakemake", target, "--cores", "all", "--quiet", "all", "--configfile", str(config)]
    subprocess.run(command, env=os.environ | {"PATH": path}, check=True)
    return Path(target).parent


def make_config(study: str) -> dict[str, object]:
    """Return the config of a study of three treatments."""
    stage = {
        "name": "work",
        "handler": "known_work:work",
        "executor": "{executor}",
        "start_method": "{start_method}",
        "workers": "{workers}",
    }
    experiment = {
        "name": "pace",
        "workflow": "pace",
        "tasks": TASKS,
        "factors": {
            "workers": [1, 2],
            "executor": ["thread", "process"],
            "start_method": {"levels": ["fork"], "when": {"executor": "process"}},
        },
        "exclude": [{"executor": "process", "workers": 1}],
        "baseline": {"executor": "thread", "workers": 1},
    }
    return {
        "study": study,
        "seed": 1,
        "replicates": BLOCKS,
        "time_limit_s": 60,
        "diagnose": False,
        "workflows": [{"name": "pace", "stages": [stage]}],
        "experiments": [experiment],
    }
