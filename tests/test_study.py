"""The smoke study, end to end, by the real Snakemake: its order, its reuse, its errors."""

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from stagebench import store

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
STAGEBENCH = Path(sys.executable).with_name("stagebench")


def checkout(folder):
    """Copy what a study needs, so that a test's results are its own."""
    folder.mkdir(exist_ok=True)
    for name in ("Snakefile", "workflow", "config", "src"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def snakemake(folder, *arguments, config="config/smoke.yaml", cores=2):
    command = [SNAKEMAKE, "--cores", str(cores), "--configfile", config, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def edit_config(folder, change):
    config = yaml.safe_load((folder / "config" / "smoke.yaml").read_text())
    change(config)
    (folder / "config" / "mine.yaml").write_text(yaml.safe_dump(config))
    return "config/mine.yaml"


def read_runs(folder, study="smoke"):
    plan = json.loads((folder / "results" / study / "plan.json").read_text())
    raw = folder / "results" / study / "raw"
    runs = [
        store.read_run(raw / run["experiment"] / run["treatment"] / f"r{run['replicate']}")
        for run in plan["runs"]
    ]
    return plan, runs


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The smoke study, run once; tests that change something work on a copy."""
    folder = checkout(tmp_path_factory.mktemp("study"))
    done = snakemake(folder, cores=4)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


@pytest.fixture
def copy(study, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study[0], folder)
    return folder


def test_the_report_is_named_at_the_end_and_is_there(study):
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


def test_measurements_are_disjoint_though_there_were_four_cores(study):
    _, runs = read_runs(study[0])
    spans = sorted((run["exec_ns"], run["exited_ns"]) for run in runs)
    assert all(early[1] <= late[0] for early, late in itertools.pairwise(spans))


def test_runs_were_made_in_the_planned_order(study):
    _, runs = read_runs(study[0])
    by_start = sorted(runs, key=lambda run: run["exec_ns"])
    assert [run["rank"] for run in by_start] == list(range(18))
    assert [run["block"] for run in by_start] == [1] * 9 + [2] * 9


def test_analysis_begins_when_the_last_measurement_is_over(study):
    results = study[0] / "results/smoke"
    first_table = min(path.stat().st_mtime for path in (results / "tables").glob("*.csv"))
    assert first_table >= max(path.stat().st_mtime for path in results.rglob("run.json"))


def test_a_second_call_finds_nothing_to_do(study):
    done = snakemake(study[0])
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def measured_anew(folder, config):
    """Run the study again; gives the treatments and replicates that were measured this time."""
    raw = folder / "results/smoke/raw"
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("run.json")}
    done = snakemake(folder, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {path: path.stat().st_mtime_ns for path in raw.rglob("run.json")}
    return {str(p.parent.relative_to(raw)) for p in after if after[p] != before.get(p)}


def test_one_added_level_runs_only_its_own_runs(copy):
    def add_level(config):
        config["experiments"][1]["factors"]["start_method"]["levels"].append("spawn")

    new = measured_anew(copy, edit_config(copy, add_level))
    assert new == {"memory/process-spawn/r1", "memory/process-spawn/r2"}
    plan, runs = read_runs(copy)
    assert len(runs) == 20
    report = (copy / "results/smoke/report.md").read_text()
    assert "process-spawn" in report
    assert len(plan["treatments"]) == 10


def test_one_more_replicate_runs_only_its_block(copy):
    new = measured_anew(copy, edit_config(copy, lambda config: config.update(replicates=3)))
    assert {path.rpartition("/")[2] for path in new} == {"r3"}
    assert len(new) == 9
    campaigns = {run["replicate"]: set() for run in read_runs(copy)[1]}
    for run in read_runs(copy)[1]:
        campaigns[run["replicate"]].add(run["campaign"])
    (first,), (second,), (third,) = campaigns.values()
    assert first == second < third


def test_warm_ups_are_measured_first_and_never_again_when_replicates_are_added(copy):
    def memory_alone(**changes):
        return lambda config: config.update(experiments=config["experiments"][1:2], **changes)

    new = measured_anew(copy, edit_config(copy, memory_alone(warm_ups=1)))
    assert new == {"memory/thread/w1", "memory/process-fork/w1"}
    report = (copy / "results/smoke/report.md").read_text()
    assert "2 runs to warm up came before the first block" in report
    more = edit_config(copy, memory_alone(warm_ups=1, replicates=3))
    said = snakemake(copy, "--dry-run", config=more).stdout
    planned = re.findall(r"output: results/smoke/raw/(\S+)", said)
    assert sorted(planned) == ["memory/process-fork/r3", "memory/thread/r3"]


def test_a_dry_run_shows_warm_ups_before_all_blocks(tmp_path):
    folder = checkout(tmp_path / "checkout")
    config = edit_config(folder, lambda config: config.update(warm_ups=1, replicates=1))
    said = snakemake(folder, "--dry-run", config=config).stdout
    jobs = re.findall(r"output: results/smoke/raw/(\S+)|priority: (\d+)", said)
    names = [name.rpartition("/")[2] for name, _ in jobs if name]
    priorities = [int(priority) for _, priority in jobs if priority]
    order = [name for _, name in sorted(zip(priorities, names, strict=True), reverse=True)]
    assert order == ["w1"] * 9 + ["r1"] * 9


def test_another_seed_order_or_time_limit_measures_nothing_again(copy):
    def change(config):
        config.update(seed=99, time_limit_s=30, quiet_wait_s=0.1)
        config["experiments"].reverse()

    assert measured_anew(copy, edit_config(copy, change)) == set()


def test_an_edited_parameter_measures_its_treatments_again_and_no_others(copy):
    def change(config):
        config["workflows"][1]["stages"][0]["parameters"]["size_mib"] = 2

    new = measured_anew(copy, edit_config(copy, change))
    assert len(new) == 10
    assert {path.partition("/")[0] for path in new} == {
        "memory",
        "start_method_tax",
        "published_sampling",
    }


def test_emulating_the_published_way_measures_its_experiment_again_and_no_other(copy):
    def emulate(config):
        config["experiments"][1]["sampler"]["emulate"] = {}
        config["experiments"][3]["sampler"]["census"] = "auto"  # the default, written out

    new = measured_anew(copy, edit_config(copy, emulate))
    assert len(new) == 4
    assert all(path.startswith("memory/") for path in new)
    raw = copy / "results/smoke/raw"
    emulating = {path.parts[-4] for path in raw.rglob(store.EMULATED_FILE)}
    assert emulating == {"memory", "published_sampling"}


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


def test_a_treatment_that_fails_is_reported_and_does_not_stop_the_study(copy):
    def break_memory(config):
        memory = config["experiments"][1]
        memory["process"] = {"preload": ["no_such_module_at_all"]}

    new = measured_anew(copy, edit_config(copy, break_memory))
    assert len(new) == 4
    _, runs = read_runs(copy)
    assert {run["status"] for run in runs if run["experiment"] == "memory"} == {"crashed"}
    report = (copy / "results/smoke/report.md").read_text()
    assert "crashed" in report
    assert "no_such_module_at_all" in report


def test_every_error_of_a_config_is_told_at_once_and_nothing_is_written(tmp_path):
    folder = checkout(tmp_path / "checkout")

    def break_it(config):
        config["replicate"] = config.pop("replicates")
        config["workflows"][0]["stages"][1]["handler"] = "sum_squares_natve"
        config["experiments"][0]["factors"]["workers"] = [1, 1]

    done = snakemake(folder, config=edit_config(folder, break_it))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    assert "did you mean 'replicates'?" in said
    assert "did you mean 'sum_squares_native'?" in said
    assert "experiments[0].factors.workers" in said
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "- 1\n- 2\n", "\tx: 1\n", "study: a\nstudy: b\n", None]
)
def test_a_config_that_cannot_be_read_is_an_error_without_traceback(tmp_path, text):
    folder = checkout(tmp_path / "checkout")
    path = folder / "config" / "config.yaml"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    for command in ([SNAKEMAKE, "--cores", "1"], [STAGEBENCH, "plan", "config/config.yaml"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "Traceback" not in said
        assert "config.yaml" in said
    assert not (folder / "results").exists()


def test_whole_runs_survive_a_kill_and_the_next_call_goes_on(tmp_path):
    folder = checkout(tmp_path / "checkout")
    command = [SNAKEMAKE, "--cores", "2", "--configfile", "config/smoke.yaml"]
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
    done = snakemake(folder, "--rerun-incomplete")
    if done.returncode:
        assert "--unlock" in done.stdout + done.stderr
        assert snakemake(folder, "--unlock").returncode == 0
        done = snakemake(folder, "--rerun-incomplete")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [path for path, inode in whole.items() if path.stat().st_ino == inode]
    # The run that was under way when Snakemake was killed may have been written after all.
    assert len(kept) >= len(whole) - 1
    assert len(read_runs(folder)[1]) == 18


def test_a_study_never_touches_the_results_of_another(copy):
    before = {p: p.stat().st_mtime_ns for p in (copy / "results/smoke").rglob("*") if p.is_file()}
    config = edit_config(copy, lambda config: config.update(study="other", replicates=1))
    assert snakemake(copy, config=config).returncode == 0
    assert (copy / "results/other/report.md").exists()
    assert {p: p.stat().st_mtime_ns for p in before} == before
