"""The measured process with an engine, without its supervisor: what reaches the workers."""

import json
import subprocess
import sys

import pytest

from stagebench import store
from stagebench.engines.support import ENGINES, find_missing
from stagebench.records import DiagnosisRecord, EventRecord, TaskRecord

OWN_HANDLER = """
import sys, colorsys
def report(word):
    assert "fractions" in sys.modules, "not preloaded"
    return word, sys.getswitchinterval()
"""
PROGRAMS = ("main", "diagnose")


@pytest.mark.parametrize("engine", [one for one in ENGINES if not find_missing(one)])
@pytest.mark.parametrize("program", PROGRAMS)
def test_own_handlers_preloads_and_diagnoses_work_in_the_workers_of_every_engine(
    specify, tmp_path, engine, program
):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "mine.py").write_text(OWN_HANDLER)
    (folder := tmp_path / "run").mkdir()
    stage = {"executor": "process", "start_method": "spawn", "workers": 2}
    stage |= {"handler": "mine:report", "parameters": {"word": "yes"}}
    process = {"preload": ["fractions"]}
    specification = specify(stage=stage, process=process, engine=engine, tasks=4)
    specification |= {"diagnose": {"spinner": False}} if program == "diagnose" else {}
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"stagebench.measure.{program}", folder, tmp_path / "beside"],
        input=json.dumps(specification),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    assert [task.error for task in tasks] == [None] * 4
    events = [one.event for one in store.read_records(folder / store.EVENTS_FILE, EventRecord)]
    expected = ["ready", "workflow_started", "workflow_finished", "pools_closing", "pools_closed"]
    assert [one for one in events if one != "imported"] == [*expected, "finished"]
    if program == "diagnose":
        notes = store.read_records(folder / store.DIAGNOSIS_FILE, DiagnosisRecord)
        assert sorted(note.pid for note in notes) == sorted(task.pid for task in tasks)
