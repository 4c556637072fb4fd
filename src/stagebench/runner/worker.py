"""What runs in a worker, be it a thread, a process or an event loop: start it, serve one task."""

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


class WorkerSetup(NamedTuple):
    """What every worker of a workflow does when it starts, before its handler's module is imported.

    `preload` names modules to import: a spawned worker would import the user's script again, and
    with it what the script imports. `switch_interval_s`, if given, is set in worker processes:
    however they were started, they do as main does.
    """

    preload: tuple[str, ...] = ()
    switch_interval_s: float | None = None


class Served(NamedTuple):
    """What came of one attempt; a tuple, because it is pickled for every task.

    `status` is one of TASK_STATUSES, `error` a text where it is not "ok". Times are those of the
    worker, and None where no worker began to serve.
    """

    status: str
    result: Any = None
    error: str | None = None
    started_ns: int | None = None
    finished_ns: int | None = None
    cpu_ns: int | None = None


class Start(NamedTuple):
    """When a worker began and when it was ready, and who it is."""

    started_ns: int
    ready_ns: int
    pid: int
    thread_id: int


def prepare_worker(setup: WorkerSetup) -> None:
    """Do what every worker does before its handler's module is imported."""
    if setup.switch_interval_s is not None:
        sys.setswitchinterval(setup.switch_interval_s)
    for name in setup.preload:
        importlib.import_module(name)


def introduce_worker(started_ns: int) -> Start:
    """Say of the worker that calls this that it is ready."""
    return Start(started_ns, time.monotonic_ns(), os.getpid(), threading.get_native_id())


def serve(handler: Callable[..., Any], arguments: Mapping[str, Any]) -> Served:
    """Run a handler on one task; whatever it raises becomes text, so that it can always travel."""
    pid = os.getpid()
    result, error = None, None
    started_ns = time.monotonic_ns()
    cpu_started_ns = time.thread_time_ns()
    try:
        result = handler(**arguments)
    except BaseException:  # a handler's exit must not take its worker or the run along
        error = traceback.format_exc()
    cpu_ns = time.thread_time_ns() - cpu_started_ns
    finished_ns = time.monotonic_ns()
    if os.getpid() != pid:
        # A child that the handler forked came back from it: it must not send or record anything.
        os._exit(0)
    status = "ok" if error is None else "failed"
    return Served(status, result, error, started_ns, finished_ns, cpu_ns)
