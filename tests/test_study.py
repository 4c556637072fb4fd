"""The smoke study, end to end, with the real Snakemake: its order, reuse and errors."""

import itertools
import re
import signal
import subprocess
import time

import pytest
from tests.study import (
    MEASURED,
    SNAKEMAKE,
    STAGEBENCH,
    checkout,
    edit_config,
    read_runs,
    shrink,
    snakemake,
)

from stagebench import store


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The smoke study, run once."""
    folder = checkout(tmp_path_factory.mktemp("study"))
    done = snakemake(folder, cores=4)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_the_report_is_named_at_the_end_and_exists(study):
    folder, done = study
    assert "results/smoke/report.md" in done.stdout + done.stderr
    report = (folder / "results/smoke/report.md").read_text()
    assert "p2-forkserver" in report
    assert (folder / "results/smoke/report.html").read_text().lower().startswith("<!doctype html>")
    for line in report.splitlines():
        if line.startswith("!["):
            figure = line.split("(")[1].rstrip(")")
            assert (folder / "results/smoke" / figure).stat().st_size > 0


def test_every_planned_run_was_made_and_is_ok(study):
    _, runs = read_runs(study[0])
    assert len(runs) == 18
    assert {run["status"] for run in runs} == {"ok"}


def test_measurements_do_not_overlap_though_there_are_four_cores(study):
    _, runs = read_runs(study[0])
    spans = sorted((run["exec_ns"], run["exited_ns"]) for run in runs)
    assert all(early[1] <= late[0] for early, late in itertools.pairwise(spans))


def test_runs_were_made_in_the_planned_order(study):
    _, runs = read_runs(study[0])
    by_start = sorted(runs, key=lambda run: run["exec_ns"])
    assert [run["rank"] for run in by_start] == list(range(18))
    assert [run["block"] for run in by_start] == [1] * 9 + [2] * 9


def test_analysis_begins_after_the_last_measurement(study):
    results = study[0] / "results/smoke"
    first_table = min(path.stat().st_mtime for path in (results / "tables").glob("*.csv"))
    assert first_table >= max(path.stat().st_mtime for path in results.rglob("run.json"))


def test_a_second_call_finds_nothing_to_do(study):
    done = snakemake(study[0])
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_dry_run_shows_the_design_before_warm_ups_and_these_before_all_blocks(tmp_path):
    folder = checkout(tmp_path / "checkout")
    config = edit_config(folder, lambda config: config.update(warm_ups=1, replicates=1))
    output = snakemake(folder, "--dry-run", config=config).stdout
    jobs = re.findall(r"output: results/smoke/(?:raw/)?([^\s,]+)|priority: (\d+)", output)
    names = [name.rpartition("/")[2] for name, _ in jobs if re.search(r"/[wr]1$|plan.json", name)]
    priorities = [int(priority) for _, priority in jobs if priority]
    order = [name for _, name in sorted(zip(priorities, names, strict=True), reverse=True)]
    assert order == ["plan.json"] + ["w1"] * 9 + ["r1"] * 9


def test_the_plan_has_the_order_of_the_factors_and_their_tags(tmp_path):
    folder = checkout(tmp_path / "checkout")
    line = "      start_method: {levels: [fork], when: {executor: process}}\n"
    more = """\
      mmap: {levels: [null, 65536], tags: {"null": "", 65536: mmap}}
      arena: {levels: [null, 1], tags: {1: arena, "null": ""}}
    process: {environment: {MALLOC_MMAP_THRESHOLD_: "{mmap}", MALLOC_ARENA_MAX: "{arena}"}}
"""
    text = (folder / "config" / "smoke.yaml").read_text()
    assert line in text
    text = text.replace(line, line + more)
    baseline = "    baseline: {executor: thread}\n"
    before, _, after = text.partition(more)
    config = "config/mine.yaml"
    after = after.replace(
        baseline, "    baseline: {executor: thread, mmap: null, arena: null}\n", 1
    )
    (folder / config).write_text(before + more + after)
    done = snakemake(folder, "--until", "design", config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = store.read_json(folder / "results/smoke/plan.json")
    assert "memory/thread-mmap-arena" in plan["treatments"]
    planned = subprocess.run(
        [STAGEBENCH, "plan", config], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "thread-mmap-arena" in planned.stdout


def test_all_errors_of_a_config_are_reported_at_once_and_nothing_is_written(tmp_path):
    folder = checkout(tmp_path / "checkout")

    def break_it(config):
        config["replicate"] = config.pop("replicates")
        config["workflows"][0]["stages"][1]["handler"] = "sum_squares_natve"
        config["experiments"][0]["factors"]["workers"] = [1, 1]

    done = snakemake(folder, config=edit_config(folder, break_it))
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output
    assert "did you mean 'replicates'?" in output
    assert "did you mean 'sum_squares_native'?" in output
    assert "experiments[runtime].factors.workers" in output
    assert not (folder / "results").exists()


@pytest.mark.parametrize("text", ["a: [1, 2", None])
def test_a_config_that_cannot_be_read_is_an_error_without_traceback(tmp_path, text):
    folder = checkout(tmp_path / "checkout")
    path = folder / "config" / "config.yaml"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    for command in ([SNAKEMAKE, "--cores", "1"], [STAGEBENCH, "plan", "config/config.yaml"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert done.returncode != 0
        assert "Traceback" not in output
        assert "config.yaml" in output
    assert not (folder / "results").exists()


def test_complete_runs_survive_a_kill_and_the_next_call_continues(tmp_path):
    folder = checkout(tmp_path / "checkout")
    config = edit_config(folder, shrink)
    command = [SNAKEMAKE, "--cores", "2", "--configfile", config]
    first = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    raw = folder / "results/smoke/raw"
    while first.poll() is None and len(list(raw.rglob("run.json"))) < 3:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    whole = {path: path.stat().st_ino for path in raw.rglob("run.json")}
    assert len(whole) >= 3
    again = ("--rerun-incomplete", *MEASURED)
    done = snakemake(folder, *again, config=config)
    if done.returncode:
        assert "--unlock" in done.stdout + done.stderr
        assert snakemake(folder, "--unlock", config=config).returncode == 0
        done = snakemake(folder, *again, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [path for path, inode in whole.items() if path.stat().st_ino == inode]
    # The run in progress when Snakemake was killed may have been written after all.
    assert len(kept) >= len(whole) - 1
    assert len(read_runs(folder)[1]) == 8
