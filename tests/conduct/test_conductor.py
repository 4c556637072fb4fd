"""`stagebench run` with the real Snakemake: in a pipe, with failures, and what it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from tests.conduct.small_study import count_runs_there, run_study, write_study
from tests.study import ROOT, SNAKEMAKE, STAGEBENCH, count_jobs


@pytest.fixture(scope="module")
def piped(tmp_path_factory):
    """A study of 16 runs into pipes; half of them fail, but not the baseline."""
    folder = tmp_path_factory.mktemp("piped")
    write_study(folder, ["never", "always"], replicates=2, workers=(1, 2, 3, 4))
    return folder, run_study(folder, "--cores", "2")


def test_a_study_in_a_pipe_prints_40_lines_at_most_and_no_control_character(piped):
    folder, done = piped
    assert count_runs_there(folder) == 16
    output = done.stdout + done.stderr
    minutes = re.findall(r"^\d+ of 16 runs, .*failed.*\n", output, re.MULTILINE)
    assert 10 < len(output.splitlines()) - len(minutes) <= 40, output
    assert not re.search(r"[^\n\t -\x7e\xa0-\uffff]", done.stdout + done.stderr)


def test_the_plan_stands_first_with_what_it_takes(piped):
    _, done = piped
    lines = done.stdout.splitlines()
    assert lines[0].startswith("small: 16 runs, 8 treatments in 2 blocks")
    assert any(
        re.fullmatch(r"trial: 4 of 8 treatments ok .*; failed: (tried/\S+ ?){4}", line)
        for line in lines
    )
    assert re.search(r"^time of 16 runs: about .*; 5 blocks more", done.stdout, re.MULTILINE)


def test_failures_are_named_when_they_happen_and_set_the_exit_code(piped):
    folder, done = piped
    assert done.returncode == 1
    tried = re.findall(r"^FAILED  trial of \S+: (tried/\S+):", done.stdout, re.MULTILINE)
    failed = re.findall(r"^FAILED  (tried/\S+): tasks failed: .*", done.stdout, re.MULTILINE)
    assert len(tried) == len(failed) == 2
    assert "FAILED  more treatments" in done.stdout
    assert all("always" in name for name in tried + failed)
    assert "steps.py, line 8: ValueError: no such file: \\x1b[31m<b>evil</b>" in done.stdout
    assert done.stderr.startswith("stagebench: 8 of 16 runs failed; the first: tried/w")
    assert "Traceback" not in done.stdout + done.stderr
    assert (folder / "results/small/report.md").stat().st_size
    assert "The report: results/small/report.md" in done.stdout


def test_the_first_screen_of_the_report_is_the_end(piped):
    folder, done = piped
    command = [STAGEBENCH, "show", "results/small"]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    screen = shown.rpartition("\nMore: ")[0]
    assert len(screen.splitlines()) > 3
    assert screen in done.stdout


def test_plain_snakemake_names_the_first_failure_beside_the_report(piped):
    folder, _ = piped
    (folder / "results/small/report.md").unlink()
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--cores", "1"]
    command += ["--configfile", "study.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.search(
        r"^8 of 16 runs failed; the first: tried/w\d-fault-always/r1: ", done.stderr, re.MULTILINE
    )
    assert "The report: results/small/report.md" in done.stderr
    assert "rule report:" in done.stderr
    assert "\x1b[31m" not in done.stderr


def test_a_study_that_is_done_is_shown_again_and_nothing_is_tried_or_measured(piped):
    folder, _ = piped
    before = {path: path.stat().st_mtime_ns for path in folder.glob("results/small/raw/*/*/*/*")}
    again = run_study(folder)
    assert again.returncode == 1
    assert "resuming: 16 of 16 runs are there" in again.stdout
    assert "trial" not in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in folder.glob("results/small/raw/*/*/*/*")}


def test_a_baseline_whose_trial_fails_stops_the_study_before_anything_is_measured(tmp_path):
    write_study(tmp_path, ["always", "never"])
    done = run_study(tmp_path)
    assert done.returncode == 1
    assert "the trial of the baseline tried/w1-fault-always failed" in done.stderr
    assert "--keep-going" in done.stderr
    assert not (tmp_path / "results/small/raw").exists()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A study whose baseline fails: stopped, stopped again, and then kept going to its tables."""
    folder = tmp_path_factory.mktemp("stopped")
    write_study(folder, ["later", "never"], replicates=3)
    first = run_study(folder, "--no-trial")
    there = count_runs_there(folder)
    again = run_study(folder)
    two_blocks = ("--override", json.dumps({"replicates": 2}))
    return (
        folder,
        (first, there),
        again,
        run_study(folder, "--keep-going", "--no-report", *two_blocks),
    )


def test_a_baseline_that_fails_in_the_first_block_stops_the_study_unless_told_otherwise(stopped):
    folder, (first, there), again, gone_on = stopped
    assert first.returncode == 1
    assert (
        "the baseline failed, so nothing can be compared with it: tried/w1-fault-later/r1"
        in first.stderr
    )
    assert "remove the folder" in first.stderr
    assert there < 6
    assert again.returncode == 1
    assert "the baseline failed" in again.stderr
    assert count_runs_there(folder) >= 4
    assert gone_on.stderr.startswith(
        "stagebench: 2 of 4 runs failed; the first: tried/w1-fault-later/r1"
    )


def list_jobs(folder, *targets):
    """Return the rules that Snakemake would run for two blocks."""
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--configfile", "study.yaml"]
    command += ["--config", "replicates=2", "--cores", "1", "--dry-run", "--", *targets]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(count_jobs(done.stdout))


def test_without_a_report_a_study_ends_with_its_tables_and_a_later_call_makes_the_rest(stopped):
    folder, *_, gone_on = stopped
    assert gone_on.stdout.endswith("\nThe tables: results/small/tables\n")
    assert gone_on.stderr.endswith(". The tables are made of the others.\n")
    assert (folder / "results/small/tables/runs.csv").exists()
    for name in ("figures", "report", "report.md", "report.html"):
        assert not (folder / "results/small" / name).exists()
    assert list_jobs(folder) == {"figures", "report"}


def test_without_a_report_a_run_that_was_removed_alone_is_made_again(stopped, tmp_path):
    folder, *_ = stopped
    run = folder / "results/small/raw/tried/w1-fault-never/r1"
    shutil.move(run, tmp_path / "kept")
    jobs = list_jobs(folder, "tables")
    shutil.move(tmp_path / "kept", run)
    assert jobs == {"tables", "measure", "analyse"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing.yaml"], "missing.yaml"),
        (["broken.yaml"], "broken.yaml"),
        (["unknown.yaml"], "replicats"),
        (["study.yaml", "--cores", "0"], "'0' is not allowed; allowed: a whole number from 1"),
        (["study.yaml", "--cores", "two"], "'two' is not allowed"),
        (["study.yaml", "--override", "{"], "--override"),
        (["study.yaml", "--override", '{"replicates": -1}'], "replicates"),
    ],
)
def test_bad_input_is_refused_in_words(tmp_path, arguments, expected):
    text = write_study(tmp_path, ["never"]).read_text()
    (tmp_path / "broken.yaml").write_text("study: [")
    (tmp_path / "unknown.yaml").write_text(text.replace("replicates", "replicats"))
    done = run_study(tmp_path, *arguments[1:], config=arguments[0])
    assert done.returncode in (1, 2)
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_results_that_cannot_be_written_are_refused_in_words(tmp_path):
    write_study(tmp_path, ["never"])
    (tmp_path / "results").write_text("a file")
    done = run_study(tmp_path)
    assert done.returncode == 1
    assert "results/small/logs/snakemake.log: cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_standard_output_does_not_stop_a_study(tmp_path):
    write_study(tmp_path, ["never"], replicates=1)
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec >&-; exec '{STAGEBENCH}' run study.yaml --no-trial --no-report"],
        cwd=tmp_path,
        env=os.environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "results/small/tables/runs.csv").exists()


def test_without_its_snakefile_a_study_is_refused_with_what_brings_it(tmp_path):
    write_study(tmp_path, ["never"])
    shutil.copytree(ROOT / "src/stagebench", tmp_path / "site/stagebench")
    done = subprocess.run(
        [sys.executable, "-m", "stagebench", "run", "study.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    expected = "stagebench/rules/Snakefile: the Snakefile is missing; install stagebench again\n"
    assert done.stderr.endswith(expected)
    assert not (tmp_path / "results").exists()


def test_results_that_are_removed_meanwhile_are_missed_in_words(tmp_path):
    write_study(tmp_path, ["never"], replicates=12)
    remove = "while ! ls results/small/raw/*/*/r2; do sleep 0.1; done; rm -r results"
    with subprocess.Popen(
        ["/bin/sh", "-c", remove],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ):
        done = run_study(tmp_path, "--no-trial")
    assert done.returncode == 1
    assert "results/small: was removed while the study ran; start the study again" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
