"""The examples of the library guide work, with the module that it shows."""

import doctest
import re
import sys
from pathlib import Path

import pytest
from tests.commands import run_command

import stagebench

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/library.md"
README = ROOT / "README.md"


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


@pytest.fixture
def readme_steps(tmp_path, monkeypatch):
    """The README's module steps, in a folder where a study can lie beside it; return the folder."""
    (text,) = re.findall(r"```python\n(# mine/steps\.py\n.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "steps.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("steps", None)


@pytest.mark.usefixtures("readme_steps")
def test_the_lines_of_the_readme_run_and_give_a_record_for_each_item_and_function():
    (lines,) = re.findall(r"```python\n(# mine/pages\.py\n.*?)```", README.read_text(), re.DOTALL)
    namespace = {"__name__": "__main__"}
    exec(lines, namespace)  # noqa: S102 - the example is our own
    assert [record.status for record in namespace["pipe"].records] == ["ok"] * 40


def test_the_study_of_the_readme_measures_every_combination_of_its_levels(
    readme_steps, monkeypatch, capsys
):
    (text,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    config = readme_steps / "study.yaml"
    config.write_text(text)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(readme_steps)])
    run_command("plan", config)
    assert "treatments: t1, p1-fork, p1-spawn, t2, p2-fork, p2-spawn" in capsys.readouterr().out


def test_the_guide_says_of_each_public_name_why_it_is_public():
    table = GUIDE.read_text().partition("## Public names")[2].partition("## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == sorted(stagebench.__all__)
