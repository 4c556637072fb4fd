"""A small study runs with every interpreter of this machine, and its report says which they are."""

import json
import os
import subprocess
import sys

import pytest
from tests.commands import analyse_study, read_report, render_report
from tests.found_interpreters import (
    KINDS,
    MORE,
    build_old_extension,
    find_interpreters,
    make_environment,
)
from tests.study import ROOT

from stagebench.design.config import check_config, load_config, load_study
from stagebench.design.plan import make_plan
from stagebench.interpreters import SEARCH_PATH, find_interpreter
from stagebench.store import canonical_json, read_run, write_json
from stagebench.trial.one_task import TrialRequest, run_trials

CONFIG = """
study: interpreters
seed: 1
replicates: 1
time_limit_s: 60
quiet_wait_s: 0
warm_memory: false
workflows:
  - name: pipeline
    stages:
      - {name: wait, handler: wait_async, executor: asyncio, workers: 2, parameters: {delay_s: 0.0}}
      - name: work
        handler: steps:HANDLER
        after: [wait]
        executor: "{executor}"
        start_method: "{start_method}"
        workers: 2
experiments:
  - name: pools
    workflow: pipeline
    tasks: 4
    python: "{python}"
    factors:
      python: [PYTHONS]
      executor: [thread, process]
      start_method: {levels: [fork, forkserver, spawn], when: {executor: process}}
    baseline: {python: FIRST, executor: thread}
"""

STEPS = """
import sys

def work(size: int = 1000) -> str:
    return sys.version.split()[0] + str(sum(range(size)))[:0]

def late() -> bool:
    import old_extension
    return True
"""


class SmallStudy:
    """A study in a folder, whose runs are made one by one, as its rules do."""

    def __init__(self, folder, *pythons, handler="work", diagnose=True):
        self.folder = folder
        (folder / "steps.py").write_text(STEPS)
        names = [json.dumps(str(one)) for one in pythons]
        text = CONFIG.replace("PYTHONS", ", ".join(names)).replace("FIRST", names[0])
        text = text.replace("HANDLER", handler) + f"diagnose: {json.dumps(diagnose)}\n"
        (folder / "study.yaml").write_text(text)
        self.plan = make_plan(load_study(folder / "study.yaml"))
        write_json(folder / "plan.json", self.plan)

    def measure(self, specification, name):
        out = self.folder / name
        command = [sys.executable, "-P", "-m", "stagebench", "measure", "--study", "interpreters"]
        command += ["--specification", canonical_json(specification), "--replicate", "1"]
        command += ["--seed", "1", "--block", "1", "--position", "0", "--rank", "0"]
        command += ["--time-limit", "60", "--quiet-wait", "0", "--campaign", "one"]
        command += ["--beside", str(self.folder), "--out", str(out)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return read_run(out)

    def measure_all(self):
        runs = {
            key: self.measure(one["specification"], f"raw/{key}/r1")
            for key, one in self.plan["treatments"].items()
        }
        for one in self.plan["diagnoses"]:
            run = self.measure(one["specification"], f"diagnosis/{one['name']}")
            assert (run["status"], run["detail"]) == ("ok", "")
        return runs

    def report(self):
        tables = self.folder / "tables"
        analyse_study(self.folder / "plan.json", self.folder / "raw", None, tables)
        out = self.folder / "out"
        render_report(tables, self.folder / "plan.json", self.folder / "figures", out)
        return read_report(out)


def need(kind):
    found = find_interpreters().get(kind)
    if found is None:
        pytest.skip(f"no Python {kind} on the PATH, under pyenv or in ${MORE}")
    return found


def program_of(interpreter, folder):
    """Return a path of an interpreter that has no other package, whatever is installed for it."""
    return make_environment(folder / "bare", interpreter.executable)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_study_runs_with_every_interpreter(kind, tmp_path, record_property):
    found = need(kind)
    record_property("interpreter", f"{found.implementation} {found.build}")
    study = SmallStudy(tmp_path, program_of(found, tmp_path))

    runs = study.measure_all()

    assert len(runs) == 4
    for run in runs.values():
        assert (run["status"], run["detail"]) == ("ok", "")
        assert run["interpreter"]["version"] == found.version
        assert run["interpreter"]["build"] == found.build
        assert run["interpreter"]["gil"] is not found.free_threaded
        assert run["interpreter"]["packages"] == {}
    [page] = [text for name, text in study.report().items() if name.endswith("pools.md")]
    assert f"{found.implementation} {found.version}" in page


def test_workers_run_with_the_interpreter_of_main(tmp_path):
    study = SmallStudy(tmp_path, program_of(find_interpreter(sys.executable, None), tmp_path))

    for key, one in study.plan["treatments"].items():
        study.measure(one["specification"], f"raw/{key}/r1")
        lines = (tmp_path / "raw" / key / "r1" / "loaded.csv").read_text().splitlines()[1:]
        roles = [line.partition(",")[0] for line in lines]
        assert roles == (["main"] if "process" not in key else ["worker", "worker", "main"])


def test_a_trial_runs_with_the_interpreter_of_a_treatment(tmp_path):
    study = SmallStudy(tmp_path, program_of(find_interpreter(sys.executable, None), tmp_path))
    request = TrialRequest(study.plan, tmp_path, {}, 0, lambda _: 0)

    trials = run_trials(request)

    assert [trial.observed.status for trial in trials] == ["ok"] * 4


def test_interpreters_of_one_study_are_a_factor_and_no_mixture(tmp_path):
    found = list(find_interpreters().values())[:2]
    if len(found) < 2:
        pytest.skip("one interpreter alone")
    study = SmallStudy(tmp_path, *(one.executable for one in found), diagnose=False)

    study.measure_all()
    pages = study.report()

    warnings = [line for line in pages["report.md"].splitlines() if "changed between" in line]
    assert not any("Python" in line or "GIL" in line for line in warnings)
    assert "2 interpreters" in pages["report.md"].splitlines()[0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("t")])
def test_an_import_that_switches_the_gil_on_is_in_the_first_lines(kind, tmp_path):
    found = need(kind)
    if not build_old_extension(found, tmp_path):
        pytest.skip("no compiler, or no headers of this interpreter")
    study = SmallStudy(tmp_path, program_of(found, tmp_path), handler="late")

    runs = study.measure_all()

    for run in runs.values():
        assert run["interpreter"]["gil"]
        assert run["interpreter"]["gil_switched_on_by"] == "old_extension"
    assert "switched on by the import of old_extension" in study.report()["report.md"][:1000]


def test_the_shipped_study_of_interpreters_is_valid_with_those_that_are_found():
    config = load_config(ROOT / "config" / "interpreters.yaml")
    [experiment] = config.data["experiments"]
    programs = [one.executable for one in find_interpreters().values()]
    experiment["factors"]["python"] = {
        "levels": programs,
        "tags": {program: f"python-{number}" for number, program in enumerate(programs)},
    }
    experiment["baseline"]["python"] = programs[0]

    study = check_config(config, ROOT / "config")

    assert len(study.treatments) == 4 * len(programs)


def test_names_are_looked_up_on_the_path_of_the_call(tmp_path, monkeypatch):
    program = program_of(find_interpreter(sys.executable, None), tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python9").symlink_to(program)
    monkeypatch.setenv(SEARCH_PATH, os.pathsep.join([str(tmp_path / "bin"), os.defpath]))
    monkeypatch.setenv("PATH", os.defpath)

    study = SmallStudy(tmp_path, "python9")
    [key, *_] = study.plan["treatments"]
    run = study.measure(study.plan["treatments"][key]["specification"], f"raw/{key}/r1")

    assert run["interpreter"]["name"] == "python9"
