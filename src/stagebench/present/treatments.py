"""The report's tables of one experiment: workflow, treatments, stages, memory, processes."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import (
    MISSING,
    escape,
    format_bracket,
    format_number,
    format_percent,
    format_spread,
    format_table,
)
from stagebench.present.why import limit_cell
from stagebench.tables.quantities import hides_results, is_lower_end, upper_of
from stagebench.units import MIB

if TYPE_CHECKING:
    from stagebench.present.experiment import Experiment


PER_MIB = 1 / MIB
_MEMORY_COLUMNS = {
    "tree base": "tree_base_bytes",
    "tree peak": "tree_peak_bytes",
    "above base": "tree_growth_bytes",
    "main peak": "main_peak_bytes",
    "children peak": "children_peak_bytes",
    "main at it": "at_peak_main_bytes",
    "children at it": "at_peak_children_bytes",
    "main trough": "main_trough_bytes",
    "main end": "main_end_bytes",
    "largest step": "tree_largest_step_bytes",
    "anon. peak": "tree_anon_peak_bytes",
    "USS peak": "tree_uss_peak_bytes",
}
_LIMITS = {
    "queue_size": ("queue size", "unbounded"),
    "batch": ("batch", "1"),
    "transport": ("transport", "pickle"),
    "timeout_s": ("time-out s", "none"),
    "retries": ("retries", "none"),
    "retry_on": ("retried after", "any fault"),
}
"""Setting of a stage → title of its column, and what is shown where it is not set."""
_STAGE_SHARES = {
    "utilisation": "utilisation",
    "on-CPU": "on_cpu_share",
    "CPU/service": "service_cpu_share",
}
_STAGE_TIMES = {
    "service s": "service_mean_s",
    "median s": "service_median_s",
    "first s": "service_first_median_s",
    "later s": "service_later_median_s",
    "first CPU s": "cpu_first_median_s",
    "later CPU s": "cpu_later_median_s",
    "waiting s": "waiting_mean_s",
    "response p95 s": "response_p95_s",
    "pool ready s": "pool_first_ready_s",
}


def workflow_table(experiment: Experiment) -> str:
    """Describe the stages without their parameters, listing all levels of what differs."""
    limits = _used_limits(experiment.tables["stages"])
    rows = []
    for stage in experiment.stages:
        own = experiment.tables["stages"]
        own = own[own["stage"] == stage]
        executor = [
            f"{executor} ({start})" if start else executor
            for executor, start in zip(own["executor"], own["start_method"], strict=True)
        ]
        own = own.astype("object")
        cells = [own["handler"], executor, own["workers"], own["retain"]]
        cells += [_replace_missing(own[column], unset) for column, (_, unset) in limits.items()]
        rows.append([stage, *(_join_distinct(cell) for cell in cells)])
    columns = ["stage", "handler", "executor", "workers", "results retained"]
    columns += [title for title, _ in limits.values()]
    return format_table(columns, rows, texts=len(columns))


def _used_limits(stages: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the less common settings that some stage has."""
    used = {
        "queue_size": stages["queue_size"].notna(),
        "batch": stages["batch"].notna(),
        "transport": stages["transport"].map(hides_results),
        "timeout_s": stages["timeout_s"].notna(),
        "retries": stages["retries"].fillna(0) > 0,
        "retry_on": (stages["retries"].fillna(0) > 0) & (stages["retry_on"] != ""),
    }
    return {name: _LIMITS[name] for name, rows in used.items() if rows.any()}


def parameters_text(experiment: Experiment) -> list[str]:
    """List every stage's parameters; where treatments differ, every set of them."""
    stages = experiment.tables["stages"]
    texts = {
        stage: dict.fromkeys(stages.loc[stages["stage"] == stage, "parameters"])
        for stage in experiment.stages
    }
    return [
        f"`{stage}`: {'; or '.join(_format_parameters(json.loads(text)) for text in found)}"
        for stage, found in texts.items()
    ]


def factors_text(experiment: Experiment) -> str:
    """List the factors and the levels that were run."""
    levels: dict[str, dict[str, None]] = {}
    for text in experiment.tables["runs"]["factors"]:
        for factor, level in json.loads(text).items():
            levels.setdefault(factor, {})[format_level(level)] = None
    return "; ".join(
        f"{escape(factor)}: {', '.join(map(escape, found))}" for factor, found in levels.items()
    )


def limit_or_failure(experiment: Experiment, treatment: str) -> str:
    """Return what limits a treatment, or how its runs ended if none was ok."""
    if experiment.runs(treatment).empty:
        return experiment.failure_note(treatment)
    return limit_cell(experiment, treatment)


def treatments_table(experiment: Experiment, *, with_throughput: bool = True) -> str:
    """Return the main numbers of every treatment."""
    columns = [
        "treatment",
        "limited by",
        "n",
        "makespan s",
        *(["tasks/s"] if with_throughput else []),
        "CPU s",
        "main MiB",
        "children MiB",
        "tree MiB",
    ]
    rows = [
        _treatment_row(experiment, treatment, with_throughput=with_throughput)
        for treatment in experiment.listed
    ]
    return format_table(columns, rows, texts=2)


def stages_table(experiment: Experiment) -> str:
    """Return medians over the ok runs of every treatment's stages."""
    columns = ["treatment", "stage", *_STAGE_TIMES, *_STAGE_SHARES]
    rows = [
        [treatment, stage, *_stage_cells(experiment, treatment, stage)]
        for treatment in experiment.listed
        for stage in experiment.stages
        if experiment.has_stage(treatment, stage)
    ]
    return format_table(columns, rows, texts=2)


def memory_table(experiment: Experiment) -> str:
    """Return medians over the ok runs of every treatment's memory."""
    columns = ["treatment", *_MEMORY_COLUMNS, "time to peak s", "children", "sweeps"]
    rows = [
        [
            treatment,
            *(_memory_cell(experiment, treatment, name) for name in _MEMORY_COLUMNS.values()),
            *(
                format_number(experiment.median(treatment, name))
                for name in ("tree_time_to_peak_s", "most_children", "sweeps")
            ),
        ]
        for treatment in experiment.listed
    ]
    return format_table(columns, rows, texts=1)


def _treatment_row(experiment: Experiment, treatment: str, *, with_throughput: bool) -> list[str]:
    makespan = experiment.summary(treatment, "makespan_s")
    runs = experiment.runs(treatment)
    return [
        treatment,
        limit_or_failure(experiment, treatment),
        str(len(runs)),
        format_spread(makespan),
        *(
            [format_number(experiment.median(treatment, "throughput_per_s"))]
            if with_throughput
            else []
        ),
        format_number(experiment.median(treatment, "cpu_s")),
        *(
            _memory_cell(experiment, treatment, f"{part}_peak_bytes")
            for part in ("main", "children", "tree")
        ),
    ]


def peak_cell(experiment: Experiment, treatment: str) -> str:
    """Return the median peak of the tree in MiB, from its lower to its upper end."""
    return _memory_cell(experiment, treatment, "tree_peak_bytes")


def _memory_cell(experiment: Experiment, treatment: str, quantity: str) -> str:
    """Return a median in MiB; one that is known between two ends is both: "159 – 171"."""
    low = experiment.median(treatment, quantity)
    if not is_lower_end(quantity):
        return format_number(low, scale=PER_MIB)
    upper = upper_of(quantity)
    high = math.nan if upper is None else experiment.median(treatment, upper)
    return format_bracket((low, math.inf if math.isnan(high) else high), scale=PER_MIB)


def _stage_cells(experiment: Experiment, treatment: str, stage: str) -> list[str]:
    times, shares = (
        [experiment.median(treatment, quantity, stage) for quantity in some.values()]
        for some in (_STAGE_TIMES, _STAGE_SHARES)
    )
    return [*map(format_number, times), *map(format_percent, shares)]


def _replace_missing(values: Any, unset: str) -> list[Any]:
    return [unset if pd.isna(value) or value == "" else value for value in values]


def _join_distinct(values: Any) -> str:
    return ", ".join(dict.fromkeys(format_level(value) for value in values))


def _format_parameters(parameters: dict[str, Any]) -> str:
    named = (f"{escape(name)} {escape(format_level(value))}" for name, value in parameters.items())
    return ", ".join(named) or "defaults"


def format_level(value: Any) -> str:
    """Return a level of a factor or a setting as readers see it."""
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


_MEANS = {"ptrace": "ptrace", "poll": "polled"}


def census_table(experiment: Experiment) -> str:
    """Return the processes of a run by role, and how the census found them, per treatment."""
    columns = ["treatment", "census", "by role", "bounded only, by role"]
    columns += ["created", "sampled", "bounded only"]
    rows = [_row(experiment, treatment) for treatment in experiment.listed]
    return format_table(columns, rows, texts=4)


def listed_text(experiment: Experiment) -> str:
    """Say which treatments the tables leave out; "" if they have all."""
    left_out = len(experiment.treatments) - len(experiment.listed)
    if not left_out:
        return ""
    return (
        f"The tables on this page have {len(experiment.listed)} of"
        f" {len(experiment.treatments)} treatments: the baseline, the one to use, those that may be"
        " as fast or are on the front of makespan and memory, and those at both ends, as far as"
        f" there is room. All {len(experiment.treatments)} are in `tables/treatments.csv`,"
        " `tables/treatment_stages.csv`, `tables/comparisons.csv` and `tables/limits.csv`."
    )


def children_text(experiment: Experiment) -> str:
    """Report in how many runs that had worker processes their page tables were read."""
    stages, runs = experiment.tables["stages"], experiment.tables["runs"]
    processes = set(stages.loc[stages["executor"] == "process", "treatment"])
    own = runs[runs["treatment"].isin(processes) & (runs["status"] == "ok")]
    if own.empty:
        return ""
    seen = int((own["sweeps_with_workers"].fillna(0) > 0).sum())
    which = f"all {seen}" if seen == len(own) else f"{seen} of {len(own)}"
    return f"Page tables of worker processes were read in {which} runs that had any."


def is_polled(experiment: Experiment) -> bool:
    """Return whether the census of any run was polled, and so may have missed processes."""
    return bool((experiment.tables["runs"]["census"] == "poll").any())


def _row(experiment: Experiment, treatment: str) -> list[str]:
    runs = experiment.runs(treatment)
    if runs.empty:
        return [treatment, experiment.failure_note(treatment), *[MISSING] * 5]
    means = dict.fromkeys(_MEANS.get(str(name), MISSING) for name in runs["census"])
    roles = experiment.tables["roles"]
    own = roles[(roles["treatment"] == treatment) & roles["replicate"].isin(runs["replicate"])]
    return [
        treatment,
        ", ".join(means),
        _by_role(own, "created", len(runs)),
        _by_role(own, "bounded_only", len(runs)),
        *(
            format_spread(experiment.summary(treatment, f"processes_{name}"))
            for name in ("created", "sampled", "bounded_only")
        ),
    ]


def _by_role(roles: pd.DataFrame, column: str, runs: int) -> str:
    """Return the means per run, "main 1, worker 5", without roles that had no process."""
    sums = {str(role): int(own[column].sum()) for role, own in roles.groupby("role", sort=False)}
    means = [f"{role.replace('_', ' ')} {_mean(n, runs)}" for role, n in sums.items() if n]
    return ", ".join(means) or "none"


def _mean(count: int, runs: int) -> str:
    return format_number(count / runs) if count % runs else str(count // runs)
