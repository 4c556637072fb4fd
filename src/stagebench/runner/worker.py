"""What runs in a worker, be it a thread or a process: start it, serve one task."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# One worker is one thread: of the main process, or the main thread of a worker process.
_this_worker = threading.local()


class WorkerSetup(NamedTuple):
    """What every worker of a workflow does when it starts, before its handler's module is imported.

    `preload` names modules to import: a spawned worker would import the user's script again, and
    with it what the script imports. `switch_interval_s`, if given, is set in worker processes:
    however they were started, they do as main does.
    """

    preload: tuple[str, ...] = ()
    switch_interval_s: float | None = None


class Served(NamedTuple):
    """What a worker sends back for one task; a tuple, because it is pickled for every task."""

    result: Any
    error: str | None
    started_ns: int
    finished_ns: int
    cpu_ns: int
    pid: int
    thread_id: int
    worker_started_ns: int
    worker_ready_ns: int


def start_worker(modules: tuple[str, ...], switch_interval_s: float | None) -> None:
    """Import what the handler needs before the worker takes its first task, and note the times."""
    _this_worker.started_ns = time.monotonic_ns()
    if switch_interval_s is not None:
        sys.setswitchinterval(switch_interval_s)
    for module in modules:
        importlib.import_module(module)
    _this_worker.ready_ns = time.monotonic_ns()


def serve(handler: Callable[..., Any], parameters: Mapping[str, Any]) -> Served:
    """Run a handler on one task; whatever it raises becomes text, so that it can always travel."""
    started_ns = time.monotonic_ns()
    cpu_started_ns = time.thread_time_ns()
    result, error = None, None
    try:
        result = handler(**parameters)
    except BaseException:  # noqa: BLE001 - a handler's exit must not take its worker or the run along
        error = traceback.format_exc()
    cpu_ns = time.thread_time_ns() - cpu_started_ns
    finished_ns = time.monotonic_ns()
    return Served(
        result,
        error,
        started_ns,
        finished_ns,
        cpu_ns,
        os.getpid(),
        threading.get_native_id(),
        _this_worker.started_ns,
        _this_worker.ready_ns,
    )
