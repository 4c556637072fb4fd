"""`stagebench run` on a study that stops when it is precise enough, with the real Snakemake."""

import json
import re
import shutil
import signal
import subprocess
import time

import psutil
import pytest
import yaml
from tests.commands import analyse_study
from tests.conduct.small_study import count_runs_there, run_study, write_study
from tests.study import ROOT, SNAKEMAKE, STAGEBENCH

from stagebench.store import read_json, read_run

HELD_BEFORE = 22
"""Calls of the handler in 11 runs; the 12th, the second of block 6, waits while a file is there."""

HOLD = f"""\
    while os.path.getsize(COUNT) > {HELD_BEFORE} and os.path.exists(COUNT + ".hold"):
        time.sleep(0.01)
    return 1
"""


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
    folder = tmp_path_factory.mktemp("until") / "study"
    folder.mkdir()
    write_study(folder, ["never"], workers=(1, 2))
    steps = folder / "steps.py"
    steps.write_text("import time\n" + steps.read_text().replace("    return 1\n", HOLD))
    want(folder, until={"makespan_s": "100 %"}, at_most=6)
    first = run_study(folder, "--cores", "2", "--no-trial")
    shutil.copytree(folder, folder.with_name("early"))
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


def call(folder, *arguments):
    return subprocess.run(
        [STAGEBENCH, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def test_what_stopped_early_is_packed_and_elsewhere_analysed_to_the_same_tables(stopped, tmp_path):
    early = stopped[0].with_name("early") / "results/small"
    call(tmp_path, "pack", early)
    call(tmp_path, "unpack", "small.stagebench.zip", "--out", "back")
    back = tmp_path / "back"
    analyse_study(back / "plan.json", back / "raw", None, tmp_path / "again")
    tables = sorted((early / "tables").glob("*.csv"))
    assert len(tables) > 10
    for path in tables:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert "all 10 runs ok" in call(tmp_path, "show", "back")
    sides = ("early=small.stagebench.zip", f"more={stopped[0] / 'results/small'}")
    compared = call(tmp_path, "compare", *sides)
    assert re.search(r"^early +10 runs of 2 treatments", compared), compared
    # The runs that both have in common are the same.
    assert re.search(r"^w2-fault-never .* equivalent .* 5\b", compared, re.MULTILINE), compared


def test_a_packed_study_has_the_config_by_which_it_was_run(stopped, tmp_path):
    call(tmp_path, "pack", stopped[0] / "results/small")
    call(tmp_path, "unpack", "small.stagebench.zip", "--out", "back")
    shutil.copy(stopped[0] / "steps.py", tmp_path / "back")
    call(tmp_path, "design", "--config", "back/resolved.yaml", "--out", "again/plan.json")
    assert read_json(tmp_path / "again/plan.json") == read_json(tmp_path / "back/plan.json")


def interrupt(process):
    process.send_signal(signal.SIGINT)


def kill_all(process):
    """Kill it and all that it has started, as if the machine went off."""
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()


def list_places(folder):
    runs = {path: read_run(path.parent) for path in folder.glob("raw/*/*/r*/run.json")}
    return {
        str(path.relative_to(folder)): [run[name] for name in ("block", "position", "rank", "seed")]
        for path, run in runs.items()
    }


def test_interrupted_within_a_round_it_goes_on_and_ends_as_if_it_was_not(stopped, tmp_path):
    whole = stopped[0] / "results/small"
    folder = tmp_path / "study"
    shutil.copytree(stopped[0].with_name("early"), folder)
    want(folder, until={"makespan_s": 1e-6}, at_most=6)
    hold, calls = folder / "count.txt.hold", folder / "count.txt"
    hold.touch()
    command = [STAGEBENCH, "run", "study.yaml", "--cores", "2", "--no-trial"]
    kept = []
    for end in (interrupt, kill_all):
        before = max(HELD_BEFORE, calls.stat().st_size)
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
            while calls.stat().st_size <= before:
                assert process.poll() is None
                time.sleep(0.01)
            end(process)
        assert process.returncode != 0
        kept.append(list_moments(folder))
    there, later = kept
    assert len(there) == 11
    assert there == later
    hold.unlink()
    again = run_study(folder, "--cores", "2", "--no-trial", "--no-report")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resuming: 11 of 12 runs are there" in again.stdout
    after = list_moments(folder)
    assert {name: after[name] for name in there} == there
    results = folder / "results/small"
    for name in ("plan.json", "blocks.json"):
        assert (results / name).read_bytes() == (whole / name).read_bytes()
    assert list_places(results) == list_places(whole)
