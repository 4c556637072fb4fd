"""Trials by the command, with real runs."""

import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.study import ROOT, STAGEBENCH

from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.store import canonical_json
from stagebench.trial.one_task import TrialRequest, identify, run_trials, take_one_task

HANDLERS = """
import os, time

def fail(where):
    raise ValueError(f"no such thing: {where}")

def read(path):
    return len(open(path).read())

def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")

def note_and_wait(path):
    note(path)
    time.sleep(600)

def say_and_wait(text):
    print(text, flush=True)
    time.sleep(600)
"""


class Study:
    """A study with own handlers, the folder in which it is tried, and one for temporary files."""

    def __init__(self, folder):
        self.config = folder / "study" / "study.yaml"
        self.working = folder / "working"
        self.temporary = folder / "temporary"
        for each in (self.config.parent, self.working, self.temporary):
            each.mkdir()
        (self.config.parent / "mine.py").write_text(HANDLERS)

    def write(self, stages, *, tasks="3", limit=30):
        """Write one experiment a stage: handler and parameters, in the order of the stages."""
        lines = ["study: mine", "seed: 1", "replicates: 2", f"time_limit_s: {limit}"]
        lines += ["quiet_wait_s: 0", "warm_memory: false", "reference: null", "workflows:"]
        for name, stage in stages.items():
            lines += [f"  - name: {name}", "    stages:"]
            lines += [f"      - {{name: work, executor: thread, workers: 1, {stage}}}"]
        lines += ["experiments:"]
        for name in stages:
            lines += [f"  - name: {name}", f"    workflow: {name}", f"    tasks: {tasks}"]
        self.config.write_text("\n".join(lines) + "\n")

    def last_line_of(self, text):
        lines = self.config.read_text().splitlines()
        return max(number for number, line in enumerate(lines, 1) if line == text)

    def start(self, *arguments, **options):
        return subprocess.Popen(
            [STAGEBENCH, "plan", self.config, "--trial", *arguments],
            cwd=self.working,
            env=os.environ | {"TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            text=True,
            **{"stderr": subprocess.PIPE} | options,
        )

    def run(self, *arguments):
        with self.start(*arguments) as process:
            output, errors = process.communicate()
        return process.returncode, output, errors

    def request(self):
        plan = make_plan(load_study(self.config))
        return TrialRequest(plan, self.config.parent, {}, 0, lambda _: 0)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


WORKS = "handler: wait, parameters: {delay_s: 0.01}"


def rows_of(output, status):
    return [line.split()[0] for line in output.splitlines() if line.split()[1:2] == [status]]


def test_every_treatment_of_a_study_is_tried_and_nothing_is_left(study):
    shutil.copy(ROOT / "config" / "smoke.yaml", study.config)
    result = study.working / "results" / "smoke" / "raw" / "run.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")

    code, output, errors = study.run()

    assert (code, errors) == (0, "")
    plan = make_plan(load_study(study.config))
    ids = [treatment["treatment"] for treatment in plan["treatments"].values()]
    assert rows_of(output, "ok") == ids
    assert max(map(len, output.splitlines())) <= 80
    assert "estimated time of 18 runs: about" in output
    assert list(study.temporary.iterdir()) == []
    assert [path for path in study.working.rglob("*") if path.is_file()] == [result]
    assert result.read_text() == "{}"


def test_a_failure_is_listed_with_its_place_after_all_treatments_were_tried(study):
    study.write({"bad": 'handler: "mine:fail", parameters: {where: here}', "good": WORKS})

    code, output, errors = study.run()

    assert code == 1
    assert rows_of(output, "failed") == ["only"]
    assert rows_of(output, "ok") == ["only"]
    assert errors.startswith("stagebench: 1 of 2 treatments failed with one task\n")
    place = f"{study.config}:{study.last_line_of('  - name: bad')}"
    assert f"  {place}: bad/only: the task failed: stage 'work': mine.py, line 5: " in errors
    assert "ValueError: no such thing: here" in errors
    assert "Traceback" not in errors
    assert "good/only" not in errors
    assert "without 2 runs of treatments whose trial was not ok" in " ".join(output.split())
    assert list(study.temporary.iterdir()) == []


def test_a_file_that_is_missing_is_named(study):
    study.write({"bad": 'handler: "mine:read", parameters: {path: /no/such.txt}'})

    code, output, errors = study.run()

    assert code == 1
    assert "FileNotFoundError" in errors
    assert "/no/such.txt" in errors
    assert "the study's time cannot be estimated: no treatment succeeded" in output


def test_a_task_that_exceeds_the_time_limit_is_a_failure_with_its_last_words(study):
    study.write({"slow": 'handler: "mine:say_and_wait", parameters: {text: busy}'}, limit=1)

    code, output, errors = study.run()

    assert code == 1
    assert "timed out" in output
    assert "slow/only: timed out with one task: still running after the time limit" in errors
    assert "    output: busy\n" in errors


def test_a_handler_that_was_edited_after_the_plan_is_a_failure_of_its_treatments(study):
    study.write({"bad": 'handler: "mine:read", parameters: {path: x}', "good": WORKS})
    request = study.request()
    (study.config.parent / "mine.py").write_text(HANDLERS + "\nedited = 1\n")

    bad, good = (trial.observed for trial in run_trials(request))

    assert bad.status == "not_run"
    assert "the source of handler 'mine:read' was edited" in bad.detail
    assert good.status == "ok"


def test_a_file_of_tasks_that_is_gone_is_a_failure(study):
    file = study.config.parent / "tasks.csv"
    file.write_text("work.delay_s\n0.01\n0.02\n")
    study.write({"bad": WORKS}, tasks="{file: tasks.csv}")
    request = study.request()
    file.unlink()

    (trial,) = run_trials(request)

    assert trial.observed.status == "not_run"
    assert "tasks.csv: cannot be read" in trial.observed.detail


def test_of_a_list_or_file_of_tasks_the_first_one_is_tried(study):
    (study.config.parent / "tasks.csv").write_text("work.delay_s\n0.01\n0.02\n")
    study.write({"one": WORKS}, tasks="{file: tasks.csv}")
    (treatment,) = study.request().plan["treatments"].values()
    given = treatment["specification"]
    before = canonical_json(given)
    first = {"work": {"delay_s": 0.01}}

    single = take_one_task(given, study.config.parent)

    assert single == {**given, "tasks": [first]}
    assert take_one_task({**given, "tasks": [first, {}]}, study.config.parent) == single
    assert take_one_task({**given, "tasks": 7}, study.config.parent)["tasks"] == 1
    assert canonical_json(given) == before


def test_treatments_that_are_equal_with_one_task_share_a_trial(study):
    noted = study.working / "noted.txt"
    stage = f'handler: "mine:note", parameters: {{path: "{noted}"}}'
    study.write({"few": stage, "many": stage})
    request = study.request()
    few, many = (treatment["specification"] for treatment in request.plan["treatments"].values())
    many["tasks"] = 5

    trials = run_trials(request)

    assert [trial.key for trial in trials] == ["few/only", "many/only"]
    assert [trial.observed.status for trial in trials] == ["ok", "ok"]
    assert len(noted.read_text().splitlines()) == 1
    assert identify({**few, "in_flight": 2}) != identify(few)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_trial_leaves_neither_files_nor_processes(study, number):
    noted = study.working / "noted.txt"
    study.write({"slow": f'handler: "mine:note_and_wait", parameters: {{path: "{noted}"}}'})

    with study.start() as process:
        while not (noted.exists() and noted.read_text().endswith("\n")):
            time.sleep(0.01)
        assert list(study.temporary.iterdir())
        process.send_signal(number)
        _, errors = process.communicate()

    assert process.returncode == 1
    assert errors == "stagebench: interrupted; nothing was written\n"
    assert list(study.temporary.iterdir()) == []
    assert not Path(f"/proc/{noted.read_text().strip()}").exists()


def test_a_terminal_shows_which_treatment_is_tried(study):
    study.write({"one": WORKS})
    controlling, terminal = pty.openpty()
    with study.start(stderr=terminal) as process:
        os.close(terminal)
        process.communicate()

    shown = os.read(controlling, 65536).decode()
    os.close(controlling)
    assert "trial 1 of 1: one/only" in shown
    assert "\n" not in shown
