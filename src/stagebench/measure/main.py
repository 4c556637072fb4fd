"""Entry of the measured process: a workflow, its handlers, and a sink for its records.

Started as `python -m stagebench.measure.main FOLDER` with the treatment's specification as JSON on
standard input. Whatever is imported here is measured memory and start-up time, and is imported
again by every spawned worker: tests/test_layers.py holds the list.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkerLostError
from stagebench.handlers.registry import load_handler
from stagebench.records import EventRecord, TaskRecord, WorkerRecord
from stagebench.runner.stage import Stage
from stagebench.runner.worker import WorkerSetup
from stagebench.runner.workflow import Workflow
from stagebench.store import ATTEMPTS_FILE, EVENTS_FILE, TASKS_FILE, WORKERS_FILE, RecordWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager


class FileSink:
    """Streams the runner's records into a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task = RecordWriter(folder / TASKS_FILE, TaskRecord, in_bursts=True).write
        self.attempt = RecordWriter(folder / ATTEMPTS_FILE, TaskRecord, in_bursts=True).write
        self.worker = RecordWriter(folder / WORKERS_FILE, WorkerRecord).write
        self.event = RecordWriter(folder / EVENTS_FILE, EventRecord).write

    def note(self, event: str) -> None:
        """Record a moment of the measured process."""
        self.event(EventRecord(event=event, stage="", time_ns=time.monotonic_ns()))


def run_specification(specification: Mapping[str, Any], sink: FileSink) -> None:
    """Run a treatment: settle, run all tasks, linger with the pools open, then with them closed."""
    linger = specification["linger"]
    setup = prepare_process(specification["process"])
    stages = [make_stage(stage) for stage in specification["stages"]]
    workflow = Workflow(stages, sink, setup)
    emulation = prepare_emulation(specification["sampler"].get("emulate"), sink.folder)
    sink.note("ready")
    time.sleep(linger["before_start_s"])
    with emulation:
        workflow.run(list_tasks(specification["tasks"]))
        time.sleep(linger["before_close_s"])
        sink.note("pools_closing")
        workflow.close(keep_retained=True)
        sink.note("pools_closed")
        time.sleep(linger["after_close_s"])
    sink.note("finished")
    workflow.close()


def prepare_process(settings: Mapping[str, Any]) -> WorkerSetup:
    """Make this process as the specification asks; gives what its workers are to do for that."""
    if settings["cpus"] is not None:
        os.sched_setaffinity(0, settings["cpus"])
    switch_interval_s = settings.get("switch_interval_s")
    if switch_interval_s is not None:
        sys.setswitchinterval(switch_interval_s)
    for module in settings["preload"]:
        importlib.import_module(module)
    return WorkerSetup(tuple(settings["preload"]), switch_interval_s)


def prepare_emulation(
    settings: Mapping[str, float] | None, folder: Path
) -> AbstractContextManager[object]:
    """Give the block within which this process also samples itself as the published study did."""
    if settings is None:
        return nullcontext()
    # Not imported where it is not asked for: it would be measured memory of every run.
    from stagebench.measure.emulation import prepare  # noqa: PLC0415

    return prepare(settings, folder)


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
    )


def list_tasks(tasks: int | Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Give one mapping of overrides a task; a bare number means that many tasks without any."""
    return [{}] * tasks if isinstance(tasks, int) else tasks


def main() -> None:
    """Read the specification and run it; a lost worker ends the process at once with code 1."""
    specification = json.load(sys.stdin)
    try:
        run_specification(specification, FileSink(Path(sys.argv[1])))
    except WorkerLostError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - goes to the run's output.txt
        # Not sys.exit: that waits for tasks still being served, whose records are written already.
        os._exit(1)


if __name__ == "__main__":
    main()
