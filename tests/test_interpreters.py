import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.found_interpreters import install_package, make_environment

import stagebench
from stagebench import interpreters
from stagebench.errors import WorkflowError
from stagebench.handlers.registry import HANDLERS
from stagebench.interpreters import (
    SEARCH_PATH,
    ask_there,
    ask_versions,
    find_code_folder,
    find_interpreter,
    find_versions,
    foreign_environment,
    own_interpreter,
)

OF_NUMPY = ("handlers.sum_squares_numpy", "handlers.matrix_product")


def write_program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def answer(**changes):
    found = {
        "executable": "/usr/bin/other",
        "version": "3.12.0",
        "numbers": [3, 12],
        "implementation": "CPython",
        "build": "3.12.0 (main)",
        "platform": interpreters.sysconfig.get_platform(),
        "free_threaded": False,
        "flags": "",
        "configured": "",
    }
    return f"echo '{json.dumps(found | changes)}'"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return make_environment(tmp_path_factory.mktemp("venvs") / "bare")


def test_a_path_is_one_from_the_folder_of_the_config(environment):
    found = find_interpreter("./bare/bin/python", environment.parents[2])

    assert found.executable == str(environment)
    assert found.version == own_interpreter().version
    assert found.build == own_interpreter().build


def test_a_name_is_one_on_the_path_of_the_call(tmp_path, environment, monkeypatch):
    (tmp_path / "python9").symlink_to(environment)
    monkeypatch.setenv(SEARCH_PATH, str(tmp_path))

    assert find_interpreter("python9", None).version == own_interpreter().version
    with pytest.raises(WorkflowError, match='no program "sh" on the PATH'):
        find_interpreter("sh", None)


def test_a_file_that_starts_an_interpreter_stands_for_it(tmp_path, environment):
    write_program(tmp_path / "shim", f'exec {environment} "$@"')

    assert find_interpreter("./shim", tmp_path).executable == str(environment)


def test_an_environment_is_as_the_interpreter_that_it_was_made_of(tmp_path, environment):
    found = find_interpreter(str(environment), None)

    assert found.fingerprint == find_interpreter(sys.executable, None).fingerprint
    write_program(tmp_path / "rebuilt", answer(build="3.12.0 (main, of another day)"))
    write_program(tmp_path / "built", answer())
    built, rebuilt = (find_interpreter(f"./{name}", tmp_path) for name in ("built", "rebuilt"))
    assert built.fingerprint != rebuilt.fingerprint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (answer(version="3.10.4", numbers=[3, 10]), "is Python 3.10.4; allowed: Python 3.11 or"),
        (answer(version="2.7.18", numbers=[2, 7]), "is Python 2.7.18; allowed: Python 3.11 or"),
        (answer(platform="linux-riscv64"), "is built for linux-riscv64; allowed: one that is"),
        ("echo hello", "does not say which Python it is (exit code 0: hello); allowed"),
        ("echo 1 >&2; echo last >&2; exit 3", "which Python it is (exit code 3: last); allowed"),
        ("echo none >&2; echo hint >&2; exit 127", "(exit code 127: none); allowed: the name"),
        ("exec /bin/true", "does not say which Python it is (exit code 0); allowed: the name"),
    ],
)
def test_what_is_no_interpreter_for_runs_is_refused_by_what_it_answers(tmp_path, text, problem):
    write_program(tmp_path / "other", text)

    with pytest.raises(WorkflowError) as caught:
        find_interpreter("./other", tmp_path)

    assert str(caught.value).startswith('"./other" ')
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("./text", "cannot be run (Permission denied)"),
        ("./elf", "cannot be run (Exec format error)"),
        ("./", "cannot be run (Permission denied)"),
        ("./none", "does not exist"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(tmp_path, name, problem):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "elf").write_bytes(b"\x7fELF\2\1\1" + bytes(200))
    (tmp_path / "elf").chmod(0o755)

    with pytest.raises(WorkflowError) as caught:
        find_interpreter(name, tmp_path)

    assert f'"{name}" {problem}; allowed: the name of an interpreter' in str(caught.value)


def test_an_interpreter_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(interpreters, "LONGEST_START_S", 0.3)
    write_program(tmp_path / "slow", "exec sleep 60")

    with pytest.raises(WorkflowError, match=r"does not answer; allowed: .* within 0\.3 s"):
        find_interpreter("./slow", tmp_path)


def test_another_interpreter_finds_our_code_and_none_of_our_packages(environment):
    found = find_interpreter(str(environment), None)

    assert ask_versions(found, ["numpy", "stagebench", "os"], None) == {}
    with pytest.raises(WorkflowError, match="No module named 'pandas'"):
        ask_there(found, "stagebench.tables.io:make_table", {})


SENT_THERE = (
    "design.imported",
    "handlers.source",
    "interpreters",
    "measure.diagnose",
    "measure.main",
    "replication.emulate",
    *(target.removeprefix("stagebench.").partition(":")[0] for target in HANDLERS.values()),
)


@pytest.mark.parametrize("module", [one for one in SENT_THERE if one not in OF_NUMPY])
def test_what_runs_there_needs_the_standard_library_alone(environment, module):
    program = (
        f"import stagebench.{module}, sys; names = {{n.partition('.')[0] for n in sys.modules}}"
    )
    program += "; print(*(n for n in names - sys.stdlib_module_names if n[0] != '_'))"
    command = [environment, "-P", "-c", program]
    variables = foreign_environment(os.environ)

    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    assert (ended.stdout.split(), ended.stderr) == (["stagebench"], "")


def test_variables_of_our_own_interpreter_are_not_passed_on():
    given = {"HOME": "/h", "PYTHONHOME": "/p", "PYTHONPATH": "/x", "PYTHONMALLOC": "debug"}

    assert foreign_environment(given) == {"HOME": "/h", "PYTHONPATH": find_code_folder()}


def test_the_folder_of_our_code_has_no_other_package():
    packages = {path.name for path in Path(find_code_folder()).iterdir()}

    assert "stagebench" in packages
    assert not packages & {"numpy", "pandas", "snakemake", "psutil"}


def test_among_installed_packages_our_code_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "other").mkdir()
    (site / "stagebench").mkdir()
    monkeypatch.setattr(interpreters, "__file__", str(site / "stagebench" / "interpreters.py"))
    folder = Path(find_code_folder.__wrapped__())

    assert [path.name for path in folder.iterdir()] == ["stagebench"]
    assert (folder / "stagebench").resolve() == site / "stagebench"


def test_versions_are_those_of_installed_packages_alone(tmp_path):
    (tmp_path / "numpy.py").write_text("")
    names = ["numpy", "os", "stagebench", "ruamel", "_private", "nowhere"]

    found = find_versions(names)

    assert found.keys() == {"numpy", "ruamel.yaml"}
    assert find_versions(["numpy"], tmp_path) == {}, "the one beside the config is no package"


def test_versions_are_those_of_the_interpreter_that_is_asked(tmp_path):
    python = make_environment(tmp_path / "venv")
    install_package(python, "thing", "1.5")

    assert ask_versions(find_interpreter(str(python), None), ["thing"], None) == {"thing": "1.5"}


def test_the_path_of_an_interpreter_is_in_no_record(environment):
    found = find_interpreter("./bare/bin/python", environment.parents[2])

    assert str(environment.parents[2]) not in json.dumps(found.describe())
    assert os.path.dirname(stagebench.__file__) not in json.dumps(found.describe())
