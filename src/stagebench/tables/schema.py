"""The contract of `tables/*.csv`: names, columns and the kinds of their cells.

Units are in the column names (`_s`, `_bytes`, `_per_s`; shares and ratios have none). An empty cell
was not observed or does not apply. docs/glossary.md explains every column.
"""

from __future__ import annotations

from stagebench.records import RETRIABLE_STATUSES, TASK_STATUSES
from stagebench.tables.quantities import (
    COUNT,
    EMULATED,
    NUMBER,
    PHASE,
    QUEUE,
    READING,
    ROLE,
    RUN,
    RUN_QUANTITIES,
    STAGE,
    STAGE_QUANTITIES,
    SWEEP,
    TASK,
    list_level,
)

TEXT, FLAG = "text", "flag"

OUTCOMES = (*TASK_STATUSES, "missing")
"""How a task ended, in tables as `tasks_<outcome>`; "missing" means that it has no record."""

TASK_TIME = {
    "blocked": "held back",
    "queue": "in the queue",
    "start": "start of the worker",
    "send": "hand-over to the worker",
    "held": "on a CPU with the GIL",
    "computing": "on a CPU without it",
    "gil_wait": "waiting for the GIL",
    "core_wait": "waiting for a core",
    "asleep": "blocked or asleep",
    "return": "hand-over of the result",
}
"""The parts of a task's time in a stage, from when it was due until its result was received."""

LEFT_OUT, WHAT_IF, PROFILE = "left out", "what if", "profile"
"""Kinds of predictions: of a treatment from all others, of other settings, of faster stages."""

VERDICTS = (
    "refuted",
    "contradicted by its own log",
    "inconclusive",
    "not testable here",
    "reproduced",
    "shown",
)
"""Verdicts on a claim, in the order in which the report lists them."""

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
_RATIO = {"ratio": NUMBER, "ratio_upper": NUMBER, "low": NUMBER, "high": NUMBER}
_JUDGED = {"n": COUNT, "pairing": TEXT, "margin": NUMBER, "word": TEXT}
_TESTS = ("p_difference", "p_equivalence", "p_difference_adjusted", "p_equivalence_adjusted")
_MEASURED = {"measured": NUMBER, "low": NUMBER, "high": NUMBER, "unit": TEXT, "n": COUNT}


def _kinds(level: str, *names: str) -> dict[str, str]:
    """Return the kinds of columns that are quantities of a level; without names, of all."""
    known = list_level(level)
    return {name: known[name].kind for name in names or known}


_TASK = {
    **_RUN_KEY,
    "task": COUNT,
    "stage": TEXT,
    **_kinds(TASK, "attempt"),
    "status": TEXT,
    "worker": COUNT,
    "first": FLAG,
    **{name: kind for name, kind in _kinds(TASK).items() if name != "attempt"},
    "error": TEXT,
}


TABLES: dict[str, dict[str, str]] = {
    "runs": {
        **_RUN_KEY,
        "baseline": FLAG,
        "factors": TEXT,
        "preload": TEXT,
        "arrival": TEXT,
        **_kinds(RUN, "in_flight"),
        **dict.fromkeys(("block", "position", "rank"), COUNT),
        "campaign": TEXT,
        "node": TEXT,
        "started_rank": COUNT,
        **_kinds(RUN, "overlaps"),
        "shown": FLAG,
        "status": TEXT,
        "detail": TEXT,
        "exit_code": COUNT,
        **_kinds(RUN, "time_limit_s"),
        "started_at": TEXT,
        **_kinds(RUN, "survivors", "tasks", *(f"tasks_{outcome}" for outcome in OUTCOMES)),
        **_kinds(RUN, *RUN_QUANTITIES, "sampler_interval_s", "sampler_cpu_budget"),
        **_kinds(RUN, "sweeps_held", "rss_sweeps", "sweeps_left_out", "sweeps_torn"),
        **_kinds(RUN, "reads", "reads_per_s", "read_cpu_s"),
        "census": TEXT,
        "memory_metric": TEXT,
        "memory_instrument": TEXT,
        "no_group": TEXT,
        **_kinds(RUN, *(f"cgroup_{name}_bytes" for name in ("peak", "kernel_peak", "cache"))),
        **_kinds(RUN, "swapped_bytes"),
        **_kinds(RUN, "vanished", "emulated_interval_s", "emulated_discovery_s"),
        **_kinds(
            RUN,
            *(
                f"emulated_{peak}_{part}"
                for peak in ("peak", "false_peak")
                for part in ("main_bytes", "children_bytes", "time_s", "age_s")
            ),
        ),
        **_kinds(RUN, "emulated_false_peak_ended", "emulated_false_peak_tree_bytes"),
        "quiet": FLAG,
        "not_warmed": TEXT,
        "noisy": TEXT,
    },
    "stages": {
        **_RUN_KEY,
        "stage": TEXT,
        **dict.fromkeys(("handler", "parameters", "executor", "start_method"), TEXT),
        **_kinds(STAGE, "workers"),
        "retain": FLAG,
        **_kinds(STAGE, "queue_size", "batch", "prefetch"),
        "transport": TEXT,
        **_kinds(STAGE, "timeout_s", "retries"),
        "retry_on": TEXT,
        **_kinds(STAGE, "result_bytes"),
        **_kinds(STAGE, *(f"tasks_{outcome}" for outcome in OUTCOMES)),
        **_kinds(STAGE, *(f"repeated_{status}" for status in RETRIABLE_STATUSES)),
        **_kinds(STAGE, *STAGE_QUANTITIES),
        "imported": TEXT,
    },
    "tasks": _TASK,
    "attempts": _TASK,
    "treatments": {"experiment": TEXT, "treatment": TEXT, **_SUMMARY},
    "treatment_stages": {"experiment": TEXT, "treatment": TEXT, "stage": TEXT, **_SUMMARY},
    "memory": {**_RUN_KEY, "reading": COUNT, **_kinds(READING)},
    "sweeps": {**_RUN_KEY, "sweep": COUNT, **_kinds(SWEEP)},
    "phases": {
        **_RUN_KEY,
        "phase": TEXT,
        "sweep": COUNT,
        **_kinds(PHASE),
        "pools_closed": FLAG,
    },
    "roles": {**_RUN_KEY, "role": TEXT, **_kinds(ROLE)},
    "run_nodes": {
        **_RUN_KEY,
        **dict.fromkeys(("node_number", "cores"), COUNT),
        "link_bytes_per_s": NUMBER,
        **dict.fromkeys(("processes", "workers", "tasks_served"), COUNT),
        "tasks_cpu_s": NUMBER,
        **dict.fromkeys(("peak_bytes", "peak_upper_bytes"), COUNT),
        **dict.fromkeys(("sent_bytes", "received_bytes"), COUNT),
    },
    "emulated": {**_RUN_KEY, **_kinds(EMULATED)},
    "queue_depth": {**_RUN_KEY, "stage": TEXT, **_kinds(QUEUE)},
    "environment": {"property": TEXT, "value": TEXT, "runs": COUNT, "where": TEXT, "nodes": TEXT},
    "interpreters": {
        **_RUN_KEY,
        **dict.fromkeys(("python", "version", "implementation", "build"), TEXT),
        **dict.fromkeys(("free_threaded", "gil", "jit"), FLAG),
        **dict.fromkeys(("gil_switched_on_by", "packages"), TEXT),
    },
    "warm_ups": {
        **_RUN_KEY,
        "rank": COUNT,
        "campaign": TEXT,
        "status": TEXT,
        "detail": TEXT,
        "started_at": TEXT,
        **_kinds(RUN, "own_time_s"),
    },
    "alone": {
        "experiment": TEXT,
        "pipeline": TEXT,
        **dict.fromkeys(("stage", "handler", "parameters", "status"), TEXT),
        "tasks": COUNT,
        **dict.fromkeys(("service_s", "cpu_s", "away_s"), NUMBER),
        **dict.fromkeys(("held_s", "held_least_s"), NUMBER),
        **dict.fromkeys(("gil_asks", "wakes", "pair_ratio"), NUMBER),
    },
    "diagnosed": {
        **dict.fromkeys(("experiment", "treatment", "stage"), TEXT),
        **dict.fromkeys(("task", "attempt"), COUNT),
        "status": TEXT,
        "first": FLAG,
        **dict.fromkeys(("started_s", "finished_s"), NUMBER),
        **dict.fromkeys(("blocked_s", "waiting_s", "queue_s", "start_s", "send_s"), NUMBER),
        **dict.fromkeys(("service_s", "cpu_s", "core_wait_s"), NUMBER),
        **dict.fromkeys(("voluntary_switches", "other_switches"), COUNT),
        **dict.fromkeys(("return_s", "response_s"), NUMBER),
    },
    "comparisons": {
        **_PLACE,
        "unit": TEXT,
        "baseline": TEXT,
        **dict.fromkeys(("median", "median_upper"), NUMBER),
        **dict.fromkeys(("baseline_median", "baseline_median_upper"), NUMBER),
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
    "ratios": {
        **_PLACE,
        "block": COUNT,
        "pairing": TEXT,
        **dict.fromkeys(("ratio", "ratio_upper"), NUMBER),
    },
    "winners": {
        "experiment": TEXT,
        "work": COUNT,
        **dict.fromkeys(("quantity", "unit", "end", "treatment", "winner"), TEXT),
        **dict.fromkeys(("median", "median_upper"), NUMBER),
        **_RATIO,
        **_JUDGED,
        "alike": FLAG,
    },
    "contrasts": {
        **dict.fromkeys(("experiment", "setting", "treatment", "level", "to", "to_level"), TEXT),
        **dict.fromkeys(("quantity", "unit"), TEXT),
        **dict.fromkeys(("median", "to_median"), NUMBER),
        **_RATIO,
        **_JUDGED,
    },
    "factor_effects": {
        **dict.fromkeys(("experiment", "quantity", "unit", "kind"), TEXT),
        "shown": FLAG,
        **dict.fromkeys(("factor", "level", "to_level", "within"), TEXT),
        **dict.fromkeys(("by", "by_level", "by_to_level"), TEXT),
        "pairs": COUNT,
        **_RATIO,
        **_JUDGED,
        "note": TEXT,
    },
    "drift": {
        **dict.fromkeys(("experiment", "quantity", "effect"), TEXT),
        **_RATIO,
        "n": COUNT,
        "p": NUMBER,
        "p_adjusted": NUMBER,
        "note": TEXT,
    },
    "parts": {
        **dict.fromkeys(("experiment", "treatment", "stage"), TEXT),
        "tasks": COUNT,
        **dict.fromkeys((f"{part}_s" for part in TASK_TIME), NUMBER),
        "response_s": NUMBER,
    },
    "floors": {
        **_RUN_KEY,
        "resource": TEXT,
        "stage": TEXT,
        **dict.fromkeys(("floor_s", "above"), NUMBER),
    },
    "paths": {
        **_RUN_KEY,
        "stage": TEXT,
        "part": TEXT,
        **dict.fromkeys(("path_s", "share"), NUMBER),
    },
    "limits": {
        **_RUN_KEY,
        "makespan_s": NUMBER,
        "resource": TEXT,
        "stage": TEXT,
        **dict.fromkeys(("floor_s", "above"), NUMBER),
        "is_full": FLAG,
        "others_full": TEXT,
        "cores": COUNT,
        **dict.fromkeys(("cores_used", "own_s", "lost_s"), NUMBER),
        "largest_part": TEXT,
        "largest_part_s": NUMBER,
        **dict.fromkeys(("may_be_gil", "calibrated"), FLAG),
    },
    "replays": {
        **_RUN_KEY,
        **dict.fromkeys(("measured_s", "replayed_s", "error"), NUMBER),
        "calibrated": FLAG,
    },
    "predictions": {
        "experiment": TEXT,
        "treatment": TEXT,
        **dict.fromkeys(("kind", "change"), TEXT),
        **dict.fromkeys(("measured_s", "predicted_s", "low_s", "high_s"), NUMBER),
        **dict.fromkeys(("spread", "error"), NUMBER),
        "is_within": FLAG,
        "note": TEXT,
    },
    "advice": {
        "experiment": TEXT,
        "work": COUNT,
        "treatment": TEXT,
        "makespan_s": NUMBER,
        **dict.fromkeys(("peak_bytes", "peak_upper_bytes"), COUNT),
        "of": COUNT,
        **dict.fromkeys(("tied", "front", "choice", "why"), TEXT),
        **dict.fromkeys(("predicted_s", "low_s", "high_s"), NUMBER),
        **dict.fromkeys(("next", "next_changes"), TEXT),
        **dict.fromkeys(("next_predicted_s", "next_low_s", "next_high_s"), NUMBER),
        "more": TEXT,
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
        "at_half": TEXT,
        "at_twice": TEXT,
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
        "times": TEXT,
        "over": TEXT,
        "verdict": TEXT,
        "reason": TEXT,
        **_MEASURED,
        "measured_upper": NUMBER,
        "apart": NUMBER,
        "pairing": TEXT,
        "expected": TEXT,
        "expected_low": NUMBER,
        "expected_high": NUMBER,
        "expected_from": TEXT,
        "chosen": TEXT,
        "at_half": TEXT,
        "at_twice": TEXT,
        "stated": TEXT,
        "logged": TEXT,
    },
}
"""Table → column → kind of cell. Rows are in the order of the plan."""

NODES_BETWEEN = ", "
"""What stands between the nodes of a property in the table `environment`."""

IN_BLOCKS, UNPAIRED, OTHER_CAMPAIGN = "blocks", "unpaired", "other campaign"
"""How two treatments are compared: run by run within blocks; all runs of the campaigns that both
have; all runs, if they have no campaign in common."""

LATER_TABLES = ("interpreters", "run_nodes", "published")
"""Tables that a study may lack: it was analysed before they existed, or has no published values."""

LATER_COLUMNS = {"runs": ("node",), "environment": ("nodes",)}
"""Columns that a table may lack, for the same reason; then they are empty."""

CLAIM_TABLES = ("claims", "claim_tests")
"""The tables in the folder `claims/`; all others are in `tables/`."""

REFERENCE_COLUMNS = {"experiment": TEXT, "treatment": TEXT, **_QUANTITY, "place": TEXT}
"""Columns of a file of published values, such as config/published.csv."""
