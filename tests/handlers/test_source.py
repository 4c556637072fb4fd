import shutil
import sys

import pytest

from stagebench.errors import WorkflowError
from stagebench.handlers.registry import HANDLERS
from stagebench.handlers.source import check_sources, find_module, source_hash

FILES = {
    "mine.py": "import json\nfrom mine_parts import words\ndef f(): return words\n",
    "mine_parts/__init__.py": "from . import words\nfrom .deep.numbers import one\n",
    "mine_parts/words.py": "import mine_other\n",
    "mine_parts/deep/__init__.py": "",
    "mine_parts/deep/numbers.py": "from .. import words\none = 1\n",
    "mine_other.py": "def late():\n    from mine_late import x\n    return x\n",
    "mine_late.py": "x = 1\n",
    "mine_unused.py": "y = 1\n",
}


@pytest.fixture
def beside(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "config"


def test_every_shipped_handler_has_a_hash_of_its_own():
    hashes = {source_hash(name) for name in HANDLERS}
    assert len(hashes) == len(HANDLERS)
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in hashes)


@pytest.mark.parametrize("name", [name for name in FILES if name != "mine_unused.py"])
def test_an_edit_of_a_users_handler_or_of_its_helpers_changes_its_hash(beside, name):
    before = source_hash("mine:f", beside)
    with (beside / name).open("a") as file:
        file.write("# edited\n")
    assert source_hash("mine:f", beside) != before


def test_an_edit_of_a_module_that_is_not_imported_changes_nothing(beside):
    before = source_hash("mine:f", beside)
    (beside / "mine_unused.py").write_text("y = 2\n")
    assert source_hash("mine:f", beside) == before


def test_imports_for_type_checkers_change_nothing(beside):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mine_unused\n"
    (beside / "mine_late.py").write_text(f"{typed}else:\n    import mine_instead\nx = 1\n")
    (beside / "mine_instead.py").write_text("z = 1\n")
    before = source_hash("mine:f", beside)
    (beside / "mine_unused.py").write_text("y = 2\n")
    assert source_hash("mine:f", beside) == before
    (beside / "mine_instead.py").write_text("z = 2\n")
    assert source_hash("mine:f", beside) != before


def test_the_hash_is_the_same_wherever_the_folder_lies(beside, tmp_path):
    before = source_hash("mine:f", beside)
    shutil.move(beside, tmp_path / "moved")
    assert source_hash("mine:f", tmp_path / "moved") == before


def test_modules_that_import_one_another_have_a_hash(beside):
    (beside / "mine_late.py").write_text("import mine\nx = 1\n")
    assert len(source_hash("mine:f", beside)) == 12


def test_a_module_of_a_package_is_found_without_importing_the_package(beside):
    (beside / "mine_parts" / "__init__.py").write_text("raise SystemExit\n")
    assert find_module("mine_parts.words", beside) == beside / "mine_parts" / "words.py"
    assert find_module("xml.dom.minidom", beside).name == "minidom.py"
    assert "mine_parts" not in sys.modules


def test_a_module_of_the_environment_has_the_hash_of_its_file_alone(tmp_path, monkeypatch):
    (tmp_path / "mine_installed.py").write_text("import json\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert source_hash("mine_installed:f") == source_hash("mine_installed:g", tmp_path / "config")


@pytest.mark.parametrize("name", ["json", "time", "yaml", "xml"])
def test_a_name_found_beside_the_config_and_in_the_environment_is_refused(beside, name):
    (beside / f"{name}.py").write_text("def f(): pass\n")
    with pytest.raises(WorkflowError, match=f"module {name} is found twice, beside the config and"):
        source_hash(f"{name}:f", beside)


def test_a_helper_found_twice_is_refused_too(beside):
    (beside / "json.py").write_text("")
    with pytest.raises(WorkflowError, match="module json is found twice"):
        source_hash("mine:f", beside)


def test_a_module_is_not_found_twice_if_its_folder_is_on_the_path(beside, monkeypatch):
    monkeypatch.syspath_prepend(beside)
    assert find_module("mine", beside) == beside / "mine.py"


def test_a_data_folder_with_the_name_of_a_module_is_not_a_module(beside):
    (beside / "json").mkdir()
    assert "config" not in find_module("json", beside).parts


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("mine_none:f", "no module mine_none in the environment or beside the config"),
        ("mine_parts.none:f", "no module mine_parts.none beside the config, where mine_parts is"),
        ("json.none:f", "no module json.none in the environment"),
        ("time:sleep", "module time has no source file to hash"),
    ],
)
def test_the_error_for_a_missing_module_names_it(beside, target, text):
    with pytest.raises(WorkflowError, match=text):
        source_hash(target, beside)


def test_the_error_for_an_invalid_helper_names_its_line(beside):
    (beside / "mine_late.py").write_text("x = 1\nx = (\n")
    with pytest.raises(WorkflowError, match=r"mine_late\.py, line 2: '\(' was never closed"):
        source_hash("mine:f", beside)


def test_a_source_edited_after_the_study_was_started_is_refused(beside):
    stage = {"name": "s", "handler": "mine:f", "source": source_hash("mine:f", beside)}
    check_sources([stage], beside)
    (beside / "mine_late.py").write_text("x = 2\n")
    with pytest.raises(
        WorkflowError, match=r"stage 's': the source of handler 'mine:f' was edited"
    ):
        check_sources([stage], beside)
