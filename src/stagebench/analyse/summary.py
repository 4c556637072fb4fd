"""Run folders → tables: one row per run, and the tables that follow from it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from stagebench.analyse import schedule
from stagebench.analyse.aggregate import summarise_treatment_stages, summarise_treatments
from stagebench.analyse.environment import summarise_environment
from stagebench.analyse.memory import summarise_memory, summarise_sweeps
from stagebench.analyse.memory_causes import summarise_memory_causes
from stagebench.analyse.noise import describe_conditions
from stagebench.analyse.outcomes import count_repeated, count_tasks
from stagebench.analyse.parts import map_parts
from stagebench.analyse.phases import summarise_phases
from stagebench.analyse.queue_depth import trace_queues
from stagebench.analyse.quickest import quickest_task_efficiency
from stagebench.analyse.roles import summarise_ready_workers, summarise_roles
from stagebench.analyse.stages import makespan_s, summarise_stages
from stagebench.analyse.tasks import summarise_attempts, summarise_tasks
from stagebench.analyse.traces import Head, Request, Trace, list_requests, read_trace, span_s
from stagebench.analyse.turnaround import summarise_turnaround
from stagebench.analyse.warm_ups import summarise_warm_ups
from stagebench.store import canonical_json
from stagebench.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Tables = Mapping[str, pd.DataFrame]

Row = dict[str, Any]


RUN_KEY = ["experiment", "treatment", "replicate"]

TABLES_OF_RUNS: dict[str, Callable[[Trace], list[Row]]] = {
    "stages": summarise_stages,
    "tasks": summarise_tasks,
    "attempts": summarise_attempts,
    "memory": summarise_sweeps,
    "phases": summarise_phases,
    "roles": summarise_roles,
    "queue_depth": trace_queues,
}
"""Tables that are a run's rows, then the next run's: those of many runs are made apart."""


class AddedTables(NamedTuple):
    """What other packages add to the tables of a study.

    `columns` of the table of runs, and the `rows` of further tables, are made from one run's trace
    each, by functions that can be pickled; `whole` tables are made of all the others.
    """

    columns: Sequence[Callable[[Trace], Row]] = ()
    rows: Mapping[str, Callable[[Trace], list[Row]]] = {}
    whole: Mapping[str, Callable[[Tables], pd.DataFrame]] = {}


NOTHING_ADDED = AddedTables()


class Part(NamedTuple):
    """Some runs summarised; of their records nothing is kept."""

    heads: list[Head]
    runs: list[Row]
    tables: dict[str, pd.DataFrame]


def summarise_study(
    plan: dict[str, Any], raw: Path, processes: int = 1, added: AddedTables = NOTHING_ADDED
) -> dict[str, pd.DataFrame]:
    """Make all tables of a study that follow from `raw` and its plan, and what is `added` to them.

    They do not depend on the number of `processes` that share the work.
    Raises StoreError naming the run folder that is missing or unreadable.
    """
    summarise = partial(summarise_part, raw=raw, added=added)
    parts = map_parts(summarise, list_requests(plan), processes)
    heads = [head for part in parts for head in part.heads]
    rows = [row for part in parts for row in part.runs]
    runs = make_table("runs", compare_runs(heads, rows))
    tables = {
        name: pd.concat([part.tables[name] for part in parts], ignore_index=True)
        for name in (*TABLES_OF_RUNS, *added.rows)
    }
    shown = runs.loc[runs["shown"], RUN_KEY]
    return tables | {
        "runs": runs,
        "treatments": summarise_treatments(runs),
        "treatment_stages": summarise_treatment_stages(tables["stages"], runs),
        "queue_depth": tables["queue_depth"].merge(shown, on=RUN_KEY),
        "environment": make_table("environment", summarise_environment(heads)),
        "warm_ups": make_table("warm_ups", summarise_warm_ups(plan, raw)),
    }


def summarise_part(requests: Sequence[Request], raw: Path, added: AddedTables) -> Part:
    """Read and summarise some runs, one after the other."""
    heads, runs = [], []
    tables = {**TABLES_OF_RUNS, **added.rows}
    rows: dict[str, list[Row]] = {name: [] for name in tables}
    for request in requests:
        trace = read_trace(request, raw)
        heads.append(trace.head)
        runs.append(summarise_run(trace, added.columns))
        for name, summarise in tables.items():
            rows[name] += summarise(trace)
    return Part(heads, runs, {name: make_table(name, own) for name, own in rows.items()})


def summarise_run(trace: Trace, columns: Sequence[Callable[[Trace], Row]] = ()) -> Row:
    """Give the row of a run, without what takes other runs to tell."""
    tasks = count_tasks(trace)
    row = (
        _run_facts(trace)
        | tasks
        | count_repeated(trace)
        | _run_times(trace, tasks["tasks_ok"])
        | summarise_turnaround(trace)
        | summarise_memory(trace)
        | summarise_memory_causes(trace)
        | summarise_ready_workers(trace)
        | _sampler_and_noise(trace)
        | _cgroup(trace)
        | describe_conditions(trace.run)
    )
    for make in columns:
        row |= make(trace)
    return row


def compare_runs(heads: list[Head], rows: list[Row]) -> list[Row]:
    """Add to the rows of all runs what they are to one another."""
    pairs = zip(heads, rows, strict=True)
    makespans = [row["makespan_s"] if head.is_ok else None for head, row in pairs]
    between: dict[str, Sequence[float | None]] = {
        "started_rank": schedule.started_ranks(heads),
        "overlaps": schedule.count_overlaps(heads),
        "shown": schedule.choose_shown(heads, makespans),
        "makespan_ratio": schedule.makespan_ratios(heads, makespans),
    }
    return [
        row | {name: values[index] for name, values in between.items()}
        for index, row in enumerate(rows)
    ]


def _run_facts(trace: Trace) -> Row:
    planned = {name: trace.planned[name] for name in ("block", "position", "rank")}
    arrival = trace.specification.get("arrival")
    names = ("campaign", "status", "detail", "exit_code", "time_limit_s", "started_at", "survivors")
    return {
        **trace.key,
        **planned,
        "campaign": trace.run.get("campaign"),
        "baseline": trace.baseline,
        "factors": canonical_json(trace.specification["factors"]),
        "preload": ", ".join(trace.specification["process"]["preload"]),
        "arrival": None if arrival is None else canonical_json(arrival),
        "in_flight": trace.specification.get("in_flight"),
        **{name: trace.run[name] for name in names},
    }


def _run_times(trace: Trace, tasks_ok: int) -> Row:
    run = trace.run
    makespan = makespan_s(trace)
    own = span_s(run["exec_ns"], run["exited_ns"])
    user, system = run["cpu_user_s"], run["cpu_system_s"]
    return {
        "makespan_s": makespan,
        "throughput_per_s": tasks_ok / makespan if makespan else None,
        "own_time_s": own,
        "start_up_s": span_s(run["exec_ns"], trace.events.get("ready")),
        "supervisor_overhead_s": _overhead_s(run, own),
        "lock_wait_s": run["lock_wait_s"],
        "cpu_s": None if user is None or system is None else user + system,
        "cpu_user_s": user,
        "cpu_system_s": system,
        "quickest_task_efficiency": quickest_task_efficiency(trace),
    }


def _overhead_s(run: Row, own: float | None) -> float | None:
    whole = span_s(run["supervisor_started_ns"], run["supervisor_ended_ns"])
    if whole is None or own is None or run["lock_wait_s"] is None:
        return None
    return float(whole - own - run["lock_wait_s"] - run["quiet"]["waited_s"])


def _cgroup(trace: Trace) -> Row:
    charged = trace.run["cgroup"]
    names = ("peak_bytes", "kernel_peak_bytes", "cache_bytes")
    return {f"cgroup_{name}": charged.get(name) for name in names}


def _sampler_and_noise(trace: Trace) -> Row:
    sampler, noise, census = (trace.run[name] for name in ("sampler", "noise", "census"))
    return {
        "sampler_interval_s": sampler["interval_s"],
        "sampler_cpu_budget": sampler["cpu_budget"],
        "sampler_cpu_s": sampler["cpu_s"],
        "census_cpu_s": sampler["census_cpu_s"],
        "sampler_median_gap_s": sampler["median_gap_s"],
        "sampler_p99_gap_s": sampler["p99_gap_s"],
        "sampler_longest_gap_s": sampler["longest_gap_s"],
        "sweeps_held": sampler["held"],
        "rss_sweeps": sampler["rss_sweeps"],
        "sweeps_left_out": sampler["left_out"],
        "sweeps_torn": sampler["torn"],
        "census": census["means"],
        "memory_metric": sampler["metric"],
        "processes_created": census["created"],
        "processes_sampled": census["sampled"],
        "processes_bounded_only": census["bounded_only"],
        "vanished": sampler["vanished"],
        "load_before": noise["load_before"],
        "load_after": noise["load_after"],
        "steal_share": noise["steal_share"],
        "others_cpu_share": noise["others_cpu_share"],
    }
