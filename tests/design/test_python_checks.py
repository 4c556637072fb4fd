import json
import sys

import pytest
from tests.found_interpreters import install_package, make_environment

from stagebench.design.config import load_study
from stagebench.design.handlers import close_modules
from stagebench.design.plan import format_plan, make_plan
from stagebench.design.python_checks import check_interpreter, look_up_interpreter
from stagebench.errors import ConfigError, WorkflowError
from stagebench.store import canonical_json

CONFIG = """
study: small
seed: 1
replicates: 2
time_limit_s: 10
workflows:
  - name: pipeline
    stages:
      - {name: work, handler: "steps:work", executor: thread, workers: 1}
experiments:
  - name: versions
    workflow: pipeline
    tasks: 2
    python: "{python}"
    factors: {python: [PYTHONS]}
    baseline: {python: FIRST}
"""

STEPS = "import thing\n\n\ndef work(size: int = 3):\n    return size\n"


@pytest.fixture(autouse=True)
def asked_anew():
    yield
    close_modules()
    look_up_interpreter.cache_clear()


@pytest.fixture
def folder(tmp_path):
    """Return a config's folder with an environment that has what its handler needs."""
    (tmp_path / "steps.py").write_text(STEPS)
    install_package(make_environment(tmp_path / "one"), "thing", "1.0", "import unrelated")
    install_package(tmp_path / "one/bin/python", "unrelated", "7.0")
    return tmp_path


def load(folder, *pythons, config=CONFIG):
    text = config.replace("PYTHONS", ", ".join(pythons)).replace("FIRST", pythons[0])
    (folder / "study.yaml").write_text(text)
    close_modules()
    return load_study(folder / "study.yaml")


def specification(folder, python="./one/bin/python"):
    return load(folder, python).treatments[0].specification


def test_a_handler_needs_its_packages_only_where_it_runs(folder):
    given = specification(folder)

    assert given["python"]["packages"] == {"thing": "1.0", "unrelated": "7.0"}
    assert given["stages"][0]["parameters"] == {"size": 3}


def test_every_problem_has_the_place_the_value_and_what_is_allowed(folder):
    make_environment(folder / "bare")

    with pytest.raises(ConfigError) as caught:
        load(folder, "python3.99", "./bare/bin/python", "./nowhere", "./one/bin/python")

    handler, missing, path = caught.value.problems
    assert "study.yaml:9: workflows[pipeline].stages[work].handler: handler 'steps:work'" in handler
    assert 'with "./bare/bin/python": importing steps raises ModuleNotFoundError' in handler
    assert "study.yaml:14: experiments[versions].python: there is no program" in missing
    assert '"python3.99" on the PATH; allowed: the name of an interpreter' in missing
    assert '"./nowhere" does not exist; allowed:' in path
    assert path.endswith("(in python-nowhere)")


def test_without_a_known_interpreter_nothing_is_said_of_handlers(folder):
    with pytest.raises(ConfigError) as caught:
        load(folder, "./nowhere")

    assert len(caught.value.problems) == 1


def test_a_specification_holds_no_place_and_is_the_same_elsewhere(folder, tmp_path_factory):
    first = canonical_json(specification(folder))
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "steps.py").write_text(STEPS)
    install_package(make_environment(other / "one"), "thing", "1.0", "import unrelated")
    install_package(other / "one/bin/python", "unrelated", "7.0")

    assert canonical_json(specification(other)) == first
    assert str(folder) not in first
    assert sys.prefix not in first


def test_another_version_of_an_imported_package_is_another_treatment(folder):
    first = specification(folder)
    install_package(folder / "one/bin/python", "thing", "1.1")
    second = specification(folder)
    install_package(folder / "one/bin/python", "idle", "1.0")

    assert second["python"]["packages"] == {"thing": "1.1"}
    assert first["python"]["build"] == second["python"]["build"]
    assert specification(folder) == second, "a package that no handler imports changes nothing"


def test_a_run_is_refused_if_something_changed_since_it_was_planned(folder):
    planned = specification(folder)
    assert check_interpreter(planned, folder).name == "./one/bin/python"

    install_package(folder / "one/bin/python", "thing", "1.1", "import unrelated")
    with pytest.raises(WorkflowError, match=r"thing was 1\.0 when .*, and is 1\.1 now; start"):
        check_interpreter(planned, folder)
    (folder / "steps.py").write_text(STEPS + "# edited\n")
    with pytest.raises(WorkflowError, match="source of handler 'steps:work' was edited"):
        check_interpreter(planned, folder)
    planned["python"]["build"] = "0123456789ab"
    with pytest.raises(WorkflowError, match=r"\(build 0123456789ab\) when the study was started"):
        check_interpreter(planned, folder)


def test_a_plan_names_versions_and_packages_of_interpreters(folder):
    text = format_plan(make_plan(load(folder, "./one/bin/python")))

    version = sys.version.split()[0]
    assert f"interpreters: ./one/bin/python ({version} with thing 1.0 and 1 more)" in text


def test_null_is_the_interpreter_of_stagebench(folder):
    (folder / "steps.py").write_text("def work(size: int = 3):\n    return size\n")
    own, other = load(folder, "null", "./one/bin/python").treatments

    assert "python" not in own.specification
    assert check_interpreter(own.specification, folder) is None
    assert own.specification["stages"] == other.specification["stages"]


def test_ids_have_the_name_of_an_environment_or_of_a_program(folder):
    (folder / "steps.py").write_text("def work(size: int = 3):\n    return size\n")
    (folder / "Py3.12").symlink_to(folder / "one/bin/python")
    study = load(folder, "./one/bin/python", "./Py3.12")

    assert [one.id for one in study.treatments] == ["python-one", "python-py3_12"]


def test_calibrations_run_with_the_interpreter_of_their_pipeline(folder):
    (folder / "steps.py").write_text("def work(size: int = 3):\n    return size\n")
    (folder / "two").symlink_to(folder / "one")
    plan = make_plan(load(folder, "./one/bin/python", "./two/bin/python"))

    found = {one["pipeline"]: one["specification"]["python"]["name"] for one in plan["diagnoses"]}
    assert found == {"versions-1": "./one/bin/python", "versions-2": "./two/bin/python"}
    assert json.dumps(plan).count(str(folder)) == 0


def test_what_is_preloaded_is_imported_where_it_runs(folder):
    config = CONFIG.replace(
        'python: "{python}"', 'python: "{python}"\n    process: {preload: [thing]}'
    )
    load(folder, "./one/bin/python", config=config)
    make_environment(folder / "bare")
    (folder / "steps.py").write_text("def work(size: int = 3):\n    return size\n")

    with pytest.raises(ConfigError, match=r"process\.preload\[0\]: importing thing raises Module"):
        load(folder, "./bare/bin/python", config=config)
