"""What a node checks by itself, and what it says of itself."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from stagebench.cluster.node import (
    CLOCK_LIMIT_S,
    NOTE,
    answer_path,
    check_here,
    leave_note,
    read_state,
)
from stagebench.errors import MeasureError

CAMPAIGN = "2026-11-23T07:00:00+00:00"


def test_a_node_that_reads_the_note_passes(tmp_path):
    leave_note(tmp_path, CAMPAIGN)
    check_here(tmp_path, CAMPAIGN)
    assert read_state(tmp_path).campaign == CAMPAIGN


@pytest.mark.parametrize("text", [None, "", "[]", '{"campaign": "another"}'])
def test_a_node_without_the_note_of_this_call_does_not_share_the_folder(tmp_path, text):
    if text is not None:
        (tmp_path / NOTE).write_text(text)
    with pytest.raises(MeasureError, match=rf"does not see {tmp_path}.*all nodes share"):
        check_here(tmp_path, CAMPAIGN)


def test_a_clock_behind_the_note_is_wrong_by_at_least_the_difference(tmp_path):
    note = {"campaign": CAMPAIGN, "host": "login", "at_s": time.time() + CLOCK_LIMIT_S + 60}
    (tmp_path / NOTE).write_text(json.dumps(note))
    with pytest.raises(MeasureError, match=r"at least 6\d\.\d s behind that of login"):
        check_here(tmp_path, CAMPAIGN)


@pytest.mark.parametrize("name", ["node7", None])
def test_a_node_has_the_name_that_slurm_gave_it_else_that_of_its_host(tmp_path, name):
    leave_note(tmp_path, CAMPAIGN)
    environment = {key: value for key, value in os.environ.items() if key != "SLURMD_NODENAME"}
    environment |= {} if name is None else {"SLURMD_NODENAME": name}
    command = [sys.executable, "-P", "-m", "stagebench.cluster.node", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    state = json.loads(done.stdout)
    assert state["node"] == (name or platform.node())
    assert json.loads(answer_path(tmp_path, state["node"]).read_text()) == state
