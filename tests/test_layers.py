"""Imports go one way: in the source, and in what a measured process really imports."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from tests.study import ROOT

import stagebench
from stagebench import store

SOURCE = Path(stagebench.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

GROUND = {"errors", "units", "records", "locks", "terminal", "subinterpreter", "network_nodes"}
CORE = {
    *GROUND,
    "interpreters",
    "store",
    "task_list",
    "handlers",
    "runner",
    "sampler",
    "peak",
    "tables",
    "design",
}
CORE |= {"pipeline", "measure", "trace", "trial", "model", "analyse", "export", "present"}
CORE |= {"conduct", "draft", "engines", "blocks", "cluster"}
MAY_IMPORT = {
    # Public names, imported lazily.
    "__init__": {"errors", "records", "handlers", "runner", "pipeline"},
    "errors": set(),
    "units": set(),
    "records": set(),
    "locks": set(),
    "terminal": set(),
    "interpreters": {"errors"},
    "subinterpreter": set(),
    "network_nodes": set(),
    "command_line": {*GROUND, "store"},
    "store": GROUND,
    "task_list": {"errors"},
    "blocks": {"errors", "store"},
    "handlers": {*GROUND, "handlers"},
    "handlers.sum_squares_numpy": {*GROUND, "handlers", "numpy"},
    "handlers.matrix_product": {*GROUND, "handlers", "numpy"},
    "runner": {*GROUND, "runner"},
    "engines": {*GROUND, "runner", "engines"},
    "engines.on_joblib": {*GROUND, "runner", "engines", "joblib"},
    "engines.on_dask": {*GROUND, "runner", "engines", "dask", "distributed"},
    "engines.dask_node": {*GROUND, "engines", "dask", "distributed"},
    "engines.on_tadween": {*GROUND, "runner", "engines", "tadween_core", "pydantic"},
    "engines.on_ray": {*GROUND, "runner", "engines", "ray"},
    # On the standard library alone: `model.resources` is.
    "pipeline": {*GROUND, "runner", "model", "pipeline"},
    "sampler": {*GROUND, "sampler"},
    "sampler.portable": {*GROUND, "sampler", "psutil"},
    "tables": {*GROUND, "store", "tables", "pandas"},
    "peak": {*GROUND, "store", "tables", "peak"},
    # Of engines, what they can do.
    "design": {*GROUND, "interpreters", "store", "handlers", "task_list", "engines", "design"}
    | {"ruamel", "jsonschema", "msgspec"},
    # It imports engines only for a treatment that names one.
    "measure.main": {*GROUND, "runner", "engines", "handlers", "store", "task_list"},
    "measure": {*GROUND, "", "interpreters", "store", "task_list", "sampler", "measure"},
    # A measured process, too, that changes what its stages call.
    "measure.diagnose": {*GROUND, "store", "measure", "runner"},
    "trace": {*GROUND, "store", "sampler", "peak", "measure", "tables", "trace"},
    "trial": {*GROUND, "store", "task_list", "peak", "measure", "trace", "trial"},
    "draft": {*GROUND, "task_list", "handlers", "runner", "pipeline", "design", "measure", "draft"},
    "conduct": {*GROUND, "", "store", "blocks", "design", "measure", "analyse", "trace", "trial"}
    | {"conduct"},
    "cluster": {*GROUND, "", "store", "design", "measure", "cluster"},
    "trace.figure": {*GROUND, "tables", "present", "trace", "matplotlib"},
    "model": {*GROUND, "store", "tables", "model", "pandas", "numpy"},
    "analyse": {*GROUND, "store", "blocks", "task_list", "tables", "peak", "model", "analyse"}
    | {"pandas", "numpy", "scipy"},
    "export": {*GROUND, "", "store", "peak", "analyse", "trace", "export"},
    "present": {*GROUND, "store", "blocks", "tables", "present", "pandas", "matplotlib", "numpy"}
    | {"jinja2", "markupsafe", "markdown_it"},
    "compare": {*GROUND, "", "store", "blocks", "tables", "analyse", "present", "compare"}
    | {"pandas", "numpy", "scipy"},
    # A measured process that also samples itself: it may import the sampler.
    "replication.emulate": {*GROUND, "store", "sampler", "measure"},
    "replication": {
        *CORE,
        *("replication", "pandas", "numpy", "scipy", "matplotlib", "seaborn"),
    },
    "claims": {*CORE, "claims", "pandas", "numpy", "scipy"},
}
EVERYTHING = {"__main__", "cli"}


def module_name(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def allowed_for(name):
    package = name.split(".")[0]
    return MAY_IMPORT.get(name, MAY_IMPORT.get(package))


def imported_by(path):
    """Yield our packages ("" for the root) and foreign packages that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [node.module]
            if node.module == "stagebench":
                names = [f"stagebench.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "stagebench":
                yield "" if rest == "__version__" else rest.split(".")[0]
            elif top not in sys.stdlib_module_names:
                yield top


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_from_the_rows_above_it_only(path):
    name = module_name(path)
    if name in EVERYTHING:
        return
    allowed = allowed_for(name)
    assert allowed is not None, f"{name} is in no layer"
    assert set(imported_by(path)) <= allowed


def modules_imported_by(path):
    """Yield our modules that a file imports anywhere, also only for its types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ours := "stagebench"
        ):
            module = node.module.removeprefix(ours).removeprefix(".")
            yield from (f"{module}.{alias.name}".removeprefix(".") for alias in node.names)
            yield module


def test_no_module_imports_itself_through_others():
    names = {module_name(path) for path in FILES}
    graph = {module_name(path): names & set(modules_imported_by(path)) for path in FILES}
    TopologicalSorter(graph).prepare()


def test_no_two_modules_have_one_name():
    names = Counter(path.stem for path in FILES if not path.stem.startswith("__"))
    assert [name for name, number in names.items() if number > 1] == []


def test_no_two_classes_have_one_name():
    names = Counter(
        node.name
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, number in names.items() if number > 1] == []


ANALYSING = {"numpy", "pandas", "scipy", "matplotlib"}


def list_imported(program):
    """Return the modules that a program has imported at its end."""
    command = [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_rules_are_read_without_the_libraries_of_the_analysis():
    text = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))
    modules = re.findall(r"^from (stagebench\S*) import", text, re.MULTILINE)
    assert len(modules) > 10
    assert not ANALYSING & list_imported(f"import {', '.join(modules)}")


def test_a_study_without_claims_is_checked_without_the_libraries_of_the_analysis():
    call = f"from stagebench.cli import main; main(['plan', {str(ROOT / 'config/smoke.yaml')!r}])"
    imported = list_imported(call)
    assert "stagebench.design.plan" in imported
    assert not ANALYSING & imported


RUNNER = {"engine", "interrupts", "jobs", "pools", "routing", "stage", "transport"}
RUNNER |= {"worker", "workflow"}
MEASURED = {
    *(GROUND - {"units", "terminal", "subinterpreter", "network_nodes"}),
    *{"store", "measure", "handlers", "handlers.registry", "handlers.bounds", "runner"},
    *(f"runner.{name}" for name in RUNNER),
}
PAYLOADS = MEASURED | {"handlers.payload"}
THREADS = PAYLOADS | {"runner.thread_pool"}
PROCESSES = PAYLOADS | {"runner.process_pool", "runner.process_worker"}
COROUTINES = MEASURED | {"handlers.wait_async", "runner.coroutine_pool"}
ADAPTER = {"engine_workflow", "support", "course", "serving", "steps", "on_futures"}
ENGINE = {"engines", *(f"engines.{name}" for name in ADAPTER)}
FORK = {"executor": "process", "start_method": "fork"}
ASYNCIO = {"executor": "asyncio", "handler": "wait_async", "parameters": {"delay_s": 0.0}}
EMULATING = {"measure.main", "sampler", "sampler.procfs", "replication"}
EMULATED = {
    "interval_s": 0.01,
    "cpu_budget": 1.0,
    "census": "auto",
    "emulate": {"interval_s": 0.1, "discovery_s": 1.0},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stage": {}}, THREADS),
        ({"stage": FORK}, PROCESSES),
        ({"stage": ASYNCIO}, COROUTINES),
        ({"stage": {}, "sampler": EMULATED}, THREADS | EMULATING),
        ({"stage": {}, "engine": "concurrent.futures"}, PAYLOADS | ENGINE),
    ],
    ids=["threads", "processes", "coroutines", "emulating", "engine"],
)
def test_the_measured_process_imports_nothing_that_the_treatment_does_not_need(
    specify, measure, tmp_path, changes, expected
):
    listing = tmp_path / "modules.txt"
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: open({str(listing)!r}, 'w').write('\\n'.join(sys.modules)))\n"
    )
    folder = measure(specify(program=program, **changes))
    assert store.read_run(folder)["status"] == "ok"
    modules = set(listing.read_text().split())
    ours = {name.removeprefix("stagebench.") for name in modules if name.startswith("stagebench.")}
    assert ours == expected
    foreign = {name.split(".")[0] for name in modules} - sys.stdlib_module_names
    # Editable installs of other packages may load their finders at interpreter start-up.
    assert not foreign & {"numpy", "pandas", "psutil", "snakemake", "scipy"}
    assert not foreign & {"ruamel", "yaml", "jsonschema", "msgspec", "pydantic"}
    assert ("asyncio" in modules) == (changes["stage"] == ASYNCIO)
    assert "concurrent.futures.process" not in modules
