"""What is read from the folder of a run with one task."""

import pytest

from stagebench import store
from stagebench.records import TaskRecord
from stagebench.trial.observed import read_observed
from stagebench.units import MIB, to_seconds

SIZE_MIB = 64
DRIFT_MIB = 1
"""The kernel's counters of RSS may lag behind by less than this."""


@pytest.mark.parametrize(
    "pool",
    [{"executor": "thread"}, {"executor": "process", "start_method": "fork"}],
    ids=["thread", "process"],
)
def test_an_ok_run_shows_its_times_its_peak_and_how_much_its_worker_grew(
    specify, measure, tmp_path, pool
):
    parameters = {"size_mib": SIZE_MIB, "delay_s": 0.2}
    linger = {"before_start_s": 0.1, "before_close_s": 0.0, "after_close_s": 0.0}
    stage = {**pool, "workers": 2, "parameters": parameters}
    folder = measure(specify(stage=stage, tasks=1, linger=linger))

    found = read_observed(folder, tmp_path)

    (task,) = store.read_records(folder / "tasks.csv", TaskRecord)
    run = store.read_run(folder)
    assert (found.status, found.detail, found.output) == ("ok", "", ())
    assert found.times.makespan_s == to_seconds(task.received_ns - task.submitted_ns)
    whole_s = to_seconds(run["supervisor_ended_ns"] - run["supervisor_started_ns"])
    around_s = found.times.around_s
    assert around_s + found.times.makespan_s + run["lock_wait_s"] == pytest.approx(whole_s)
    use = found.times.stages["work"]
    assert use.service_s == to_seconds(task.finished_ns - task.started_ns)
    assert use.cpu_s == to_seconds(task.cpu_ns)
    assert (SIZE_MIB - DRIFT_MIB) * MIB <= use.growth_bytes <= found.peak.upper_bytes
    assert found.peak.upper_bytes >= SIZE_MIB * MIB


def test_of_a_task_that_failed_the_error_and_its_stage_are_shown(specify, measure, tmp_path):
    stage = {"handler": "payload", "parameters": {"size_mib": -1, "delay_s": 0.0}}
    folder = measure(specify(stage=stage, tasks=1))

    found = read_observed(folder, tmp_path)

    assert found.status == "tasks_failed"
    assert found.detail.startswith("stage 'work': ")
    assert "Error: " in found.detail
    assert found.times is None


def test_a_crash_is_shown_with_the_last_lines_of_its_output(specify, measure, tmp_path):
    program = "print('one\\n\\ntwo\\nthree\\nfour')\nraise SystemExit(3)\n"
    folder = measure(specify(program=program, tasks=1))

    found = read_observed(folder, tmp_path)

    assert found.status == "crashed"
    assert found.start_up_s is None
    assert len(found.output) == 3
    assert found.detail.startswith("exit code 3")
