"""What every worker runs, whether thread, process or event loop: set-up, and serving one task."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
import time
import traceback
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class WorkerSetup(NamedTuple):
    """What every worker of a workflow does at its start, before its handler's module is imported.

    `preload` names modules to import. It stands for what a user's script imports, since a spawned
    worker imports the script again. `switch_interval_s`, unless None, is set in worker processes,
    so that they use main's value with any start method. `loaded_file`, unless None, is a file to
    which each worker process appends, when it ends, what it has imported (`note_loaded`).
    """

    preload: tuple[str, ...] = ()
    switch_interval_s: float | None = None
    loaded_file: str | None = None


class Served(NamedTuple):
    """The outcome of one attempt; a tuple, because it is pickled for every task.

    `status` is one of TASK_STATUSES; `error` is None if it is "ok". Times are the worker's own, and
    None if no worker started the attempt. `imported` is known only of a worker's first task.
    """

    status: str
    result: Any = None
    error: str | None = None
    started_ns: int | None = None
    finished_ns: int | None = None
    cpu_ns: int | None = None
    imported: Imported | None = None


class Imported(NamedTuple):
    """How many modules were imported during a task, and the packages with most of them."""

    modules: int
    packages: tuple[str, ...]


class Start(NamedTuple):
    """When a worker started and was ready, and its identity."""

    started_ns: int
    ready_ns: int
    pid: int
    thread_id: int


def prepare_worker(setup: WorkerSetup) -> None:
    """Set up a worker before its handler's module is imported."""
    if setup.switch_interval_s is not None:
        sys.setswitchinterval(setup.switch_interval_s)
    for name in setup.preload:
        importlib.import_module(name)


HOOKS = ("begin_stage", "end_stage", "begin_worker", "end_worker")
"""Methods of a handler that are called around its tasks, if it has them."""


def has_hook(handler: object, name: str) -> bool:
    """Return whether a handler has one of `HOOKS`; None stands for none."""
    return getattr(handler, name, None) is not None


def begin_worker(handler: object) -> None:
    """Call a handler's `begin_worker`, if it has one: it runs in each worker before the first task.

    A function has none; it is for objects that hold what a worker opens once.
    """
    begin = getattr(handler, "begin_worker", None)
    if begin is not None:
        begin()


def end_worker(handler: object) -> None:
    """Call a handler's `end_worker`, if it has one."""
    call_end("end_worker", handler)


def call_end(name: str, handler: object) -> None:
    """Call a method of a handler, if it has it; what it raises is shown and changes nothing."""
    end = getattr(handler, name, None)
    if end is not None:
        try:
            end()
        except BaseException as error:  # the tasks have ended, each with its outcome
            sys.stderr.write(format_error(error))


def note_loaded(path: str, role: str) -> None:
    """Append what this process has imported to a file that several write to: one call, one line.

    The columns are those of `LoadedRecord`. An import may switch the GIL on, and any task may
    import something, so this is known at the end.
    """
    tops = {name.partition(".")[0] for name in list(sys.modules)} - sys.stdlib_module_names
    names = sorted(name for name in tops if name.isidentifier() and not name.startswith("_"))
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()  # before 3.13 there was always one
    jit = getattr(sys, "_jit", None)  # since 3.14
    compiles = "" if jit is None else int(jit.is_enabled())
    line = f"{role},{os.getpid()},{int(gil)},{compiles},{' '.join(names)}\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(file, line.encode("utf-8", "backslashreplace"))
    finally:
        os.close(file)


def keep_error(handler: object, error: BaseException) -> BaseException | None:
    """Return what a handler has raised if it is wanted as an object, not only as text."""
    return error if getattr(handler, "keeps_errors", False) else None


def introduce_worker(started_ns: int) -> Start:
    """Return the start of the calling worker, which is ready now."""
    return Start(started_ns, time.monotonic_ns(), os.getpid(), threading.get_native_id())


def format_error(error: BaseException) -> str:
    """Return an exception's traceback as text, whatever the exception does as it is formatted."""
    try:
        return "".join(traceback.format_exception(error)) + _explain_path(error)
    except BaseException as second:  # its own attributes and text may raise anything
        return (
            f"{describe_error(error)}\n(its traceback cannot be formatted: {type(second).__name__})"
        )


def _explain_path(error: BaseException) -> str:
    """Return where a file was looked for that is not there, if its path is relative."""
    path = error.filename if isinstance(error, FileNotFoundError) else None
    if not isinstance(path, str) or os.path.isabs(path):
        return ""
    return (
        f"(the working directory is {os.getcwd()}, in a study the folder of the config: name the"
        " file from there, or by its whole path)\n"
    )


def describe_error(error: BaseException) -> str:
    """Return an exception's type and text in one line; of one that has no text, the type."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException as second:  # as above
        return f"{name} (its text cannot be formatted: {type(second).__name__})"


def serve_first(handler: Callable[..., Any], arguments: Mapping[str, Any]) -> Served:
    """Serve a worker's first task as `serve` does, and note what was imported meanwhile."""
    known = len(sys.modules)
    served = serve(handler, arguments)
    return served if len(sys.modules) <= known else served._replace(imported=list_new(known))


MOST_PACKAGES = 3


def list_new(known: int) -> Imported | None:
    """Return what was imported since there were `known` modules; new ones are added at the end.

    Threads share their modules: what another thread imported meanwhile is included.
    """
    new = list(sys.modules)[known:]
    counts: dict[str, int] = {}
    for name in new:
        package = name.partition(".")[0]
        if package.isidentifier():
            counts[package] = counts.get(package, 0) + 1
    most = sorted(counts, key=lambda package: -counts[package])
    return Imported(len(new), tuple(most[:MOST_PACKAGES])) if new else None


def serve(handler: Callable[..., Any], arguments: Mapping[str, Any]) -> Served:
    """Run a handler on one task; an exception becomes text, which can always be pickled."""
    pid = os.getpid()
    result, error = None, None
    started_ns = time.monotonic_ns()
    cpu_started_ns = time.thread_time_ns()
    try:
        result = handler(**arguments)
    except BaseException as raised:  # a handler that exits must not end its worker or the run
        result, error = keep_error(handler, raised), format_error(raised)
    if type(result) is CoroutineType:
        # A wrapper hid from the checks that its function is one. Nothing has been done.
        result.close()
        result, error = None, "the handler returned a coroutine; allowed with executor 'asyncio'"
    cpu_ns = time.thread_time_ns() - cpu_started_ns
    finished_ns = time.monotonic_ns()
    if os.getpid() != pid:
        # A child that the handler forked has returned here: it must not send or record anything.
        os._exit(0)
    status = "ok" if error is None else "failed"
    return Served(status, result, error, started_ns, finished_ns, cpu_ns)


def drop_unreadable(served: Served, dumps: Callable[[object], Any]) -> Served:
    """Drop the exception object of a failure if main could not unpickle it: its text stays."""
    if served.status != "failed" or served.result is None:
        return served
    try:
        pickle.loads(dumps(served.result))  # noqa: S301 - our own
    except BaseException:  # its own pickling may raise anything
        return served._replace(result=None)
    return served


def fail_result(
    served: Served, handler: Callable[..., Any], what: str, error: BaseException
) -> Served:
    """Turn an outcome into a failure that names the result's handler and type."""
    name = getattr(handler, "__qualname__", repr(handler))
    kind = type(served.result).__qualname__
    text = f"the result of {name}, a {kind}, {what}: {describe_error(error)}"
    return served._replace(status="failed", result=None, error=text)
