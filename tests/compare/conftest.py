"""Sides of comparisons: tables of made-up studies, as a folder that `compare` reads."""

import json
from itertools import count

import pytest

from stagebench.compare.sources import read_sources
from stagebench.tables.io import make_table, write_table

ENVIRONMENT = {"host": "a", "python": "3.11.7", "cores": "2"}


def list_runs(values, campaign, common):
    """List the rows of runs: treatment → makespans, one a block, or rows that are added to each."""
    return [
        {
            "experiment": "pace",
            "treatment": treatment,
            "replicate": block,
            "block": block,
            "campaign": campaign,
            "baseline": treatment == "t1",
            "shown": False,
            "status": "ok",
            "factors": json.dumps({"workers": int(treatment[1]), "executor": treatment[0]}),
            "tasks": 20,
            "memory_instrument": "group",
        }
        | common
        | (value if isinstance(value, dict) else {"makespan_s": value})
        for treatment, own in values.items()
        for block, value in enumerate(own, start=1)
    ]


@pytest.fixture
def write_side(tmp_path):
    """Write a study with runs of treatments; return its folder."""
    numbers = count()

    def write(values, campaign=None, *, work="{}", handler="work", environment=None, **common):
        number = next(numbers)
        folder = tmp_path / f"study{number}"
        runs = list_runs(values, campaign or f"campaign {number}", common)
        stages = [
            {name: run[name] for name in ("experiment", "treatment", "replicate")}
            | {"stage": "work", "handler": handler, "parameters": work}
            for run in runs
        ]
        properties = ENVIRONMENT if environment is None else environment
        rows = {
            "runs": runs,
            "stages": stages,
            "environment": [
                {"property": name, "value": value, "runs": len(runs), "where": ""}
                for name, value in properties.items()
            ],
        }
        for name, own in rows.items():
            write_table(make_table(name, own), folder / "tables" / f"{name}.csv")
        return folder

    return write


@pytest.fixture
def read_sides(write_side):
    """Write studies and read them back as sources."""
    return lambda *sides: read_sources([str(write_side(one)) for one in sides])
