"""Entry point of the measured process: runs a workflow and writes its records.

Started as `python -m stagebench.measure.main FOLDER [BESIDE]`, with the treatment's specification
as JSON on standard input; BESIDE is the folder of the user's own handlers and task files. Every
import here adds to the measured memory and start-up time, and every spawned worker repeats it:
tests/test_layers.py has the list of what is allowed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from stagebench.errors import UnsupportedError, WorkerLostError, WorkflowError
from stagebench.handlers.registry import load_handler
from stagebench.records import (
    RETRIABLE_STATUSES,
    EventRecord,
    LoadedRecord,
    TaskRecord,
    WorkerRecord,
)
from stagebench.runner.stage import Arrival, Stage
from stagebench.runner.worker import WorkerSetup, format_error, note_loaded
from stagebench.runner.workflow import Workflow
from stagebench.store import (
    ATTEMPTS_FILE,
    ERROR_FILE,
    EVENTS_FILE,
    LOADED_FILE,
    TASKS_FILE,
    WORKERS_FILE,
    RecordWriter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from stagebench.engines.engine_workflow import EngineWorkflow
    from stagebench.network_nodes import NetworkNode

    Meanwhile = Callable[[Mapping[str, Any], Path], AbstractContextManager[object]]
    ChangeStage = Callable[[Stage, Path], Stage]


class FileSink:
    """Streams the runner's records into a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tasks = RecordWriter(folder / TASKS_FILE, TaskRecord, in_bursts=True)
        attempts = RecordWriter(folder / ATTEMPTS_FILE, TaskRecord, in_bursts=True)
        workers = RecordWriter(folder / WORKERS_FILE, WorkerRecord)
        events = RecordWriter(folder / EVENTS_FILE, EventRecord)
        self.task, self.attempt = tasks.write, attempts.write
        self.worker, self.event = workers.write, events.write
        self._writers = (tasks, attempts, workers, events)
        # Processes append to it by themselves, wherever a handler has changed to.
        RecordWriter(folder / LOADED_FILE, LoadedRecord).close()
        self.loaded_file = str((folder / LOADED_FILE).absolute())

    def note(self, event: str) -> None:
        """Record a moment of the measured process."""
        self.event(EventRecord(event=event, stage="", time_ns=time.monotonic_ns()))

    def close(self) -> None:
        """Write all records to disk, and what this process has imported."""
        for writer in self._writers:
            writer.close()
        note_loaded(self.loaded_file, "main")


def run_specification(
    specification: Mapping[str, Any],
    sink: FileSink,
    beside: Path | None = None,
    *,
    meanwhile: Meanwhile | None = None,
    change_stage: ChangeStage | None = None,
) -> None:
    """Run a treatment: wait, run all tasks, wait with the pools open, then with the pools closed.

    `meanwhile` returns a context manager that is entered when the workflow starts, and left at the
    end of the last wait. `change_stage` returns the stage that is run in place of one.
    """
    linger = specification["linger"]
    setup = prepare_process(specification["process"], beside)
    setup = setup._replace(loaded_file=sink.loaded_file)
    stages = [make_stage(stage) for stage in specification["stages"]]
    if change_stage is not None:
        stages = [change_stage(stage, sink.folder) for stage in stages]
    tasks = list_tasks(specification["tasks"], beside)
    arrival = Arrival(**specification.get("arrival", {}))
    workflow = make_workflow(specification, stages, sink, setup)
    block = meanwhile(specification, sink.folder) if meanwhile else nullcontext()
    sink.note("ready")
    time.sleep(linger["before_start_s"])
    with block:
        workflow.run(tasks, arrival)
        time.sleep(linger["before_close_s"])
        sink.note("pools_closing")
        workflow.close(keep_retained=True)
        sink.note("pools_closed")
        time.sleep(linger["after_close_s"])
    sink.note("finished")
    workflow.close()


def make_workflow(
    specification: Mapping[str, Any], stages: list[Stage], sink: FileSink, setup: WorkerSetup
) -> Workflow | EngineWorkflow:
    """Return the workflow, of the runner or of the engine that the specification names."""
    engine = specification.get("engine")
    # Imported only if it is needed: every import adds to the measured memory.
    if engine or "nodes" in specification:
        from stagebench.engines.support import find_engine_limit

        if limit := find_engine_limit(specification):
            raise UnsupportedError(limit)
    nodes = enter_nodes(specification)
    if not engine:
        return Workflow(stages, sink, setup=setup, in_flight=specification.get("in_flight"))
    from stagebench.engines.engine_workflow import EngineWorkflow

    return EngineWorkflow(engine, stages, sink, setup=setup, nodes=nodes)


def enter_nodes(specification: Mapping[str, Any]) -> list[NetworkNode]:
    """Move this process to its cores; return the nodes that the supervisor has made."""
    if "nodes" not in specification:
        return []
    from stagebench.network_nodes import NODES, read_nodes  # only if it is needed, as above

    nodes, reason = read_nodes(os.environ.pop(NODES))
    if reason:
        raise UnsupportedError(f"{specification.get('engine', 'stagebench')} {reason}")
    if nodes[0].cores:
        os.sched_setaffinity(0, nodes[0].cores)
    return nodes


def prepare_process(settings: Mapping[str, Any], beside: Path | None = None) -> WorkerSetup:
    """Set up this process as specified, and return the setup for its workers.

    The user's own handlers come last in the import path: a module beside the config never hides one
    of the environment. Worker processes get main's import path.
    """
    if beside is not None:
        sys.path.append(str(beside))
    if settings["cpus"] is not None:
        os.sched_setaffinity(0, settings["cpus"])
    switch_interval_s = settings.get("switch_interval_s")
    if switch_interval_s is not None:
        sys.setswitchinterval(switch_interval_s)
    for module in settings["preload"]:
        importlib.import_module(module)
    return WorkerSetup(tuple(settings["preload"]), switch_interval_s)


def make_stage(stage: Mapping[str, Any]) -> Stage:
    """Turn a stage of the specification into one of the runner; imports its handler's module."""
    return Stage(
        name=stage["name"],
        handler=load_handler(stage["handler"]),
        executor=stage["executor"],
        start_method=stage.get("start_method"),
        workers=stage["workers"],
        parameters=stage["parameters"],
        after=tuple(stage["after"]),
        retain=stage["retain"],
        transport=stage.get("transport", "pickle"),
        queue_size=stage.get("queue_size"),
        batch=stage.get("batch", 1),
        prefetch=stage.get("prefetch", 0),
        timeout_s=stage.get("timeout_s"),
        retries=stage.get("retries", 0),
        retry_on=tuple(stage.get("retry_on", RETRIABLE_STATUSES)),
    )


def list_tasks(
    tasks: int | list[dict[str, Any]] | dict[str, Any], beside: Path | None = None
) -> int | Sequence[Mapping[str, Any]]:
    """Return the number of equal tasks, or one mapping of overrides per task."""
    if not isinstance(tasks, dict):
        return tasks
    if beside is None:
        raise WorkflowError(f"{tasks['file']}: lies beside the config, whose folder is unknown")
    # Imported only if it is needed: every import adds to the measured memory.
    from stagebench.task_list import open_tasks

    return open_tasks(tasks, beside)


def main(meanwhile: Meanwhile | None = None, change_stage: ChangeStage | None = None) -> None:
    """Read the specification and run it; an error ends the process without waiting for tasks.

    `meanwhile` and `change_stage` are passed on to `run_specification`.
    """
    specification = json.load(sys.stdin)
    folder, *beside = map(Path, sys.argv[1:])
    sink = FileSink(folder)
    try:
        run_specification(
            specification, sink, *beside, meanwhile=meanwhile, change_stage=change_stage
        )
    except (WorkflowError, WorkerLostError) as error:
        leave(sink, f"{type(error).__name__}: {error}", 1)
    except UnsupportedError as error:
        leave(sink, f"{type(error).__name__}: {error}", error.exit_code)
    except KeyboardInterrupt:
        leave(sink, "KeyboardInterrupt: the run was cancelled", 130)
    except SystemExit as error:  # of a preload
        leave(sink, format_error(error), find_exit_code(error))
    except BaseException as error:  # not swallowed: printed as the interpreter would
        leave(sink, format_error(error), 1)
    sink.close()


def find_exit_code(error: SystemExit) -> int:
    """Return the exit code with which the interpreter would end."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def leave(sink: FileSink, text: str, exit_code: int) -> NoReturn:
    """Store and print an error, and end this process; sys.exit would wait for recorded tasks.

    The supervisor finds it in a file of its own: other processes may print meanwhile, or later.
    """
    try:
        path = sink.folder / ERROR_FILE
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        print(end="", flush=True)  # noqa: T201 - what was printed so far
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - goes to the run's output.txt
        sink.close()
    finally:  # whatever a full disk or a closed stream raises
        os._exit(exit_code)


if __name__ == "__main__":
    main()
