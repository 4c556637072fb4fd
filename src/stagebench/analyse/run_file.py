"""What the analysis needs of `run.json` and `plan.json`, checked before it is used."""

from __future__ import annotations

import math
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import StoreError
from stagebench.records import CALIBRATIONS, DIAGNOSES, RUN_STATUSES
from stagebench.store import LONGEST_QUOTED, MEASURE_AGAIN, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


class Kind(NamedTuple):
    """What a value has to be, in words, and the test of it."""

    words: str
    fits: Callable[[Any], bool]


def _or_null(kind: Kind) -> Kind:
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.fits(value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _is_time(value: object) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number from 0", lambda value: type(value) is int and value >= 0)
CODE = Kind("a whole number", lambda value: type(value) is int)
NUMBER = Kind("a number from 0", _is_number)
TIME = Kind("a time with its zone", _is_time)
MAPPING = Kind("a mapping", lambda value: isinstance(value, dict))
LIST = Kind("a list", lambda value: isinstance(value, list))
STATUS = Kind(f"one of {', '.join(RUN_STATUSES)}", lambda value: value in RUN_STATUSES)
PRESSURE = Kind(
    "a mapping with some_us, or null",
    lambda value: value is None or (isinstance(value, dict) and COUNT.fits(value.get("some_us"))),
)
MAYBE_COUNT, MAYBE_NUMBER, MAYBE_FLAG = map(_or_null, (COUNT, NUMBER, FLAG))

MACHINE: dict[str, Any] = {
    "time_ns": COUNT,
    "context_switches": MAYBE_COUNT,
    "pressure": dict.fromkeys(("cpu", "memory", "io"), PRESSURE),
    "throttled": MAPPING,
    "settings": MAPPING,
}

RUN: dict[str, Any] = {
    "experiment": TEXT,
    "treatment": TEXT,
    "replicate": COUNT,
    "warm_up": FLAG,
    "campaign": _or_null(TEXT),
    "specification": {"protocol": COUNT, "stages": LIST, "sampler": MAPPING},
    "status": STATUS,
    "detail": TEXT,
    "exit_code": CODE,
    "survivors": COUNT,
    "time_limit_s": NUMBER,
    "started_at": TIME,
    "lock_wait_s": MAYBE_NUMBER,
    "cpu_user_s": MAYBE_NUMBER,
    "cpu_system_s": MAYBE_NUMBER,
    "context_switches_voluntary": MAYBE_COUNT,
    "context_switches_involuntary": MAYBE_COUNT,
    "sampler": {
        "interval_s": NUMBER,
        "cpu_budget": NUMBER,
        "metric": TEXT,
        "counts_faults": FLAG,
        **dict.fromkeys(("held", "rss_sweeps", "left_out", "torn", "vanished"), COUNT),
        **dict.fromkeys(("counter_drift_bytes", "page_bytes", "anonymous_fault_bytes"), COUNT),
        **dict.fromkeys(("huge_faults_before", "huge_faults"), MAYBE_COUNT),
        **dict.fromkeys(("cpu_s", "census_cpu_s", "read_cpu_s"), NUMBER),
        "reads": COUNT,
        "group_drift_bytes": MAYBE_COUNT,
        "group_failure": _or_null(TEXT),
        **dict.fromkeys(("median_gap_s", "p99_gap_s", "longest_gap_s"), MAYBE_NUMBER),
    },
    "census": {"means": TEXT, **dict.fromkeys(("created", "sampled", "bounded_only"), COUNT)},
    "cgroup": MAPPING,
    "environment": MAPPING,
    "quiet": {"waited_s": NUMBER, "idle_share": MAYBE_NUMBER, "quiet": MAYBE_FLAG},
    "warmed": {
        **dict.fromkeys(("needed_bytes", "touched_bytes"), COUNT),
        "took_s": NUMBER,
        "reason": _or_null(TEXT),
    },
    "machine_before": MACHINE | dict.fromkeys(("fresh_page_ns", "used_page_ns"), MAYBE_NUMBER),
    "machine_after": MACHINE,
    "noise": dict.fromkeys(
        ("load_before", "load_after", "steal_share", "others_cpu_share"), MAYBE_NUMBER
    ),
}

SERVER_NOISE: dict[str, Any] = {"server_cpu_share": MAYBE_NUMBER}
"""Of runs beside a server alone."""

INTERPRETER: dict[str, Any] = {
    "name": _or_null(TEXT),
    **dict.fromkeys(("version", "implementation", "build"), TEXT),
    "free_threaded": FLAG,
    **dict.fromkeys(("gil", "jit"), MAYBE_FLAG),
    "gil_switched_on_by": _or_null(TEXT),
    "packages": MAPPING,
}
"""Of runs since this was recorded."""

MOMENTS = ("supervisor_started_ns", "exec_ns", "exited_ns", "supervisor_ended_ns")
RUN |= dict.fromkeys(MOMENTS, MAYBE_COUNT)

PLAN: dict[str, Any] = {
    "study": TEXT,
    "margin": NUMBER,
    "precision": MAPPING,
    "experiments": LIST,
    "treatments": MAPPING,
    "runs": LIST,
    "warm_up_runs": LIST,
    "diagnoses": LIST,
}


UNTIL: dict[str, Any] = {
    "half_widths": MAPPING,
    "at_least": COUNT,
    "time_budget_s": MAYBE_NUMBER,
}
"""Of studies that stop when they are precise enough alone."""


PLANNED_RUN: dict[str, Any] = {
    **dict.fromkeys(("experiment", "treatment"), TEXT),
    **dict.fromkeys(("replicate", "block", "position", "rank"), COUNT),
    "warm_up": FLAG,
}

PLANNED_EXPERIMENT: dict[str, Any] = {"name": TEXT}

PLANNED_TREATMENT: dict[str, Any] = {"specification": MAPPING, "baseline": FLAG}

PLANNED_DIAGNOSIS: dict[str, Any] = {
    **dict.fromkeys(("name", "experiment"), TEXT),
    "kind": Kind(f"one of {', '.join(DIAGNOSES)}", lambda value: value in DIAGNOSES),
    **dict.fromkeys(("treatment", "pipeline"), _or_null(TEXT)),
    "specification": {"treatment": TEXT, "diagnose": MAPPING},
}

MOST_PROBLEMS = 10
"""So many of a plan's problems are named."""


def check_run(path: Path, run: Mapping[str, Any]) -> None:
    """Check a run's record; raises StoreError with every key that is missing or wrong."""
    problems = [*_find_problems(run, RUN)]
    if not problems and "server_cpu_share" in run["noise"]:
        problems = [*_find_problems(run["noise"], SERVER_NOISE, "noise.")]
    if not problems and "interpreter" in run:
        problems = [*_find_problems(run["interpreter"], INTERPRETER, "interpreter.")]
    if not problems:
        problems = [*_find_contradictions(run)]
    if problems:
        raise StoreError(f"{path}: {'; '.join(problems)}; {MEASURE_AGAIN}")


def _find_contradictions(run: Mapping[str, Any]) -> Iterator[str]:
    known = [(name, run[name]) for name in MOMENTS if run[name] is not None]
    for (first, early), (name, late) in pairwise(known):
        if late < early:
            yield f"{name} is {late}, before {first}"
    for name in ("settings", "throttled"):
        before, after = (run[f"machine_{when}"][name].keys() for when in ("before", "after"))
        if before != after:
            yield f"machine_before and machine_after have other {name}: {sorted(before ^ after)}"


def check_plan(path: Path, plan: Any) -> dict[str, Any]:
    """Return a plan if it is one; raises StoreError with every key that is missing or wrong."""
    if not isinstance(plan, dict):
        raise StoreError(f"{path}: not a plan; remove it to write it again")
    problems = [*_find_problems(plan, PLAN)]
    if "until" in plan:
        problems += _find_problems(plan["until"], UNTIL, "until.")
        problems += _find_problems(plan, {"replicates": COUNT})
    if not problems:
        problems = [*_find_unplanned(plan)]
    if problems:
        raise StoreError(
            f"{path}: {'; '.join(problems[:MOST_PROBLEMS])}; remove it to write it again"
        )
    return plan


def _find_unplanned(plan: Mapping[str, Any]) -> Iterator[str]:
    for name, treatment in plan["treatments"].items():
        yield from _find_problems(treatment, PLANNED_TREATMENT, f"treatments.{name}.")
    for place, experiment in enumerate(plan["experiments"]):
        yield from _find_problems(experiment, PLANNED_EXPERIMENT, f"experiments[{place}].")
    for list_name in ("runs", "warm_up_runs"):
        for place, run in enumerate(plan[list_name]):
            problems = [*_find_problems(run, PLANNED_RUN, f"{list_name}[{place}].")]
            yield from problems
            if not problems and f"{run['experiment']}/{run['treatment']}" not in plan["treatments"]:
                yield f"{list_name}[{place}] is of no treatment of the plan"
    yield from _find_undiagnosed(plan["diagnoses"])


def _find_undiagnosed(diagnoses: Sequence[Any]) -> Iterator[str]:
    """Check the runs that diagnose: each calibration of a pipeline has to be among them."""
    problems: list[str] = []
    for place, one in enumerate(diagnoses):
        problems += _find_problems(one, PLANNED_DIAGNOSIS, f"diagnoses[{place}].")
    yield from problems
    kinds: dict[str, list[str]] = {}
    for one in diagnoses if not problems else ():
        if one["kind"] in CALIBRATIONS:
            kinds.setdefault(str(one["pipeline"]), []).append(one["kind"])
    for pipeline, found in kinds.items():
        if sorted(found) != sorted(CALIBRATIONS):
            allowed = ", ".join(CALIBRATIONS)
            yield f"pipeline {pipeline} has the diagnoses {', '.join(found)}, expected {allowed}"


def _find_problems(found: Any, expected: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield every key that is missing, or whose value is not of its kind."""
    if not isinstance(found, dict):
        yield f"{place.rstrip('.')} is {shorten(repr(found), LONGEST_QUOTED)}, expected a mapping"
        return
    for name, kind in expected.items():
        key, value = f"{place}{name}", found.get(name)
        if name not in found:
            yield f"no {key}"
        elif isinstance(kind, dict):
            yield from _find_problems(value, kind, f"{key}.")
        elif not kind.fits(value):
            yield f"{key} is {shorten(repr(value), LONGEST_QUOTED)}, expected {kind.words}"
