"""Runs a workflow as `measure.main` does, and notes for each task what the kernel knows about it.

Started in place of it for runs whose times do not count: every task costs some ten microseconds
more. With a spinner, a thread in main wants the GIL all the time: what it does not get, the handler
has held.
"""

from __future__ import annotations

import functools
import importlib
import os
import resource
import threading
import time
from contextlib import nullcontext
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from stagebench.measure.main import main
from stagebench.records import DiagnosisRecord
from stagebench.runner.stage import end_stage, is_async
from stagebench.runner.worker import begin_worker, end_worker, has_hook
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
    """A handler that notes what each call costs its thread.

    With a lock as `turn`, all handlers in main are called one after another.
    """

    turn: ClassVar[AbstractContextManager[object]] = nullcontext()

    def __init__(self, handler: Callable[..., Any], path: Path) -> None:
        functools.update_wrapper(self, handler)  # the runner looks at its signature
        self._handler = handler
        self._path = path
        # `update_wrapper` has copied the handler's own, which returns what notes nothing.
        begin_stage = getattr(handler, "begin_stage", None)
        if begin_stage is not None:
            self.begin_stage = lambda **stage: Diagnosed(begin_stage(**stage), path)
        # No others than the handler has: an engine that calls none refuses those that have any.
        for call in (begin_worker, end_worker, end_stage):
            if has_hook(handler, call.__name__):
                setattr(self, call.__name__, functools.partial(call, handler))

    def __call__(self, **arguments: Any) -> Any:
        """Call the handler, when no other is called if they take turns."""
        with Diagnosed.turn:
            return self._call(arguments)

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        files = open_files(self._path)
        waited_ns, spinner_waited_ns = files.read_wait(), read_spinner_wait()
        # What lets go of the GIL comes before these: a spinner would run meanwhile.
        used, spinner_ns = resource.getrusage(resource.RUSAGE_THREAD), read_spinner()
        started_ns = time.monotonic_ns()
        try:
            return self._handler(**arguments)
        finally:
            finished_ns = time.monotonic_ns()
            last_spinner_ns = read_spinner()
            last_used = resource.getrusage(resource.RUSAGE_THREAD)
            spinner_wait_ns = subtract(read_spinner_wait(), spinner_waited_ns)
            record = DiagnosisRecord(
                pid=os.getpid(),
                thread_id=threading.get_native_id(),
                started_ns=started_ns,
                finished_ns=finished_ns,
                core_wait_ns=subtract(files.read_wait(), waited_ns),
                voluntary_switches=last_used.ru_nvcsw - used.ru_nvcsw,
                other_switches=last_used.ru_nivcsw - used.ru_nivcsw,
                spinner_ns=subtract(last_spinner_ns, spinner_ns),
                spinner_wait_ns=spinner_wait_ns,
            )
            files.append(record)

    def __reduce__(self) -> tuple[Any, ...]:
        return Diagnosed, (self._handler, self._path)


def open_schedstat(path: str) -> int | None:
    """Open what the kernel counts for a thread; None if it counts nothing."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def read_core_wait(schedstat: int) -> Nanoseconds:
    """Read how long a thread has waited for a core."""
    return int(os.pread(schedstat, 100, 0).split()[1])


class ThreadFiles:
    """What one thread reads and writes at each call, open as long as the thread lives.

    Each system call lets go of the GIL, which another thread may then keep for a switch interval:
    a call of a handler makes only three.
    """

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self._records = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._schedstat = open_schedstat(SCHEDSTAT)

    def read_wait(self) -> Nanoseconds | None:
        """Read how long this thread has waited for a core; None if the kernel does not count it."""
        if self._schedstat is None:
            return None
        return read_core_wait(self._schedstat)

    def append(self, record: DiagnosisRecord) -> None:
        """Append a line to the file that several processes write to: one call, one line."""
        line = ",".join("" if value is None else str(value) for value in astuple(record))
        os.write(self._records, f"{line}\n".encode())

    def __del__(self) -> None:
        for descriptor in (self._records, self._schedstat):
            if descriptor is not None:
                os.close(descriptor)


_OWN = threading.local()


def open_files(path: Path) -> ThreadFiles:
    """Return the files of this thread; a fork does not use those of its parent's thread."""
    files: ThreadFiles | None = getattr(_OWN, "files", None)
    if files is None or files.pid != os.getpid():
        _OWN.files = files = ThreadFiles(path)
    return files


def read_spinner() -> Nanoseconds | None:
    """Read the CPU time of the spinner, if there is one."""
    return None if Spinner.clock is None else time.clock_gettime_ns(Spinner.clock)


def read_spinner_wait() -> Nanoseconds | None:
    """Read how long the spinner has waited for a core; None without one."""
    return None if Spinner.schedstat is None else read_core_wait(Spinner.schedstat)


def subtract(after: int | None, before: int | None) -> int | None:
    """Return the difference of two counts; None if one is unknown."""
    return None if after is None or before is None else after - before


class Spinner:
    """A thread that wants the GIL all the time, during a `with` block.

    `clock` counts the CPU time of the one that runs; what the kernel counts for it is open at
    `schedstat`.
    """

    clock: ClassVar[int | None] = None
    schedstat: ClassVar[int | None] = None

    def __init__(self) -> None:
        self._ends = False
        self._thread = threading.Thread(target=self._spin, name="spinner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        Spinner.clock = time.pthread_getcpuclockid(self._thread.ident or 0)
        Spinner.schedstat = open_schedstat(f"/proc/self/task/{self._thread.native_id}/schedstat")
        return self

    def __exit__(self, *_: object) -> None:
        schedstat, Spinner.clock, Spinner.schedstat = Spinner.schedstat, None, None
        self._ends = True
        self._thread.join()
        if schedstat is not None:
            os.close(schedstat)

    def _spin(self) -> None:
        while not self._ends:
            pass


def prepare(specification: Mapping[str, Any], folder: Path) -> AbstractContextManager[object]:
    """Write the head of the file to which all processes append; return the spinner, if any."""
    RecordWriter(folder / DIAGNOSIS_FILE, DiagnosisRecord).close()
    if specification["diagnose"].get("in_turn"):
        Diagnosed.turn = threading.Lock()
    return Spinner() if specification["diagnose"]["spinner"] else nullcontext()


def diagnose(stage: Stage, folder: Path) -> Stage:
    """Return a stage whose handler notes its costs; coroutines share a thread, and stay as is."""
    if is_async(stage.handler):
        return stage
    # Absolute, because a handler may change the working directory.
    path = folder.absolute() / DIAGNOSIS_FILE
    return replace(stage, handler=Diagnosed(stage.handler, path))


if __name__ == "__main__":
    # By the module's own name: engines send what belongs to __main__ by value, or not at all.
    by_name = importlib.import_module("stagebench.measure.diagnose")
    main(meanwhile=by_name.prepare, change_stage=by_name.diagnose)
