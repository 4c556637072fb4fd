"""Commands that real use brings, and that no well-behaved test does."""

import os
import subprocess
import sys

import pytest
from tests.trace.tracing import TRACE

SHOW = (sys.executable, "-m", "stagebench", "show", "out")
EVERY_BYTE = bytes(range(1, 256)).replace(b"/", b"")


def test_a_command_line_of_any_length_is_read_back(trace, tmp_path):
    done = trace("sh", "-c", "/bin/true $(seq 1 40000); exit 3", options=("--out", "out"))
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert subprocess.run(SHOW, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("name", [EVERY_BYTE[:120], EVERY_BYTE[120:], "一".encode() * 80])
def test_a_name_may_have_every_byte_and_any_length(tmp_path, name):
    os.symlink("/bin/sh", program := os.fsencode(tmp_path) + b"/" + name)
    command = [*TRACE, "--no-figure", "--", program, b"-c", b"exit 3", EVERY_BYTE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (3, False)
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir()]
    narrow = os.environ | {"PYTHONIOENCODING": "latin-1"}
    shown = subprocess.run([*SHOW[:-1], folder], env=narrow, check=False, capture_output=True)
    assert (shown.returncode, shown.stderr) == (0, b"")
