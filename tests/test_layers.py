"""One-way imports: by the source, and by what a measured process really holds."""

import ast
import sys
from pathlib import Path

import pytest

import stagebench
from stagebench import store

SOURCE = Path(stagebench.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

GROUND = {"errors", "locks", "units", "records"}
MAY_IMPORT = {
    "__init__": {
        "errors",
        "records",
        "handlers",
        "runner",
    },  # public names, imported when they are used
    "errors": set(),
    "units": set(),
    "records": set(),
    "locks": set(),
    "store": GROUND,
    "arguments": set(),
    "problems": {"errors"},
    "task_list": {"errors"},
    "structure": {"errors", "problems", "yaml", "jsonschema"},
    "quantities": set(),
    "confidence": set(),
    "columns": {"quantities", "records"},
    "timeline": GROUND,
    "tables": {*GROUND, "store", "columns", "quantities", "pandas"},
    "handlers": {*GROUND, "handlers"},
    "handlers.sum_squares_numpy": {*GROUND, "handlers", "numpy"},
    "handlers.matrix_product": {*GROUND, "handlers", "numpy"},
    "runner": {*GROUND, "runner"},
    "sampler": {*GROUND, "sampler"},
    "sampler.portable": {*GROUND, "sampler", "psutil"},
    "design": {*GROUND, "store", "handlers", "problems", "structure", "task_list", "design"}
    | {"ruamel", "jsonschema", "msgspec"},
    # Of measure, emulation alone.
    "measure.main": {*GROUND, "runner", "handlers", "store", "task_list", "measure"},
    "measure.emulation": {*GROUND, "store", "sampler", "measure"},
    "measure": {*GROUND, "", "store", "sampler", "measure", "psutil"},
    "analyse": {*GROUND, "store", "columns", "quantities", "tables", "timeline", "analyse"}
    | {"confidence", "problems", "structure", "task_list", "pandas", "numpy", "scipy"},
    "present": {
        *{"errors", "units", "store", "columns", "quantities", "confidence", "tables", "timeline"},
        "present",
        *{"pandas", "seaborn", "matplotlib", "numpy", "jinja2", "markupsafe", "markdown_it"},
    },
}
EVERYTHING = {"__main__", "cli", "judging", "tracing"}


def module_name(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def allowed_for(name):
    package = name.split(".")[0]
    return MAY_IMPORT.get(name, MAY_IMPORT.get(package))


def imported_by(path):
    """Names of our packages ("" for the root one) and of others that a file imports anywhere."""
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


RUNNER = {
    *(
        "arrival",
        "engine",
        "executors",
        "interrupts",
        "jobs",
        "parcels",
        "queues",
        "recording",
        "routing",
    ),
    *("stage", "transport", "watchdog", "worker", "workflow"),
}
MEASURED = {
    *(GROUND - {"units"}),
    *{"store", "measure", "handlers", "handlers.registry", "handlers.bounds", "runner"},
    *(f"runner.{name}" for name in RUNNER),
}
PAYLOAD = MEASURED | {"handlers.payload"}
THREADS = PAYLOAD | {"runner.thread_pool"}
PROCESSES = PAYLOAD | {
    f"runner.{name}" for name in ("pipes", "process_pool", "process_worker", "worker_process")
}
COROUTINES = MEASURED | {"handlers.wait_async", "runner.coroutine_pool"}
FORK = {"executor": "process", "start_method": "fork"}
ASYNCIO = {"executor": "asyncio", "handler": "wait_async", "parameters": {"delay_s": 0.0}}
EMULATING = {"measure.main", "sampler", "sampler.procfs"}
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
    ],
    ids=["threads", "processes", "coroutines", "emulating"],
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
    # The interpreter's own start-up may bring editable-install finders of other packages.
    assert not foreign & {
        "numpy",
        "pandas",
        "psutil",
        "snakemake",
        "ruamel",
        "yaml",
        "jsonschema",
        "scipy",
    }
    assert not foreign & {"msgspec", "pydantic"}
    assert ("asyncio" in modules) == (changes["stage"] == ASYNCIO)
    assert "concurrent.futures.process" not in modules
