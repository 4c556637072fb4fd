"""Hashes of the plans of all shipped studies, so that no edit repeats measurements by accident.

If a change is meant to change plans, `python tests/design/test_known_plans.py` updates the hashes.
"""

import hashlib
import json
from pathlib import Path

import pytest

from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.store import canonical_json

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("known_plans.json")


def digest(value):
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_plan(plan):
    treatments = {name: digest(one["specification"]) for name, one in plan["treatments"].items()}
    runs = [[run["experiment"], run["treatment"], run["replicate"]] for run in plan["runs"]]
    return {"plan": digest(plan), "order": digest(runs), "treatments": treatments}


def read_known():
    return json.loads(FILE.read_text())


@pytest.mark.parametrize("config", read_known() if FILE.exists() else [])
def test_a_shipped_study_has_the_plan_that_it_was_measured_by(config):
    known, plan = read_known()[config], digest_plan(make_plan(load_study(ROOT / config)))

    assert plan["treatments"] == known["treatments"]
    assert plan["order"] == known["order"]
    assert plan["plan"] == known["plan"]


def test_every_shipped_study_is_among_them():
    files = [*(ROOT / "config").glob("*.yaml"), *(ROOT / "examples").glob("*/study.yaml")]

    found = {str(file.relative_to(ROOT)) for file in files} - {"config/claims.yaml"}
    # The plan of a study that names interpreters depends on those that are installed.
    assert found - {"config/interpreters.yaml"} == {*read_known()}


if __name__ == "__main__":
    plans = {config: make_plan(load_study(ROOT / config)) for config in read_known()}
    FILE.write_text(json.dumps({c: digest_plan(p) for c, p in plans.items()}, indent=1) + "\n")
