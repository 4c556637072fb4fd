"""What is said of a block whose job on a cluster ended early; see also tests/cluster."""

import pytest

from stagebench.conduct.watch import LAST_LINES, _name_group, _read_error

LOG = """\
Building DAG of jobs...
Error in rule measure, jobid: 3:
    output: results/waits/raw/waiting/w1/r2
WorkflowError in file "common.smk", line 90:
node2 does not see /scratch/waits as it is where the study was started
srun: error: node2: task 0: Exited with exit code 1
"""


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("r12", "block 12"),
        ("w1", "warm-up 1"),
        ("diagnoses", "runs that diagnose"),
        ("rest", "rest"),
    ],
)
def test_a_group_has_the_name_of_what_it_measures(group, words):
    assert _name_group(group) == words


def test_of_a_long_log_the_last_error_is_shown(tmp_path):
    path = tmp_path / "15.log"
    path.write_text(1000 * "reason: Forced execution\n" + LOG + 100 * "more\n")
    lines = _read_error(path)
    assert lines[:3] == LOG.splitlines()[3:]
    assert len(lines) == LAST_LINES


@pytest.mark.parametrize("text", [None, "", "Building DAG of jobs...\n"])
def test_a_log_without_an_error_is_not_shown(tmp_path, text):
    path = tmp_path / "15.log"
    if text is not None:
        path.write_text(text)
    assert _read_error(path) == []
