"""How far the measurements can be trusted: failures, order, overlap, noise, overhead, sampler."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from stagebench.present.markdown import (
    count_noun,
    format_number,
    format_percent,
    format_table,
)
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_NOISE = {
    "idle before": "idle_before_share",
    "load before": "load_before",
    "load after": "load_after",
    "CPU stolen by the host": "steal_share",
    "CPU used by others": "others_cpu_share",
    "times throttled": "throttled",
    "time with tasks waiting for a CPU": "pressure_cpu_share",
    "time with tasks waiting for memory": "pressure_memory_share",
    "time with tasks waiting for a disk": "pressure_io_share",
    "context switches of the machine": "machine_context_switches",
    "voluntary context switches of the run": "context_switches_voluntary",
    "involuntary context switches of the run": "context_switches_involuntary",
}
_OVERHEAD = {
    "own time of the measured process s": "own_time_s",
    "start-up of the measured process s": "start_up_s",
    "supervisor beside it s": "supervisor_overhead_s",
    "wait for other measurements s": "lock_wait_s",
    "wait for a quiet machine s": "quiet_wait_s",
}
_SAMPLER = {
    "planned interval s": "sampler_interval_s",
    "median gap s": "sampler_median_gap_s",
    "99th percentile of gaps s": "sampler_p99_gap_s",
    "longest gap s": "sampler_longest_gap_s",
    "sweeps of PSS": "sweeps",
    "of them held": "sweeps_held",
    "of them torn": "sweeps_torn",
    "sweeps of counters between them": "rss_sweeps",
    "sweeps left out for the budget": "sweeps_left_out",
    "CPU budget, share of a core": "sampler_cpu_budget",
    "CPU time of sampler and census s": "sampler_cpu_s",
    "CPU time of the census s": "census_cpu_s",
    "processes created": "processes_created",
    "processes sampled": "processes_sampled",
    "processes bounded only": "processes_bounded_only",
}


def failures_table(runs: pd.DataFrame) -> str:
    """List the runs that did not end ok; an empty text when all did."""
    failed = runs[runs["status"] != "ok"]
    if failed.empty:
        return ""
    columns = ["experiment", "treatment", "status", "detail", "replicate", "tasks ok"]
    rows = [
        [
            str(row["experiment"]),
            str(row["treatment"]),
            str(row["status"]),
            str(row["detail"]),
            str(row["replicate"]),
            f"{row['tasks_ok']} of {row['tasks']}",
        ]
        for _, row in failed.iterrows()
    ]
    return format_table(columns, rows, texts=4)


def task_errors(tasks: pd.DataFrame) -> list[str]:
    """Count the distinct errors that handlers raised: "3 × ValueError: …"."""
    counts = tasks.loc[tasks["error"] != "", "error"].value_counts()
    return [f"{count} × `{str(error).replace('`', '')}`" for error, count in counts.items()]


def order_text(runs: pd.DataFrame) -> str:
    """Compare the planned order of the runs with that of their starts."""
    planned = list(runs.sort_values("started_rank")["rank"])
    late = sum(later < earlier for earlier, later in pairwise(planned))
    if late == 0:
        return f"All {count_noun(len(planned), 'run')} started in the planned random order."
    return (
        f"{late} of {count_noun(len(planned), 'run')} started after a run that was planned to come"
        " later: a part of the study was measured at another time than the rest."
    )


def overlap_text(runs: pd.DataFrame) -> str:
    """Say whether any two measured processes lived at once."""
    known = runs["overlaps"].dropna()
    meeting = int((known > 0).sum())
    if meeting:
        return f"**{count_noun(meeting, 'run')} overlapped another one: do not trust their times.**"
    unknown = len(runs) - len(known)
    rest = f"; unknown for {unknown}" if unknown else ""
    return f"No two of {count_noun(len(known), 'run')} were measured at the same time{rest}."


def survivors_text(runs: pd.DataFrame) -> str:
    """Say whether runs left processes behind that had to be ended."""
    left = runs["survivors"].fillna(0)
    if not left.any():
        return "No run left a process behind."
    return f"{count_noun(int((left > 0).sum()), 'run')} left processes behind, which were ended."


def totals_text(runs: pd.DataFrame) -> str:
    """Compare the time that the supervisors took with the runs' own times."""
    columns = ["own_time_s", "supervisor_overhead_s"]
    known = runs[columns].dropna().astype("float64").sum()
    own, beside = known["own_time_s"], known["supervisor_overhead_s"]
    if not own:
        return "The runs' own times are not known."
    return (
        f"The runs' own times add up to {format_seconds(own)}; supervisors added"
        f" {format_seconds(beside)} ({format_percent(beside / own)})."
    )


def noise_table(runs: pd.DataFrame) -> str:
    """Give median and maximum of the noise around the runs, per experiment."""
    return _extremes_table(runs, _NOISE)


def overhead_table(runs: pd.DataFrame) -> str:
    """Give median and maximum of what surrounds the workflow, per experiment."""
    return _extremes_table(runs, _OVERHEAD)


def sampler_table(runs: pd.DataFrame) -> str:
    """Give median and maximum of the sampler's numbers, per experiment."""
    return _extremes_table(runs, _SAMPLER)


def metric_text(runs: pd.DataFrame) -> str:
    """Say by which metric memory was read where it was not PSS; an empty text where it was."""
    others = sorted(set(runs["memory_metric"]) - {"pss", ""})
    if not others:
        return ""
    known = {"uss": "USS (what is a process's own)", "rss": "RSS (shared pages in every process)"}
    told = " and ".join(known[metric] for metric in others)
    return f"**PSS was not to be had in some runs: where this report says PSS, theirs is {told}.**"


def cgroup_text(runs: pd.DataFrame) -> str:
    """Compare the peaks that control groups were charged with, with the anonymous part of ours."""
    columns = ["cgroup_peak_bytes", "cgroup_cache_bytes", "tree_anon_peak_bytes"]
    known = runs[columns].dropna().astype("float64")
    if known.empty:
        return "No control group could be made around the runs: the kernel gives no cross-check."
    peak, cache, anonymous = (known[column] for column in columns)
    below = int((peak < anonymous).sum())
    ratio = format_number(_median((peak - cache) / anonymous))
    of = count_noun(len(known), "run")
    if below:
        return (
            f"**In {below} of {of} a control group was charged with less than the anonymous memory"
            " that we say was there: one of the two is wrong.**"
        )
    return (
        f"In all of {of} a control group was charged with at least the anonymous memory that we say"
        f" was there. Less its page cache, its peak was {ratio} times that in the median: the rest"
        " is kernel memory, and what no sweep saw."
    )


def vanished_text(runs: pd.DataFrame) -> str:
    """Say how often a process ended while a sweep was reading it."""
    vanished, sweeps = int(runs["vanished"].fillna(0).sum()), int(runs["sweeps"].fillna(0).sum())
    return f"In {count_noun(sweeps, 'sweep')}, {vanished} times a process ended while it was read."


def _extremes_table(runs: pd.DataFrame, quantities: Mapping[str, str]) -> str:
    experiments = list(dict.fromkeys(runs["experiment"]))
    columns = ["", *(f"{name} {kind}" for name in experiments for kind in ("median", "maximum"))]
    rows = []
    for label, quantity in quantities.items():
        cells = [label]
        for name in experiments:
            values = runs.loc[runs["experiment"] == name, quantity].astype("float64")
            cells += [format_number(_median(values)), format_number(values.max())]
        rows.append(cells)
    return format_table(columns, rows, texts=1)


def _median(values: pd.Series[float]) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else float("nan")
