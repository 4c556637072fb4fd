"""The programs that runner.py measures; each runs in a fresh process and prints JSON.

    python -m benchmarks.runner_subjects NAME JSON

NAME is one of `SUBJECTS`, JSON its parameters.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench import Pipeline
from stagebench.measure.main import FileSink
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Stage
from stagebench.runner.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stagebench.records import TaskRecord

WARM_UP = 10
WORKERS = 2
KINDS: dict[str, dict[str, Any]] = {
    "thread": {"executor": "thread"},
    "process": {"executor": "process", "start_method": "fork"},
}
PAGE = 4096


class NullSink:
    """Keeps nothing."""

    def task(self, record: object) -> None:
        """Discard the record."""

    attempt = worker = event = task


def do_nothing() -> None:
    """Return at once."""


_all_wait = threading.Event()


def do_nothing_until_all_wait() -> None:
    """Return as soon as the last task has arrived."""
    _all_wait.wait()


def make(*, size: int, form: str) -> Any:
    """Return a result of a given size, with every page in memory."""
    if form == "bytes":
        return b"x" * size
    import numpy as np  # only if an array is requested

    return np.ones(size, dtype=np.uint8)


def take(*, upstream: Any) -> int:
    """Read every page of the upstream result."""
    return sum(memoryview(upstream)[::PAGE])


def time_bare(*, kind: str, tasks: int) -> dict[str, float]:
    """Time empty tasks on the standard library's pool."""
    fork = multiprocessing.get_context("fork")
    executor = (
        ThreadPoolExecutor(WORKERS)
        if kind == "thread"
        else ProcessPoolExecutor(WORKERS, mp_context=fork)
    )
    with executor as pool:
        for count in (WARM_UP, tasks):
            begun = time.perf_counter()
            wait([pool.submit(do_nothing) for _ in range(count)])
            took = time.perf_counter() - begun
    return {"s_per_task": took / tasks}


def time_stage(*, kind: str, tasks: int) -> dict[str, float]:
    """Time empty tasks through a stage of a workflow that writes its records."""
    stage = Stage(name="noop", handler=do_nothing, workers=WORKERS, **KINDS[kind])
    with (
        tempfile.TemporaryDirectory() as folder,
        Workflow([stage], FileSink(Path(folder))) as workflow,
    ):
        for count in (WARM_UP, tasks):
            begun = time.perf_counter()
            workflow.run(count)
            took = time.perf_counter() - begun
    return {"s_per_task": took / tasks}


def return_item(item: int) -> int:
    """Return the item at once."""
    return item


def map_bare(*, kind: str, items: int) -> dict[str, float]:
    """Time `map` of the standard library: of an executor for threads, of a pool for processes.

    `Pool.imap` with one item at a time is the fastest there is for processes.
    """
    if kind == "thread":
        with ThreadPoolExecutor(WORKERS) as executor:
            return _time_map(executor.map, items)
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        return _time_map(pool.imap, items)


def map_ours(*, kind: str, items: int) -> dict[str, float]:
    """Time `map` of a pipeline, and read the largest RSS."""
    if kind == "thread":
        pipeline = Pipeline().threads(return_item, workers=WORKERS)
    else:
        pipeline = Pipeline(window=1024).processes(
            return_item, workers=WORKERS, start_method="fork", prefetch=16
        )
    with pipeline as pipe:
        timed = _time_map(lambda _, numbers: pipe.map(numbers), items)
    return timed | {"peak_bytes": read_high_water()}


def _time_map(
    apply: Callable[[Callable[[int], int], Iterator[int]], Iterable[int]], items: int
) -> dict[str, float]:
    for count in (WARM_UP, items):
        begun = time.perf_counter()
        total = sum(apply(return_item, iter(range(count))))
        took = time.perf_counter() - begun
    if total != sum(range(items)):
        raise SystemExit("the results are wrong")
    return {"s_per_task": took / items}


def run_three_stages(
    *, tasks: int, sink: str, queue_size: int | None = None, all_wait: bool = False
) -> dict[str, float]:
    """Run empty tasks through three stages of threads; return time per task and largest RSS.

    With `all_wait`, the first tasks are held until all have arrived. Otherwise the number of
    waiting tasks, and with it the memory, depends on the speed of every part.
    """
    names = ("first", "second", "third")
    stages = [
        Stage(
            name=name,
            handler=do_nothing if number or not all_wait else do_nothing_until_all_wait,
            workers=WORKERS,
            after=names[number - 1 : number] if number else (),
            queue_size=queue_size,
            executor="thread",
        )
        for number, name in enumerate(names)
    ]
    with tempfile.TemporaryDirectory() as folder:
        to = FileSink(Path(folder)) if sink == "file" else NullSink()
        with Workflow(stages, to) as workflow:
            begun = time.perf_counter()
            workflow.run(_iterate(tasks))
            took = time.perf_counter() - begun
    return {"s_per_task": took / tasks, "peak_bytes": read_high_water()}


def _iterate(tasks: int) -> Iterator[dict[str, Any]]:
    yield from ({} for _ in range(tasks))
    _all_wait.set()


def pass_results(*, transport: str, form: str, size: int, tasks: int) -> dict[str, float]:
    """Time a result from the end of the handler that made it to the end of its reader."""
    kind: dict[str, Any] = {"workers": 1, **KINDS["process"]}
    given = {"size": size, "form": form}
    stages = [
        Stage(name="make", handler=make, parameters=given, transport=transport, **kind),
        Stage(name="take", handler=take, after=("make",), **kind),
    ]
    sink = ListSink()
    with Workflow(stages, sink, in_flight=1) as workflow:
        workflow.run(1 + tasks)
    return {"s_per_result": statistics.median(passages(sink.tasks))}


def passages(records: list[TaskRecord]) -> list[float]:
    """Return the seconds from the end of `make` to that of `take`, without the first task's."""
    ends = {(record.task, record.stage): record.finished_ns for record in records}
    if any(record.status != "ok" for record in records):
        raise SystemExit("\n".join(record.error or "" for record in records))
    tasks = sorted({task for task, _ in ends})
    return [((ends[task, "take"] or 0) - (ends[task, "make"] or 0)) / 1e9 for task in tasks[1:]]


def read_high_water() -> int:
    """Return this process's largest RSS since its start."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) * 1024


SUBJECTS: dict[str, Callable[..., dict[str, float]]] = {
    "bare": time_bare,
    "stage": time_stage,
    "map_bare": map_bare,
    "map_ours": map_ours,
    "three_stages": run_three_stages,
    "results": pass_results,
}


if __name__ == "__main__":
    print(json.dumps(SUBJECTS[sys.argv[1]](**json.loads(sys.argv[2]))))
