"""The examples of the library guide work, with the module that it shows."""

import doctest
import re
import sys
from pathlib import Path

import pytest

import stagebench

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/library.md"


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Put the guide's module `steps` where this process and its workers can import it."""
    (text,) = re.findall(r"```python\n(# steps\.py\n.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "steps.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("steps", None)


@pytest.mark.usefixtures("steps")
def test_the_examples_of_the_guide_work():
    failed, tried = doctest.testfile(str(GUIDE), module_relative=False)
    assert tried > 50
    assert failed == 0


def test_the_example_of_the_readme_makes_a_record_for_each_task_and_stage():
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    namespace = {"__name__": "__main__"}
    exec(lines, namespace)  # noqa: S102 - the example is our own
    assert [record.status for record in namespace["sink"].tasks] == ["ok"] * 10


def test_the_guide_lists_every_public_name():
    table = GUIDE.read_text().partition("## Public names")[2].partition("## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == sorted(stagebench.__all__)
