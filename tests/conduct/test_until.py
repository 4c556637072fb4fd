"""`stagebench run` on a study that stops when it is precise enough, with the real Snakemake."""

import json
import re
import subprocess

import pytest
import yaml
from tests.conduct.small_study import count_runs_there, run_study, write_study
from tests.study import ROOT, SNAKEMAKE


def want(folder, **keys):
    path = folder / "study.yaml"
    config = yaml.safe_load(path.read_text())
    config.pop("replicates", None)
    # Long enough that no disturbance doubles it.
    config["workflows"][0]["stages"][0]["parameters"]["delay_s"] = 0.2
    path.write_text(yaml.safe_dump(config | keys))


def list_moments(folder):
    raw = folder / "results/small/raw"
    return {
        path.parent.name + path.parent.parent.name: path.stat().st_mtime_ns
        for path in raw.glob("*/*/r*/run.json")
    }


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A study that is precise enough at once, and was then wanted to be more precise."""
    folder = tmp_path_factory.mktemp("until")
    write_study(folder, ["never"], workers=(1, 2))
    want(folder, until={"makespan_s": "100 %"}, at_most=6)
    first = run_study(folder, "--cores", "2", "--no-trial")
    there, moments = count_runs_there(folder), list_moments(folder)
    report = (folder / "results/small/report.md").read_text()
    want(folder, until={"makespan_s": 1e-6}, at_most=6)
    second = run_study(folder, "--cores", "2", "--no-trial")
    return folder, first, (there, moments, report), second


def test_it_stops_as_soon_as_all_is_precise_enough_and_says_so(stopped):
    _, first, (there, _, report), _ = stopped
    assert first.returncode == 0, first.stdout + first.stderr
    assert there == 10
    assert "small: at most 12 runs" in first.stdout
    assert "treatments of tried: 1 precise enough\n" in first.stdout
    assert "all 10 runs ok · 5 blocks, precise enough" in report
    assert "10 runs were made, 17 % fewer than the 12 of `at_most` (6 blocks)." in report


def test_more_precision_measures_only_what_is_missing(stopped):
    folder, _, (_, moments, _), second = stopped
    assert second.returncode == 0, second.stdout + second.stderr
    assert "resuming: 10 of 10 runs are there" in second.stdout
    assert "treatments of tried: 1 ended by at_most\n" in second.stdout
    after = list_moments(folder)
    assert len(after) == 12
    assert {name: after[name] for name in moments} == moments
    report = (folder / "results/small/report.md").read_text()
    assert "6 blocks, 0 of 1 precise enough, 1 ended by `at_most`" in report
    assert "missing" not in report


def test_a_run_keeps_the_place_that_it_has_in_the_plan(stopped):
    folder = stopped[0] / "results/small"
    plan = json.loads((folder / "plan.json").read_text())
    for planned in plan["runs"]:
        path = folder / "raw/tried" / planned["treatment"] / f"r{planned['replicate']}/run.json"
        run = json.loads(path.read_text())
        assert [run[name] for name in ("block", "position", "rank")] == [
            planned[name] for name in ("block", "position", "rank")
        ]


def test_plain_snakemake_keeps_all_and_alone_makes_at_least_blocks(stopped, tmp_path):
    folder = stopped[0]
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--cores", "2"]
    command += ["--configfile", "study.yaml", "--dry-run"]
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr
    write_study(tmp_path, ["never"], workers=(1, 2))
    want(tmp_path, until={"makespan_s": "100 %"})
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.search(r"^measure +10$", alone.stdout, re.MULTILINE), alone.stdout + alone.stderr


def test_a_damaged_file_of_decisions_is_named(tmp_path):
    write_study(tmp_path, ["never"], workers=(1, 2))
    want(tmp_path, until={"makespan_s": "100 %"})
    path = tmp_path / "results/small/blocks.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    done = run_study(tmp_path, "--cores", "2", "--no-trial")
    assert done.returncode != 0
    assert "blocks.json: not the blocks of a study; remove it" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
