"""What the hash of a command's code covers, in a package made for the tests and in our own."""

import shutil
import sys
from pathlib import Path

import pytest

import stagebench
from stagebench.design import code_hash
from stagebench.design.code_hash import CodeFolder, installed_code, read_code
from stagebench.errors import WorkflowError

FILES = {
    "__init__.py": (
        "import importlib\n\n\n"
        "def __getattr__(name):\n    return importlib.import_module('pack.lazy').x\n"
    ),
    "cli.py": (
        "import json\nfrom typing import TYPE_CHECKING\nimport pack.shared\n"
        "if TYPE_CHECKING:\n    from pack.typed import T\n\n"
        "LIMIT = 3\n\n\n"
        "def _one(options: T):\n    from pack.steps.one import one\n\n    return _help(one)\n\n\n"
        "def _help(step):\n    return step(LIMIT, pack.shared)\n\n\n"
        "def _two(options: T):\n    from pack.steps import two\n\n    return two\n"
    ),
    "shared.py": "x = 1\n",
    "typed.py": "class T: pass\n",
    "lazy.py": "x = 1\n",
    "steps/__init__.py": "",
    "steps/one.py": (
        '"""Prose, which names unused.css."""\n'
        "from . import deep\n\n"
        "def one(limit, shared):\n"
        '    """Prose."""\n'
        '    return open("page.j2"), deep, limit  # a comment\n'
    ),
    "steps/two.py": "import pack.steps.one\ny = 1\n",
    "steps/deep.py": "def late():\n    import pack.late\n",
    "steps/page.j2": '{% include "part.j2" %}',
    "steps/part.j2": "part",
    "steps/unused.css": "",
    "late.py": "v = 1\n",
    "other.py": "z = 1\n",
}
ONE, TWO = "pack.cli:_one", "pack.cli:_two"


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "src" / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "src"


def hash_of(folder, *targets):
    return CodeFolder(folder, "pack").hash(*targets)


def edit(folder, name, old, new):
    path = folder / "pack" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def append(folder, name, text="\nadded = 1\n"):
    with (folder / "pack" / name).open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    "name",
    [
        *("__init__.py", "shared.py", "steps/__init__.py", "steps/one.py", "steps/deep.py"),
        *("late.py", "steps/page.j2", "steps/part.j2"),
    ],
)
def test_an_edit_of_what_a_function_reaches_changes_its_hash(folder, name):
    before = hash_of(folder, ONE)
    append(folder, name)
    assert hash_of(folder, ONE) != before


@pytest.mark.parametrize(
    "name",
    [*("cli.py", "typed.py", "lazy.py", "other.py"), *("steps/two.py", "steps/unused.css")],
)
def test_an_edit_of_what_it_does_not_reach_changes_nothing(folder, name):
    before = hash_of(folder, ONE)
    append(folder, name)
    assert hash_of(folder, ONE) == before


def test_of_the_module_of_a_function_only_what_it_uses_counts(folder):
    one, two = hash_of(folder, ONE), hash_of(folder, TWO)
    edit(folder, "cli.py", "return step(", "return 2 * step(")
    assert hash_of(folder, ONE) != one
    assert hash_of(folder, TWO) == two
    helped = hash_of(folder, ONE)
    edit(folder, "cli.py", "LIMIT = 3", "LIMIT = 4")
    assert hash_of(folder, ONE) != helped
    edit(folder, "cli.py", "return two", "return two.y")
    assert hash_of(folder, TWO) != two


def test_docstrings_comments_and_layout_change_nothing(folder):
    before = hash_of(folder, ONE)
    edit(folder, "steps/one.py", '    """Prose."""\n', '    """Other prose."""\n\n')
    edit(folder, "steps/one.py", "# a comment", "# another")
    edit(folder, "steps/one.py", "Prose, which", "The style, which")
    edit(folder, "shared.py", "x = 1", 'x = (1)\n"""What x is."""')
    assert hash_of(folder, ONE) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("x = 1", "x = 2"), ("x = 1", "x = '1'"), ("x = 1", "x = None"), ("x = 1", "x = -1")],
)
def test_any_other_value_changes_the_hash(folder, old, new):
    before = hash_of(folder, ONE)
    edit(folder, "shared.py", old, new)
    assert hash_of(folder, ONE) != before


def test_the_hash_is_the_same_wherever_the_folder_lies(folder, tmp_path):
    before = hash_of(folder, ONE)
    shutil.move(folder, tmp_path / "moved")
    assert hash_of(tmp_path / "moved", ONE) == before


def test_a_module_that_moves_within_the_package_is_another(folder):
    before = hash_of(folder, "pack.other")
    (folder / "pack" / "other.py").rename(folder / "pack" / "another.py")
    assert hash_of(folder, "pack.another") != before


def test_modules_that_import_one_another_have_a_hash(folder):
    append(folder, "late.py", "import pack.cli\n")
    codes = CodeFolder(folder, "pack").reach(ONE)
    assert {ONE, "pack.cli", "pack.late", "pack.steps.two"} <= set(codes)


@pytest.mark.parametrize("target", ["pack.cli:_three", "pack.absent", "json"])
def test_a_target_that_is_not_there_is_an_error(folder, target):
    with pytest.raises(WorkflowError, match=target.rpartition(":")[2]):
        hash_of(folder, target)


def test_every_data_file_of_ours_is_found_by_some_command():
    source = Path(stagebench.__file__).parent
    code = installed_code()
    commands = ("design", "analyse", "judge", "figures", "report", "compare")
    found = {
        file
        for command in commands
        for file in code.find_data(code.reach(f"stagebench.cli:_{command}"))
    }
    files = {file for file in source.rglob("*.*") if "__pycache__" not in file.parts}
    data = {file for file in files if file.suffix not in (".py", ".typed")}
    assert data
    assert found == data


@pytest.fixture
def remembered(folder, monkeypatch):
    """Return a function that hashes with what earlier calls have remembered, and their file."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    memory = folder / "cache" / "memory.json"
    return lambda: CodeFolder(folder, "pack", memory).hash(ONE), memory


def test_what_is_remembered_of_code_changes_no_hash(folder, remembered):
    hash_again, memory = remembered
    assert hash_again() == hash_of(folder, ONE)
    kept = memory.read_bytes()
    assert hash_again() == hash_of(folder, ONE)
    assert memory.read_bytes() == kept
    for name in ("shared.py", "steps/page.j2", "other.py"):
        append(folder, name)
        assert hash_again() == hash_of(folder, ONE)


def test_files_are_not_read_again_unless_they_have_changed(folder, remembered, monkeypatch):
    hash_again, _ = remembered
    hash_again()
    read = []
    monkeypatch.setattr(
        code_hash, "read_code", lambda *given: read.append(given[0]) or read_code(*given)
    )
    hash_again()
    assert read == []
    append(folder, "shared.py")
    hash_again()
    assert read == ["pack.shared"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"reader": "another", "codes": {"pack": 1}}'])
def test_a_damaged_memory_or_that_of_another_reader_is_not_used(remembered, text):
    hash_again, memory = remembered
    before = hash_again()
    memory.write_text(text)
    assert hash_again() == before


def test_where_python_writes_no_bytecode_nothing_is_remembered(folder, remembered, monkeypatch):
    hash_again, memory = remembered
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert hash_again() == hash_of(folder, ONE)
    assert not memory.exists()
