"""What a worker imports during its first task is an event of its own."""

import sys
from collections import Counter

import pytest
from tests.runner import workloads
from tests.runner.conftest import LOOP, run, stage

from stagebench.records import IMPORTED, Imports, read_imports
from stagebench.runner.worker import list_new


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of three modules that no process has imported yet; remove it at the end."""
    name = f"lazy_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import first, second\n")
    for part in ("first", "second"):
        (folder / f"{part}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for known in [known for known in sys.modules if known.partition(".")[0] == name]:
        del sys.modules[known]


def imports_of(sink):
    return [
        (event.stage, read_imports(event.detail))
        for event in sink.events
        if event.event == IMPORTED
    ]


def test_the_first_task_of_a_worker_says_what_it_imports(kind, package):
    work = stage("work", workloads.import_module, kind, workers=1, parameters={"name": package})
    sink = run([work], [{}] * 3)
    ((name, found),) = imports_of(sink)
    (first,) = {min(sink.tasks, key=lambda record: record.started_ns).task}
    assert (name, found.task, found.attempt) == ("work", first, 1)
    assert found.modules >= 3
    assert package in found.packages


def test_so_does_the_first_task_of_an_event_loop(package):
    work = stage("work", workloads.import_later, LOOP, parameters={"name": package})
    sink = run([work], [{}] * 3)
    ((name, found),) = imports_of(sink)
    assert (name, found.task, found.modules) == ("work", 0, 3)
    assert found.packages == (package,)


def test_each_process_imports_for_itself(package):
    kind = {"executor": "process", "start_method": "spawn"}
    parameters = {"name": package, "seconds": 0.2}
    work = stage("work", workloads.import_module, kind, workers=2, parameters=parameters)
    sink = run([work], [{}] * 6)
    served = {record.pid for record in sink.tasks}
    counts = Counter(name for name, _ in imports_of(sink))
    assert counts == {"work": len(served)}


def test_a_task_that_imports_nothing_or_comes_later_is_no_event(kind, package):
    quiet = stage("quiet", workloads.double, kind, workers=1)
    assert imports_of(run([quiet], [{}] * 3)) == []
    tasks = [{}, {"work": {"name": package}}]
    work = stage("work", workloads.import_module, kind, workers=1, parameters={"name": "sys"})
    found = imports_of(run([work], tasks))
    assert package not in {name for _, imports in found for name in imports.packages}


def test_a_first_attempt_that_fails_names_its_imports_and_itself(kind, package):
    work = stage(
        "work",
        workloads.import_module,
        kind,
        workers=1,
        retries=1,
        parameters={"name": package, "fail": True},
    )
    ((_, found),) = imports_of(run([work], [{}]))
    assert (found.attempt, found.modules >= 3) == (1, True)


def test_what_is_new_is_counted_by_package(monkeypatch):
    known = len(sys.modules)
    for name in ("aa", "bb", "bb.x", "cc", "cc.x", "cc.y", "dd.x", "no name"):
        monkeypatch.setitem(sys.modules, name, None)
    assert list_new(known) == (8, ("cc", "bb", "aa"))
    assert list_new(known + 8) is None


@pytest.mark.parametrize("packages", [(), ("pandas",), ("pandas", "numpy")])
def test_imports_are_read_as_they_were_written(packages):
    imports = Imports(7, 2, 412, packages)
    assert read_imports(imports.write()) == imports
