"""What the runs that diagnose say: of each task of a treatment, and of each pipeline run alone.

A handler that is called alone, beside a thread that wants the GIL all the time, and beside itself
shows what it needs: a core, the GIL, or only time. What a spinner beside it does not get, it holds.
Values of a pipeline are medians over tasks, but for the time away: the least, since a disk or
another program can only add to it. What cannot be known is missing.
"""

from __future__ import annotations

from bisect import bisect_left
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.tasks import find_first, list_waits, task_times
from stagebench.analyse.traces import Request, read_trace, span_s
from stagebench.model.parts import Beside, bound_held_share
from stagebench.records import ALONE, BESIDE, CALIBRATIONS, PAIR, TREATMENT
from stagebench.store import canonical_json
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stagebench.analyse.traces import Trace
    from stagebench.records import DiagnosisRecord, TaskRecord
    from stagebench.units import Nanoseconds, Seconds

Row = dict[str, Any]
Attempt = tuple[int, str, int]
"""Task, stage and number of an attempt."""

SWITCH_INTERVAL_S = 0.005
"""How long a thread waits for the GIL before it asks for it, unless a study sets another."""

OVERLAP = 0.8
"""A task is served beside another if that is served for this share of its time."""


class Call(NamedTuple):
    """An attempt that its worker has served, and what its call of the handler cost."""

    task: TaskRecord
    call: DiagnosisRecord | None
    is_first: bool

    @property
    def service_s(self) -> Seconds:
        """How long the call took; how long the task was in service, if the call has no record."""
        of: DiagnosisRecord | TaskRecord = self.call or self.task
        return to_seconds((of.finished_ns or 0) - (of.started_ns or 0))

    @property
    def cpu_s(self) -> Seconds | None:
        """The CPU time of its thread; None for a coroutine."""
        return None if self.task.cpu_ns is None else to_seconds(self.task.cpu_ns)

    @property
    def rest_s(self) -> Seconds | None:
        """How long its thread was neither on a core nor waiting for one, during the call."""
        if self.call is None or self.call.core_wait_ns is None or self.cpu_s is None:
            return None
        span_s = to_seconds(self.call.finished_ns - self.call.started_ns)
        return max(0.0, span_s - self.cpu_s - to_seconds(self.call.core_wait_ns))

    @property
    def wakes(self) -> int | None:
        """How often its thread gave up its core by itself."""
        return None if self.call is None else self.call.voluntary_switches

    @property
    def beside(self) -> Beside | None:
        """What is known of its call beside a spinner; None without one."""
        if self.call is None or self.call.spinner_ns is None or self.cpu_s is None:
            return None
        return Beside(
            service_s=to_seconds(self.call.finished_ns - self.call.started_ns),
            cpu_s=self.cpu_s,
            core_wait_s=to_seconds(self.call.core_wait_ns or 0),
            spinner_s=to_seconds(self.call.spinner_ns),
            spinner_wait_s=to_seconds(self.call.spinner_wait_ns or 0),
        )


def list_diagnoses(plan: Mapping[str, Any], *kinds: str) -> list[Request]:
    """Return the planned runs that diagnose, of some kinds, in the order of the plan."""
    return [_request(planned) for planned in plan["diagnoses"] if planned["kind"] in kinds]


def _request(planned: Mapping[str, Any]) -> Request:
    run = {
        "experiment": planned["experiment"],
        "treatment": planned["specification"]["treatment"],
        "replicate": 1,
        "warm_up": False,
        **{name: planned[name] for name in ("kind", "pipeline")},
    }
    treatment = {"specification": planned["specification"], "baseline": False}
    return Request(run, treatment, planned["name"])


def list_treatments(plan: Mapping[str, Any]) -> list[Request]:
    """Return the planned runs that diagnose a treatment."""
    return list_diagnoses(plan, TREATMENT)


def diagnose_treatments(requests: Iterable[Request], folder: Path) -> list[Row]:
    """Return a row per task and stage of each run, and one for each run that failed as a whole."""
    return [row for request in requests for row in _diagnose_tasks(read_trace(request, folder))]


def _diagnose_tasks(trace: Trace) -> Iterator[Row]:
    run = {name: trace.planned[name] for name in ("experiment", "treatment")}
    if trace.run["status"] not in ("ok", "tasks_failed"):
        yield run | {"status": _describe_end(trace)}
    stages = [stage["name"] for stage in trace.specification["stages"]]
    calls, first = match_calls(trace), _find_all_first(trace, stages)
    waits = {
        (task, stage["name"], attempt): parts
        for stage in trace.specification["stages"]
        for (task, attempt), parts in list_waits(trace, stage).items()
    }
    for record in sorted(trace.tasks, key=lambda one: (one.task, stages.index(one.stage))):
        call = calls.get(_attempt(record))
        row = run | _describe_task(trace, record) | waits.get(_attempt(record), {})
        yield row | _describe_call(call) | _mark_first(record, first)


def _describe_task(trace: Trace, record: TaskRecord) -> Row:
    times = task_times(record)
    return {
        "started_s": span_s(trace.origin_ns, record.started_ns),
        "finished_s": span_s(trace.origin_ns, record.finished_ns),
        **{name: getattr(record, name) for name in ("stage", "task", "attempt", "status")},
        **{
            f"{name}_s": times[name]
            for name in ("blocked", "waiting", "service", "return", "response")
        },
        "cpu_s": None if record.cpu_ns is None else to_seconds(record.cpu_ns),
    }


def _describe_call(call: DiagnosisRecord | None) -> Row:
    if call is None:
        return {}
    return {
        "core_wait_s": None if call.core_wait_ns is None else to_seconds(call.core_wait_ns),
        "voluntary_switches": call.voluntary_switches,
        "other_switches": call.other_switches,
    }


def _mark_first(record: TaskRecord, first: set[Attempt]) -> Row:
    served = record.started_ns is not None and record.pid is not None
    return {"first": _attempt(record) in first if served else None}


def _attempt(record: TaskRecord) -> Attempt:
    return record.task, record.stage, record.attempt


def _find_all_first(trace: Trace, stages: Iterable[str]) -> set[Attempt]:
    return {(task, stage, n) for stage in stages for task, n in find_first(trace, stage)}


def match_calls(trace: Trace) -> dict[Attempt, DiagnosisRecord]:
    """Return the call of each attempt: it is of the same thread, and within its time in service."""
    by_thread: dict[tuple[int, int], list[DiagnosisRecord]] = {}
    for call in sorted(trace.diagnosis, key=lambda one: one.started_ns):
        by_thread.setdefault((call.pid, call.thread_id), []).append(call)
    starts = {thread: [call.started_ns for call in own] for thread, own in by_thread.items()}
    found: dict[Attempt, DiagnosisRecord] = {}
    for record in (*trace.attempts, *trace.tasks):
        if record.pid is None or record.thread_id is None:
            continue
        thread, began, ended = (record.pid, record.thread_id), record.started_ns, record.finished_ns
        if began is None or ended is None or thread not in starts:
            continue
        place = bisect_left(starts[thread], began)
        if place < len(starts[thread]) and by_thread[thread][place].finished_ns <= ended:
            found[_attempt(record)] = by_thread[thread][place]
    return found


def summarise_pipelines(plan: Mapping[str, Any], folder: Path) -> list[Row]:
    """Return a row per pipeline and stage, from its three calibrations."""
    pipelines: dict[str, dict[str, Request]] = {}
    for request in list_diagnoses(plan, *CALIBRATIONS):
        own = pipelines.setdefault(request.planned["pipeline"], {})
        own[request.planned["kind"]] = request
    rows = []
    for name, requests in pipelines.items():
        runs = {kind: read_trace(requests[kind], folder) for kind in CALIBRATIONS}
        rows += [
            {"experiment": runs[ALONE].planned["experiment"], "pipeline": name}
            | _summarise_stage(runs, stage)
            for stage in runs[ALONE].specification["stages"]
        ]
    return rows


def _summarise_stage(runs: Mapping[str, Trace], stage: Mapping[str, Any]) -> Row:
    calls = {kind: list_calls(trace, stage["name"]) for kind, trace in runs.items()}
    alone, beside = calls[ALONE], calls[BESIDE]
    interval_s = runs[ALONE].specification["process"].get("switch_interval_s", SWITCH_INTERVAL_S)
    service_s, cpu_s = (_median(getattr(one, name) for one in alone) for name in _TIMES)
    return {
        "stage": stage["name"],
        "handler": stage["handler"],
        "parameters": canonical_json(stage["parameters"]),
        "status": _describe_status(runs, stage, alone),
        "tasks": len(alone),
        "service_s": service_s,
        "cpu_s": cpu_s,
        "away_s": _least(call.rest_s for call in alone),
        **_describe_held(beside, cpu_s),
        "gil_asks": count_asks(alone, beside, interval_s),
        "wakes": _median(call.wakes for call in alone),
        "pair_ratio": find_pair_ratio(calls[PAIR], service_s),
    }


def _describe_held(beside: Sequence[Call], cpu_s: Seconds | None) -> Row:
    """Return for how long a handler holds the GIL: in the middle of what is known, and at least."""
    bounds = find_held(beside)
    if bounds is None or cpu_s is None:
        return {}
    return {"held_s": cpu_s * fmean(bounds), "held_least_s": cpu_s * bounds[0]}


_TIMES = ("service_s", "cpu_s")


def list_calls(trace: Trace, stage: str) -> list[Call]:
    """Return the later tasks that a stage has served; the first ones if there are only these.

    None if the run failed.
    """
    if not trace.is_ok:
        return []
    calls, first = match_calls(trace), _find_all_first(trace, [stage])
    own = [
        Call(record, calls.get(_attempt(record)), _attempt(record) in first)
        for record in trace.tasks
        if record.stage == stage and None not in (record.started_ns, record.finished_ns)
    ]
    return [call for call in own if not call.is_first] or own


def find_held(beside: Sequence[Call]) -> tuple[float, float] | None:
    """Return between which shares of its CPU time a handler holds the GIL; None if unknown."""
    tasks = [call.beside for call in beside]
    known = [task for task in tasks if task is not None]
    return bound_held_share(known) if known and len(known) == len(tasks) else None


def count_asks(alone: Sequence[Call], beside: Sequence[Call], interval_s: Seconds) -> float | None:
    """Return how often a handler has to ask for the GIL: each time costs it a switch interval."""
    before_s = _least(call.rest_s for call in alone)
    with_spinner_s = _least(call.rest_s for call in beside)
    if before_s is None or with_spinner_s is None:
        return None
    return max(0.0, (with_spinner_s - before_s) / interval_s)


def find_pair_ratio(pair: Sequence[Call], service_s: Seconds | None) -> float | None:
    """Return how many times as long a task takes beside another one of its stage."""
    together_s = _median(call.service_s for call in pair if _is_beside_another(call, pair))
    return together_s / service_s if together_s is not None and service_s else None


def _is_beside_another(call: Call, others: Sequence[Call]) -> bool:
    shared_ns = sum(_overlap_ns(call.task, other.task) for other in others if other is not call)
    return to_seconds(shared_ns) >= OVERLAP * call.service_s


def _overlap_ns(one: TaskRecord, other: TaskRecord) -> Nanoseconds:
    began = max(one.started_ns or 0, other.started_ns or 0)
    return max(0, min(one.finished_ns or 0, other.finished_ns or 0) - began)


def _describe_status(
    runs: Mapping[str, Trace], stage: Mapping[str, Any], alone: Sequence[Call]
) -> str:
    """Say "ok", or why values of a stage are unknown."""
    failed = [f"{kind}: {_describe_end(one)}" for kind, one in runs.items() if not one.is_ok]
    if failed:
        return "; ".join(failed)
    if stage["executor"] == "asyncio":
        return "coroutines share a thread"
    if any(call.call is None for call in alone):
        return "a call of the handler has no record"
    if any(call.rest_s is None for call in alone):
        return "the kernel does not count how long a thread waits for a core"
    return "ok"


def _describe_end(trace: Trace) -> str:
    return ": ".join(text for text in (trace.run["status"], trace.run["detail"]) if text)


def _least(values: Iterable[float | None]) -> float | None:
    """Return the least, which nothing has disturbed; None if a value is unknown, or without any."""
    known = list(values)
    return None if None in known else min((one for one in known if one is not None), default=None)


def _median(values: Iterable[float | None]) -> float | None:
    """Return the median; None if a value is unknown, or if there is none."""
    known = list(values)
    return (
        None
        if not known or None in known
        else float(median(one for one in known if one is not None))
    )
