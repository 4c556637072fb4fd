"""The contract of `tables/*.csv`: names, columns and the kinds of their cells.

Units stand in the column names (`_s`, `_bytes`, `_per_s`; shares and ratios have none). A cell
that is empty was not observed or does not apply. docs/glossary.md explains every column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.records import RETRIABLE_STATUSES, TASK_STATUSES
from stagebench.tables.quantities import (
    MEMORY_PARTS,
    RUN_QUANTITIES,
    SAMPLE_PARTS,
    STAGE_QUANTITIES,
    STAGE_TIMES,
    TASK_MOMENTS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT, COUNT, NUMBER, FLAG = "text", "count", "number", "flag"

OUTCOMES = (*TASK_STATUSES, "missing")
"""How a task ended; missing: it has no record. In tables as `tasks_<outcome>`."""

VERDICTS = (
    "refuted",
    "contradicted by its own log",
    "inconclusive",
    "not testable here",
    "reproduced",
    "shown",
)
"""What can become of a claim, in the order in which claims are told."""

_RUN_KEY = {"experiment": TEXT, "treatment": TEXT, "replicate": COUNT}
_SUMMARY = {
    "quantity": TEXT,
    "unit": TEXT,
    "median": NUMBER,
    "min": NUMBER,
    "max": NUMBER,
    "n": COUNT,
}
_QUANTITY = {"stage": TEXT, "quantity": TEXT, "unit": TEXT, "stated": NUMBER, "logged": NUMBER}
_PLACE = {"experiment": TEXT, "treatment": TEXT, "stage": TEXT, "quantity": TEXT}
_RATIO = {"ratio": NUMBER, "low": NUMBER, "high": NUMBER}
_TESTS = ("p_difference", "p_equivalence", "p_difference_adjusted", "p_equivalence_adjusted")
_MEASURED = {"measured": NUMBER, "low": NUMBER, "high": NUMBER, "unit": TEXT, "n": COUNT}
_COUNTED = (
    *("processes_created", "processes_sampled", "processes_bounded_only", "most_children"),
    *("sweeps", "sweeps_with_children", "sweeps_with_workers", "workers_served"),
    *("emulated_most_children", "emulated_discoveries", "emulated_children_sums"),
    *("deepest_queue", "attempts_repeated", "queue_overflows", "throttled"),
    *("machine_context_switches", "context_switches_voluntary", "context_switches_involuntary"),
)
_MEDIAN_BYTES = ("worker_ready_pss_bytes", "worker_ready_uss_bytes")
_WHOLE_BYTES = tuple(
    name for name in RUN_QUANTITIES if name.endswith("_bytes") and name not in _MEDIAN_BYTES
)
_TASK = {
    **_RUN_KEY,
    "task": COUNT,
    "stage": TEXT,
    "attempt": COUNT,
    "status": TEXT,
    "worker": COUNT,
    **{f"{moment}_s": NUMBER for moment in TASK_MOMENTS},
    **{f"{time}_s": NUMBER for time in STAGE_TIMES},
    "cpu_s": NUMBER,
    "error": TEXT,
}


def _kinds(quantities: Iterable[str]) -> dict[str, str]:
    whole = {*_COUNTED, *_WHOLE_BYTES}
    return {name: COUNT if name in whole else NUMBER for name in quantities}


TABLES: dict[str, dict[str, str]] = {
    "runs": {
        **_RUN_KEY,
        "baseline": FLAG,
        "factors": TEXT,
        "preload": TEXT,
        "arrival": TEXT,
        "in_flight": COUNT,
        **dict.fromkeys(("block", "position", "rank"), COUNT),
        "campaign": TEXT,
        "started_rank": COUNT,
        "overlaps": COUNT,
        "shown": FLAG,
        "status": TEXT,
        "detail": TEXT,
        "exit_code": COUNT,
        "time_limit_s": NUMBER,
        "started_at": TEXT,
        "survivors": COUNT,
        "tasks": COUNT,
        **{f"tasks_{outcome}": COUNT for outcome in OUTCOMES},
        **_kinds(RUN_QUANTITIES),
        "sampler_interval_s": NUMBER,
        "sampler_cpu_budget": NUMBER,
        **dict.fromkeys(("sweeps_held", "rss_sweeps", "sweeps_left_out", "sweeps_torn"), COUNT),
        "census": TEXT,
        "memory_metric": TEXT,
        **{f"cgroup_{name}_bytes": COUNT for name in ("peak", "kernel_peak", "cache")},
        "vanished": COUNT,
        "emulated_interval_s": NUMBER,
        "emulated_discovery_s": NUMBER,
        **{
            f"emulated_{name}_{part}": NUMBER if part.endswith("_s") else COUNT
            for name in ("peak", "false_peak")
            for part in ("main_bytes", "children_bytes", "time_s", "age_s")
        },
        "emulated_false_peak_ended": COUNT,
        "emulated_false_peak_tree_bytes": COUNT,
        "quiet": FLAG,
        "noisy": TEXT,
    },
    "stages": {
        **_RUN_KEY,
        "stage": TEXT,
        **dict.fromkeys(("handler", "parameters", "executor", "start_method"), TEXT),
        "workers": COUNT,
        "retain": FLAG,
        "queue_size": COUNT,
        "transport": TEXT,
        "timeout_s": NUMBER,
        "retries": COUNT,
        "retry_on": TEXT,
        "result_bytes": COUNT,
        **{f"tasks_{outcome}": COUNT for outcome in OUTCOMES},
        **{f"repeated_{status}": COUNT for status in RETRIABLE_STATUSES},
        **_kinds(STAGE_QUANTITIES),
    },
    "tasks": _TASK,
    "attempts": _TASK,
    "treatments": {"experiment": TEXT, "treatment": TEXT, **_SUMMARY},
    "treatment_stages": {"experiment": TEXT, "treatment": TEXT, "stage": TEXT, **_SUMMARY},
    "memory": {
        **_RUN_KEY,
        "sweep": COUNT,
        "time_s": NUMBER,
        **{f"{part}_pss_bytes": COUNT for part in MEMORY_PARTS},
        **{f"tree_{name}_bytes": COUNT for name in ("uss", "anon", "rss")},
        **{f"main_{name}_bytes": COUNT for name in ("uss", "anon", "rss")},
        **dict.fromkeys(("processes", "vanished", "torn"), COUNT),
    },
    "phases": {
        **_RUN_KEY,
        "phase": TEXT,
        "sweep": COUNT,
        "time_s": NUMBER,
        **{f"main_{name}_bytes": COUNT for name in ("pss", "anon", "uss", "rss")},
        "workers": COUNT,
        "pools_closed": FLAG,
    },
    "roles": {
        **_RUN_KEY,
        "role": TEXT,
        **dict.fromkeys(("created", "sampled", "bounded_only"), COUNT),
        **dict.fromkeys(("at_peak_processes", "at_peak_pss_bytes"), COUNT),
        **{f"largest_{name}_bytes": COUNT for name in SAMPLE_PARTS},
        **{f"ready_{name}_bytes": NUMBER for name in SAMPLE_PARTS},
        "high_water_bytes": COUNT,
    },
    "emulated": {
        **_RUN_KEY,
        "time_s": NUMBER,
        **{f"{part}_pss_bytes": COUNT for part in ("main", "children", "total")},
        "children": COUNT,
        "discovered_s": NUMBER,
    },
    "queue_depth": {
        **_RUN_KEY,
        "stage": TEXT,
        "time_s": NUMBER,
        **dict.fromkeys(("waiting", "in_service"), COUNT),
    },
    "environment": {"property": TEXT, "value": TEXT, "runs": COUNT, "where": TEXT},
    "warm_ups": {
        **_RUN_KEY,
        "rank": COUNT,
        "campaign": TEXT,
        "status": TEXT,
        "detail": TEXT,
        "started_at": TEXT,
        "own_time_s": NUMBER,
    },
    "comparisons": {
        **_PLACE,
        "unit": TEXT,
        "baseline": TEXT,
        "median": NUMBER,
        "baseline_median": NUMBER,
        **_RATIO,
        "n": COUNT,
        "pairing": TEXT,
        "margin": NUMBER,
        **dict.fromkeys(_TESTS, NUMBER),
        "word": TEXT,
        "half_width": NUMBER,
        "half_width_wanted": NUMBER,
        "more_blocks": COUNT,
        "note": TEXT,
    },
    "ratios": {**_PLACE, "block": COUNT, "pairing": TEXT, "ratio": NUMBER},
    "winners": {
        "experiment": TEXT,
        "work": COUNT,
        **dict.fromkeys(("quantity", "unit", "treatment", "winner"), TEXT),
        "median": NUMBER,
        **_RATIO,
        "n": COUNT,
        "pairing": TEXT,
        "alike": FLAG,
    },
    "contrasts": {
        **dict.fromkeys(("experiment", "setting", "treatment", "level", "to", "to_level"), TEXT),
        **dict.fromkeys(("quantity", "unit"), TEXT),
        **dict.fromkeys(("median", "to_median"), NUMBER),
        **_RATIO,
        "n": COUNT,
        "pairing": TEXT,
    },
    "drift": {
        **dict.fromkeys(("experiment", "quantity", "effect"), TEXT),
        **_RATIO,
        "n": COUNT,
        "p": NUMBER,
        "p_adjusted": NUMBER,
        "note": TEXT,
    },
    "published": {
        "experiment": TEXT,
        "treatment": TEXT,
        **_QUANTITY,
        "median": NUMBER,
        "min": NUMBER,
        "max": NUMBER,
        "n": COUNT,
        "basis": TEXT,
        "stated_relative": NUMBER,
        "logged_relative": NUMBER,
        "measured_relative": NUMBER,
        "place": TEXT,
    },
    "claims": {
        "id": TEXT,
        "kind": TEXT,
        "says": TEXT,
        "place": TEXT,
        "experiment": TEXT,
        "verdict": TEXT,
        "reason": TEXT,
        **_MEASURED,
        "stated": TEXT,
        "logged": TEXT,
        "sentence": TEXT,
        "otherwise": TEXT,
    },
    "claim_tests": {
        "claim": TEXT,
        "test": COUNT,
        "study": TEXT,
        "experiment": TEXT,
        "treatment": TEXT,
        "to": TEXT,
        "by": TEXT,
        "stage": TEXT,
        "quantity": TEXT,
        "minus": TEXT,
        "over": TEXT,
        "verdict": TEXT,
        "reason": TEXT,
        **_MEASURED,
        "measured_upper": NUMBER,
        "pairing": TEXT,
        "expected": TEXT,
        "expected_low": NUMBER,
        "expected_high": NUMBER,
        "stated": TEXT,
        "logged": TEXT,
    },
}
"""Table → column → kind. Rows are in the order of the plan."""

IN_BLOCKS, UNPAIRED, OTHER_CAMPAIGN = "blocks", "unpaired", "other campaign"
"""How two treatments are compared: run by run within blocks; all runs of campaigns that both have;
all runs, since they have no campaign in common."""

CLAIM_TABLES = ("claims", "claim_tests")
"""The tables of the folder `claims/`; all others lie in `tables/`."""

REFERENCE_COLUMNS = {"experiment": TEXT, "treatment": TEXT, **_QUANTITY, "place": TEXT}
"""Columns of a file of published values, such as config/published.csv."""
