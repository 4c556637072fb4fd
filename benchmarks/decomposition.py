"""Whether the parts of a task's service are found: handlers of known make-up, in up to 5 workers.

    python -m benchmarks.decomposition [--repeats N] [--cases NAME ...]

Each case runs as a study would diagnose it: alone, alone beside a spinner, and in threads and
processes. What is estimated from the kernel's counts is compared with what the handler knows of
itself. Of `--repeats` equal runs the shortest is taken, as others may use the machine. Takes about
ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import bisect
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.markdown import format_table

from stagebench.handlers.source import source_hash
from stagebench.measure.supervisor import RunRequest, measure_run
from stagebench.model.parts import (
    Beside,
    Calibration,
    ServiceParts,
    Spent,
    bound_held_share,
    find_others_held,
    split_service,
)
from stagebench.records import DiagnosisRecord, TaskRecord
from stagebench.store import DIAGNOSIS_FILE, PROTOCOL, TASKS_FILE, read_records, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
HANDLER = "decomposition_work:work"
WORKERS = (1, 2, 3, 4, 5)
ALONE_TASKS = 5
MOST = 0.05
"""By how much of the service time a part may be off."""

NARROW, MOST_CALIBRATIONS = 0.08, 8
"""How far apart the bounds of the share with the GIL may be, and how often that is tried."""

IDLE = 0.02
"""Below this share of CPU time nothing depends on it."""

NS_PER_S = 1e9


class Case(NamedTuple):
    """What each task does; `beside` is what a stage of one thread does at the same time."""

    name: str
    parameters: Mapping[str, float]
    beside: Mapping[str, float] | None = None
    kinds: tuple[str, ...] = ("thread", "fork")


THREADS = ("thread",)
CASES = (
    Case("spin", {"spin_s": 0.15}),
    Case("numpy", {"numpy_s": 0.2}),
    Case("sleep", {"sleep_s": 0.2}),
    Case("read", {"reads": 20, "read_s": 0.01}),
    Case("lock, sleep", {"lock_sleep_s": 0.1}, kinds=THREADS),
    Case("lock, spin", {"lock_spin_s": 0.1}, kinds=THREADS),
    Case("spin + sleep", {"rounds": 3, "spin_s": 0.05, "sleep_s": 0.05}),
    Case("numpy + spin", {"rounds": 3, "numpy_s": 0.05, "spin_s": 0.05}),
    Case("numpy + sleep", {"rounds": 3, "numpy_s": 0.05, "sleep_s": 0.05}),
    Case("all", {"rounds": 3, "numpy_s": 0.04, "spin_s": 0.04, "sleep_s": 0.04}),
    Case(
        "spin + lock, sleep",
        {"rounds": 3, "spin_s": 0.04, "lock_sleep_s": 0.04},
        kinds=THREADS,
    ),
    Case("short locks, sleep", {"rounds": 60, "lock_sleep_s": 0.002}, kinds=THREADS),
    Case("short locks, spin", {"rounds": 60, "lock_spin_s": 0.002}, kinds=THREADS),
    Case("read beside spin", {"reads": 20, "read_s": 0.01}, {"spin_s": 0.4}, THREADS),
    Case("sleep beside spin", {"rounds": 4, "sleep_s": 0.05}, {"spin_s": 0.4}, THREADS),
    Case("numpy beside spin", {"numpy_s": 0.1}, {"spin_s": 0.4}, THREADS),
)


class Call(NamedTuple):
    """One task: what was measured of it, and what its handler knows."""

    spent: Spent
    beside: Beside
    known: ServiceParts
    started_ns: int
    finished_ns: int


def main() -> None:
    """Run all cases, print the table, and fail where a part is off by too much."""
    parser = argparse.ArgumentParser(description="Whether the parts of a service are found.")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    options = parser.parse_args()
    rows, is_off = [], False
    for case in CASES:
        if case.name not in options.cases:
            continue
        alone = calibrate(case, options.repeats)
        for kind in case.kinds:
            for workers in WORKERS:
                calls = find_shortest(case, kind, workers, options.repeats)
                found, known = compare(
                    calls, alone, kind, beside_held=float(case.beside is not None)
                )
                worst = max(abs(f - k) for f, k in zip(found, known, strict=True))
                is_off |= worst > MOST
                rows.append(format_row(case, kind, workers, found, known, worst))
                print(rows[-1], file=sys.stderr, flush=True)
    header = ["case", "workers", *(name.removesuffix("_s") for name in ServiceParts._fields)]
    print(format_table([*header, "worst"], rows))
    sys.exit(is_off)


def calibrate(case: Case, repeats: int) -> Calibration:
    """Run a case in one thread, alone and beside a spinner; the first task does not count.

    The run beside the spinner is repeated until others have disturbed it little enough.
    """
    alone = find_shortest(case._replace(beside=None), "thread", 1, repeats)[1:]
    beside: list[Beside] = []
    low, high = 0.0, 1.0
    for _ in range(MOST_CALIBRATIONS):
        calls = run(case._replace(beside=None), "thread", 1, spinner=True)[1:]
        beside += [call.beside for call in calls]
        low, high = bound_held_share(beside)
        if high - low <= NARROW or max(each.cpu_s / each.service_s for each in beside) < IDLE:
            break
    print(f"{case.name}: held {low:.2f} to {high:.2f}", file=sys.stderr)
    return Calibration(
        away_s=statistics.median(find_away(call.spent) for call in alone),
        wakes=statistics.median(call.spent.wakes for call in alone),
        held_share=(low + high) / 2,
    )


def find_away(spent: Spent) -> float:
    """Return how long a task was neither on a core nor waited for one."""
    return max(0.0, spent.service_s - spent.cpu_s - spent.core_wait_s)


def find_shortest(
    case: Case, kind: str, workers: int, repeats: int, *, spinner: bool = False
) -> list[Call]:
    """Return the calls of the shortest of several equal runs, in their order."""
    runs = [run(case, kind, workers, spinner=spinner) for _ in range(repeats)]
    return min(runs, key=lambda calls: calls[-1].finished_ns - calls[0].started_ns)


def run(case: Case, kind: str, workers: int, *, spinner: bool) -> list[Call]:
    """Measure a run that diagnoses, and read what it wrote."""
    with tempfile.TemporaryDirectory() as name:
        folder, truth = Path(name) / "run", Path(name) / "truth"
        specification = specify(case, kind, workers, truth, spinner=spinner)
        status = measure_run(request_for(specification), folder)
        if status != "ok":
            sys.exit(f"{case.name}, {kind}, {workers}: {status}: {read_run(folder)['detail']}")
        return list(read_calls(folder, truth))


def specify(case: Case, kind: str, workers: int, truth: Path, *, spinner: bool) -> dict[str, Any]:
    """Return the specification of a run; each worker serves one task, a single one several."""
    tasks = workers if workers > 1 else ALONE_TASKS
    executor = {"executor": "thread"} if kind == "thread" else {"executor": "process"}
    method = {} if kind == "thread" else {"start_method": kind}
    stage: dict[str, Any] = {
        "handler": HANDLER,
        "source": source_hash(HANDLER, HERE),
        "retain": False,
        "after": [],
    }
    first = {"name": "work", "workers": workers, "parameters": {**case.parameters}}
    stages = [stage | executor | method | first]
    if case.beside is not None:
        beside = {"name": "beside", "workers": 1, "parameters": {**case.beside}}
        stages.append(stage | {"executor": "thread"} | beside)
    for each in stages:
        each["parameters"]["truth"] = f"{truth}-{each['name']}"
    return {
        "protocol": PROTOCOL,
        "experiment": "decomposition",
        "treatment": case.name,
        "factors": {},
        "stages": stages,
        "tasks": tasks,
        "sampler": {"interval_s": 0.1, "cpu_budget": 0.01, "census": "auto"},
        "linger": {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0},
        "process": {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1},
        "diagnose": {"spinner": spinner},
    }


def request_for(specification: dict[str, Any]) -> RunRequest:
    """Return the request for a run on its own."""
    return RunRequest(
        study="decomposition",
        specification=specification,
        replicate=1,
        warm_up=False,
        seed=1,
        block=1,
        position=1,
        rank=1,
        time_limit_s=120.0,
        quiet_wait_s=0.0,
        campaign="decomposition",
        beside=HERE,
        program="stagebench.measure.diagnose",
    )


def read_calls(folder: Path, truth: Path) -> Iterator[Call]:
    """Yield the tasks of the first stage with what is known of them, in the order of their starts.

    The records of a thread's calls follow one another, and so do those of what it knows.
    """
    diagnoses: dict[int, list[DiagnosisRecord]] = defaultdict(list)
    for record in read_records(folder / DIAGNOSIS_FILE, DiagnosisRecord):
        diagnoses[record.thread_id].append(record)
    notes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in Path(f"{truth}-work").read_text(encoding="ascii").splitlines():
        note = json.loads(line)
        notes[note["thread_id"]].append(note)
    tasks = read_records(folder / TASKS_FILE, TaskRecord)
    for task in sorted(tasks, key=lambda each: each.started_ns or 0):
        if task.stage != "work" or task.started_ns is None or task.finished_ns is None:
            continue
        thread = task.thread_id or 0
        own = find_within(diagnoses[thread], task, lambda each: each.started_ns)
        note = find_within(notes[thread], task, lambda each: each["started_ns"])
        yield make_call(task, own, note)


def find_within(records: list[Any], task: TaskRecord, moment: Any) -> Any:
    """Return the first record that begins within a task's service."""
    return records[bisect.bisect_left(records, task.started_ns, key=moment)]


def make_call(task: TaskRecord, own: DiagnosisRecord, note: Mapping[str, Any]) -> Call:
    """Join what was measured of a task with what its handler knows."""
    service_s = (own.finished_ns - own.started_ns) / NS_PER_S
    core_wait_s = (own.core_wait_ns or 0) / NS_PER_S
    spent = Spent(service_s, (task.cpu_ns or 0) / NS_PER_S, core_wait_s, own.voluntary_switches)
    known_s = note["held_s"] + note["computing_s"] + note["blocked_s"] + core_wait_s
    known = ServiceParts(
        held_s=note["held_s"],
        computing_s=note["computing_s"],
        gil_wait_s=max(0.0, service_s - known_s),
        core_wait_s=core_wait_s,
        blocked_s=note["blocked_s"],
    )
    spinner = [(value or 0) / NS_PER_S for value in (own.spinner_ns, own.spinner_wait_ns)]
    beside = Beside(*spent[:3], *spinner)
    return Call(spent, beside, known, own.started_ns, own.finished_ns)


def compare(
    calls: list[Call], alone: Calibration, kind: str, beside_held: float
) -> tuple[ServiceParts, ServiceParts]:
    """Return each part's share of the service time of all tasks, as estimated and as known.

    What the handler does not know of itself is a wait for the GIL in threads; in processes there is
    none, and it is time that its sleeps took longer.
    """
    in_threads = kind == "thread"
    total_s = sum(call.spent.service_s for call in calls)
    spans = [
        (
            call.started_ns / NS_PER_S,
            call.finished_ns / NS_PER_S,
            alone.held_share * (call.spent.cpu_s + call.spent.core_wait_s),
        )
        for call in calls
    ]
    others = find_others_held(spans) if in_threads else [0.0] * len(calls)
    parts = [
        split_service(call.spent, alone, others_held_s=held + beside_held * call.spent.service_s)
        for call, held in zip(calls, others, strict=True)
    ]
    found = ServiceParts(*(sum(own) / total_s for own in zip(*parts, strict=True)))
    known = ServiceParts(
        *(sum(own) / total_s for own in zip(*(call.known for call in calls), strict=True))
    )
    if not in_threads:
        both = known.blocked_s + known.gil_wait_s
        known = known._replace(blocked_s=both, gil_wait_s=0.0)
    return found, known


def format_row(
    case: Case,
    kind: str,
    workers: int,
    found: ServiceParts,
    known: ServiceParts,
    worst: float,
) -> list[str]:
    """Format one row: each part in percent of the service, and in brackets what is true."""
    cells = [f"{100 * f:.0f} ({100 * k:.0f})" for f, k in zip(found, known, strict=True)]
    return [case.name, f"{workers} {kind}", *cells, f"{100 * worst:.1f}"]


if __name__ == "__main__":
    main()
