"""A study that changes, with the real Snakemake: only what is new is measured."""

import re
import shutil

import pytest
from tests.study import (
    MEASURED,
    checkout,
    count_jobs,
    edit_config,
    experiment,
    read_runs,
    shrink,
    snakemake,
)

from stagebench import store
from stagebench.tables.io import read_tables


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The shrunk study, measured once and not analysed; tests change copies of it."""
    folder = checkout(tmp_path_factory.mktemp("small"))
    done = snakemake(folder, *MEASURED, config=edit_config(folder, shrink))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def copy(small, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(small, folder)
    return folder


def measured_anew(folder, config, *arguments):
    """Run the study again; return the treatments and replicates that were measured this time."""
    raw = folder / "results/smoke/raw"
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("run.json")}
    done = snakemake(folder, *arguments, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {path: path.stat().st_mtime_ns for path in raw.rglob("run.json")}
    return {str(p.parent.relative_to(raw)) for p in after if after[p] != before.get(p)}


def grow(config):
    """Add a level, a warm-up and runs that diagnose, and break an experiment."""
    config["warm_ups"] = 1
    for name in ("runtime", "memory"):
        experiment(config, name)["diagnose"] = True
    experiment(config, "memory")["factors"]["start_method"]["levels"].append("spawn")
    # What can be imported when the config is checked, and cannot in the measured process.
    environment = {"FRAGILE": "yes"}
    experiment(config, "runtime")["process"] = {"preload": ["fragile"], "environment": environment}


FRAGILE = "import os\n\nif 'FRAGILE' in os.environ:\n    import no_such_module_at_all\n"


@pytest.fixture(scope="module")
def grown(small, tmp_path_factory):
    """The small study after it grew, up to its report; what was measured this time; its plan."""
    folder = tmp_path_factory.mktemp("grown") / "copy"
    shutil.copytree(small, folder)
    (folder / "config/fragile.py").write_text(FRAGILE)
    new = measured_anew(folder, edit_config(folder, shrink, grow))
    return folder, new, read_runs(folder)[0]


def test_an_added_level_and_a_changed_experiment_run_only_their_own_runs(grown):
    _, new, plan = grown
    assert len(plan["treatments"]) == 5
    broken = {f"{name}/r{n}" for name in plan["treatments"] for n in (1, 2) if "runtime" in name}
    assert len(broken) == 2
    blocks = {path for path in new if path.rpartition("/")[2].startswith("r")}
    assert blocks == {"memory/process-spawn/r1", "memory/process-spawn/r2"} | broken


def test_an_added_level_is_in_plan_and_report(grown):
    folder, _, plan = grown
    assert len(read_runs(folder)[1]) == 10
    assert "memory/process-spawn" in plan["treatments"]
    assert "process-spawn" in (folder / "results/smoke/report.md").read_text()


def test_warm_ups_are_measured_first_and_never_again_when_replicates_are_added(grown):
    folder, new, plan = grown
    warm_ups = {path for path in new if path.endswith("/w1")}
    assert warm_ups == {f"{name}/w1" for name in plan["treatments"]}
    report = (folder / "results/smoke/report.md").read_text()
    assert "5 warm-up runs came before the first block" in report
    more = edit_config(folder, shrink, grow, lambda config: config.update(replicates=3))
    output = snakemake(folder, "--dry-run", config=more).stdout
    planned = re.findall(r"output: results/smoke/raw/(\S+)", output)
    assert sorted(planned) == sorted(f"{name}/r3" for name in plan["treatments"])


def test_a_treatment_that_fails_is_reported_and_does_not_stop_the_study(grown):
    folder, _, _ = grown
    ended = {(run["experiment"], run["status"]) for run in read_runs(folder)[1]}
    assert ended == {("runtime", "crashed"), ("memory", "ok"), ("published_sampling", "ok")}
    report = (folder / "results/smoke/report.md").read_text()
    assert "crashed" in report
    assert "no_such_module_at_all" in report


def test_runs_that_diagnose_are_made_after_all_others_and_are_in_tables_of_their_own(grown):
    folder, new, plan = grown
    diagnosis = folder / "results/smoke/diagnosis"
    runs = {one["name"]: store.read_run(diagnosis / one["name"]) for one in plan["diagnoses"]}
    assert len(runs) == 4 + 6
    counting = [store.read_run(folder / "results/smoke/raw" / path) for path in new]
    assert min(run["exec_ns"] for run in runs.values()) >= max(one["exited_ns"] for one in counting)
    first = [run["exec_ns"] for name, run in runs.items() if name.startswith("treatments/")]
    last = [run["exec_ns"] for name, run in runs.items() if name.startswith("pipelines/")]
    assert max(first) < min(last)
    tables = read_tables(folder / "results/smoke/tables")
    assert len(tables["runs"]) == 10
    alone, tasks = tables["alone"].set_index("pipeline"), tables["diagnosed"]
    assert alone.loc["memory-1", "status"] == "ok"
    assert alone.loc["memory-1", "service_s"] >= 0.05
    assert alone.loc["memory-1", "wakes"] >= 1
    served = tasks[tasks["experiment"] == "memory"]
    assert len(served) == 3 * 4
    assert set(served["status"]) == {"ok"}
    assert served["voluntary_switches"].notna().all()


def test_a_run_that_diagnoses_and_fails_is_named_and_does_not_stop_the_study(grown):
    folder, _, _ = grown
    tables = read_tables(folder / "results/smoke/tables")
    alone, tasks = tables["alone"], tables["diagnosed"]
    status = alone.loc[alone["experiment"] == "runtime", "status"]
    assert len(status) == 3
    assert all("alone: crashed: " in text and "pair: crashed: " in text for text in status)
    (failed,) = tasks[tasks["experiment"] == "runtime"].to_dict("records")
    assert failed["status"].startswith("crashed: ")
    assert "no_such_module_at_all" in failed["status"]


def test_no_report_of_before_stays_while_a_run_is_made_again(grown, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(grown[0], folder)
    results = folder / "results/smoke"
    made = [results / name for name in ("report.md", "report.html", "report")]
    assert all(path.exists() for path in made)
    shutil.rmtree(results / "raw/memory/thread/r1")
    config = edit_config(folder, shrink, grow)
    assert measured_anew(folder, config, *MEASURED) == {"memory/thread/r1"}
    assert not any(path.exists() for path in made)
    output = snakemake(folder, "--dry-run", config=config).stdout
    assert count_jobs(output) == {"analyse": 1, "figures": 3, "report": 1}


def test_a_study_never_touches_the_results_of_another(grown):
    folder, _, _ = grown
    before = {p: p.stat().st_mtime_ns for p in (folder / "results/smoke").rglob("*") if p.is_file()}
    assert any(path.name == "report.md" for path in before)

    def change(config):
        config.update(study="other", replicates=1, experiments=config["experiments"][2:])

    assert snakemake(folder, config=edit_config(folder, shrink, change)).returncode == 0
    assert (folder / "results/other/report.md").exists()
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_one_more_replicate_runs_only_its_block(copy):
    config = edit_config(copy, shrink, lambda config: config.update(replicates=3))
    new = measured_anew(copy, config, *MEASURED)
    assert {path.rpartition("/")[2] for path in new} == {"r3"}
    assert len(new) == 4
    campaigns = {run["replicate"]: set() for run in read_runs(copy)[1]}
    for run in read_runs(copy)[1]:
        campaigns[run["replicate"]].add(run["campaign"])
    (first,), (second,), (third,) = campaigns.values()
    assert first == second < third


def test_another_seed_order_or_time_limit_measures_nothing_again(copy):
    def change(config):
        config.update(seed=99, time_limit_s=30, quiet_wait_s=0.1, warm_memory="16 MiB")
        config["experiments"].reverse()

    assert measured_anew(copy, edit_config(copy, shrink, change), *MEASURED) == set()
    assert read_runs(copy)[0]["seed"] == 99


def test_an_edited_parameter_measures_its_treatments_again_and_no_others(copy):
    def change(config):
        config["workflows"][1]["stages"][0]["parameters"]["size_mib"] = 2

    new = measured_anew(copy, edit_config(copy, shrink, change), *MEASURED)
    assert len(new) == 6
    assert {path.partition("/")[0] for path in new} == {"memory", "published_sampling"}


def test_emulating_the_published_way_measures_its_experiment_again_and_no_other(copy):
    def emulate(config):
        experiment(config, "memory")["sampler"]["emulate"] = {}
        # The default, written out:
        experiment(config, "published_sampling")["sampler"]["census"] = "auto"

    new = measured_anew(copy, edit_config(copy, shrink, emulate), *MEASURED)
    assert len(new) == 4
    assert all(path.startswith("memory/") for path in new)
    raw = copy / "results/smoke/raw"
    emulating = {path.parts[-4] for path in raw.rglob(store.EMULATED_FILE)}
    assert emulating == {"memory", "published_sampling"}


REMOVES = """
import os, pathlib, shutil, sys
if "REMOVES" in os.environ:
    run = pathlib.Path(sys.argv[1])
    shutil.rmtree(run.parents[1])
    shutil.rmtree(run.parents[3] / "logs")
"""


def read_runs_left(folder):
    return {path.parent for path in (folder / "results/smoke/raw").rglob("run.json")}


def test_results_that_are_removed_meanwhile_are_missed_in_words_and_others_are_kept(copy):
    def change(config):
        process = {"preload": ["removes"], "environment": {"REMOVES": "yes"}}
        experiment(config, "runtime")["process"] = process

    (copy / "config/removes.py").write_text(REMOVES)
    before = read_runs_left(copy)
    done = snakemake(copy, *MEASURED, config=edit_config(copy, shrink, change), own_code=True)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert re.search(
        r"^stagebench: .*/r1: its folder was removed while .* start the", output, re.MULTILINE
    )
    assert "Traceback" not in output
    after = read_runs_left(copy)
    assert after == {run for run in before if "runtime" not in run.parts}
    assert len(after) == 6


def test_a_result_that_is_removed_after_its_job_is_missed_in_words(copy, monkeypatch):
    run = copy / "results/smoke/raw/memory/thread/r1"
    shutil.rmtree(run)
    (copy / "at_exit.sh").write_text(f"trap 'rm -r {run}' EXIT\n")
    monkeypatch.setenv("BASH_ENV", str(copy / "at_exit.sh"))
    done = snakemake(copy, *MEASURED, "--latency-wait", "0", config="config/mine.yaml")
    assert done.returncode == 1
    assert "Files under results/smoke were removed while the study ran." in done.stderr
    assert len(read_runs_left(copy)) == 7
