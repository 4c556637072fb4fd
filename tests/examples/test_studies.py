"""The studies of the examples are valid and match their comments."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stagebench.design.config import check_config, load_config
from stagebench.design.plan import make_plan

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "examples").glob("*/study.yaml"))


@pytest.fixture(params=STUDIES, ids=lambda path: path.parent.name)
def study(request):
    return request.param


def test_every_example_has_a_study():
    folders = [path.name for path in (ROOT / "examples").iterdir() if any(path.glob("*.py"))]
    assert [path.parent.name for path in STUDIES] == sorted(folders)
    assert len(folders) == 4


def test_a_plan_of_the_study_can_be_made(study):
    command = [Path(sys.executable).with_name("stagebench"), "plan", study]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_comment_states_how_many_runs_the_study_has(study):
    plan = make_plan(check_config(load_config(study), study.parent))
    stated = re.search(r"(\d+) treatments x (\d+) replicates .* = (\d+) runs", study.read_text())
    runs = len(plan["runs"]) + len(plan["warm_up_runs"])
    replicates = len(plan["runs"]) // len(plan["treatments"])
    assert [int(number) for number in stated.groups()] == [
        len(plan["treatments"]),
        replicates,
        runs,
    ]


def test_what_a_study_reads_and_writes_lies_beside_it_where_git_ignores_it(study):
    plan = make_plan(check_config(load_config(study), study.parent))
    folders = set(re.findall(r'"folder": "([^"]*)"', json.dumps(plan)))
    assert all(folder.startswith(("results/", "data")) for folder in folders)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"**/results/*", "examples/*/data/"} <= set(ignored)
