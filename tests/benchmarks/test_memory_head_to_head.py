"""The jobs of the head-to-head, and how one of them is measured."""

import sys
from collections import Counter

import pytest
from benchmarks.memory_head_to_head import SETTINGS, draw_jobs, error_of, run_to_its_end
from benchmarks.memory_tools import TOOLS


def test_every_kind_runs_alone_and_under_every_tool_at_every_interval_in_each_repeat():
    jobs = list(draw_jobs(("steady", "churn"), repeats=3, seed=1))
    counts = Counter((job.kind, job.repeat) for job in jobs)
    assert set(counts.values()) == {1 + len(TOOLS) * len(SETTINGS)}
    assert len(counts) == 6
    assert len({(job.kind, job.repeat, job.tool, job.setting) for job in jobs}) == len(jobs)


def test_an_error_is_a_share_of_the_truth_with_its_sign():
    truth = {"tree_peak_pss_bytes": 200}
    assert error_of(150, truth) == pytest.approx(-0.25)
    assert error_of(None, truth) is None


def test_the_cpu_time_of_a_command_is_counted(tmp_path):
    spend = "import time\nwhile time.process_time() < 0.2: pass\nraise SystemExit(3)"
    exit_code, cpu_s = run_to_its_end([sys.executable, "-c", spend], tmp_path / "said.txt")
    assert exit_code == 3
    assert cpu_s >= 0.2
