"""Runs a workflow as `measure.main` does, and notes for each task what the kernel knows about it.

Started in place of it for runs whose times do not count: every task costs some ten microseconds
more. With a spinner, a thread in main wants the GIL all the time: what it does not get, the handler
has held, unless the spinner waited for a core.
"""

from __future__ import annotations

import functools
import inspect
import os
import resource
import threading
import time
from contextlib import nullcontext
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from stagebench.measure.main import main
from stagebench.records import DiagnosisRecord
from stagebench.store import DIAGNOSIS_FILE, RecordWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from stagebench.runner.stage import Stage
    from stagebench.units import Nanoseconds

SCHEDSTAT = "/proc/thread-self/schedstat"
"""A thread's time on a CPU, its time waiting for one, and its time slices.

Source: Linux, Documentation/scheduler/sched-stats.rst.
"""


class Diagnosed:
    """A handler that notes what each call costs its thread."""

    def __init__(self, handler: Callable[..., Any], path: Path) -> None:
        functools.update_wrapper(self, handler)  # the runner looks at its signature
        self._handler = handler
        self._path = path

    def __call__(self, **arguments: Any) -> Any:
        """Call the handler."""
        # Opening a file lets go of the GIL; getting it back is no part of the call. So what a file
        # says is read first and last, and all else next to the call.
        waited_ns, spun_ns, before = read_core_wait(), read_spinner_wait(), read_counts()
        started_ns = time.monotonic_ns()
        try:
            return self._handler(**arguments)
        finally:
            finished_ns = time.monotonic_ns()
            voluntary, other, spinner = map(subtract, read_counts(), before)
            spinner_wait = subtract(read_spinner_wait(), spun_ns)
            wait = subtract(read_core_wait(), waited_ns)
            record = DiagnosisRecord(
                pid=os.getpid(),
                thread_id=threading.get_native_id(),
                started_ns=started_ns,
                finished_ns=finished_ns,
                core_wait_ns=wait,
                voluntary_switches=voluntary or 0,
                other_switches=other or 0,
                spinner_ns=spinner,
                spinner_wait_ns=spinner_wait,
            )
            append_record(self._path, record)

    def __reduce__(self) -> tuple[Any, ...]:
        return Diagnosed, (self._handler, self._path)


def read_core_wait(path: str = SCHEDSTAT) -> Nanoseconds | None:
    """Read how long a thread has waited for a core; None if the kernel does not count it."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read().split()[1])
    except OSError:
        return None


def read_spinner_wait() -> Nanoseconds | None:
    """Read how long the spinner has waited for a core; None without one."""
    return None if Spinner.path is None else read_core_wait(Spinner.path)


def read_counts() -> tuple[int, int, Nanoseconds | None]:
    """Read this thread's voluntary and other switches, and the spinner's CPU; None without one."""
    clock = Spinner.clock
    spinner_ns = None if clock is None else time.clock_gettime_ns(clock)
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_nvcsw, used.ru_nivcsw, spinner_ns


def subtract(after: int | None, before: int | None) -> int | None:
    """Return the difference of two counts; None if one is unknown."""
    return None if after is None or before is None else after - before


def append_record(path: Path, record: DiagnosisRecord) -> None:
    """Append a line to a file that several processes write to: one call, one line."""
    line = ",".join("" if value is None else str(value) for value in astuple(record))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


class Spinner:
    """A thread that wants the GIL all the time, during a `with` block.

    `clock` counts the CPU time of the one that runs, and the file at `path` its wait for a core.
    """

    clock: ClassVar[int | None] = None
    path: ClassVar[str | None] = None

    def __init__(self) -> None:
        self._ends = False
        self._thread = threading.Thread(target=self._spin, name="spinner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        Spinner.clock = time.pthread_getcpuclockid(self._thread.ident or 0)
        Spinner.path = f"/proc/self/task/{self._thread.native_id}/schedstat"
        return self

    def __exit__(self, *_: object) -> None:
        Spinner.clock, Spinner.path, self._ends = None, None, True
        self._thread.join()

    def _spin(self) -> None:
        while not self._ends:
            pass


def prepare(specification: Mapping[str, Any], folder: Path) -> AbstractContextManager[object]:
    """Write the head of the file to which all processes append; return the spinner, if any."""
    RecordWriter(folder / DIAGNOSIS_FILE, DiagnosisRecord).close()
    return Spinner() if specification["diagnose"]["spinner"] else nullcontext()


def diagnose(stage: Stage, folder: Path) -> Stage:
    """Return a stage whose handler notes its costs; coroutines share a thread, and stay as is."""
    if inspect.iscoroutinefunction(stage.handler):
        return stage
    # Absolute, because a handler may change the working directory.
    path = folder.absolute() / DIAGNOSIS_FILE
    return replace(stage, handler=Diagnosed(stage.handler, path))


if __name__ == "__main__":
    main(meanwhile=prepare, change_stage=diagnose)
