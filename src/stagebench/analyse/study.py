"""A study's plan and run folders → all of its tables.

Runs are read and summarised in parts, by one process or several; the tables do not depend on the
number of processes. Treatments are summarised by median and spread over their replicates. Warm-up
runs have a table of their own, and are part of no estimate.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from stagebench.analyse import traces
from stagebench.analyse.advice import make_advice_table
from stagebench.analyse.comparisons import compare_treatments, contrast_treatments, find_winners
from stagebench.analyse.conditions import (
    describe_conditions,
    summarise_environment,
    summarise_interpreter,
)
from stagebench.analyse.diagnosis import (
    diagnose_treatments,
    list_treatments,
    summarise_pipelines,
)
from stagebench.analyse.drift import find_drift
from stagebench.analyse.factors import find_factor_effects
from stagebench.analyse.limits import make_limit_tables, make_parts_table
from stagebench.analyse.memory import (
    summarise_memory,
    summarise_memory_causes,
    summarise_phases,
    summarise_ready_workers,
    summarise_roles,
    summarise_sweeps,
)
from stagebench.analyse.memory_course import list_course
from stagebench.analyse.predictions import learn, make_prediction_tables
from stagebench.analyse.run_file import check_plan
from stagebench.analyse.run_nodes import summarise_nodes
from stagebench.analyse.stages import makespan_s, summarise_stages
from stagebench.analyse.summaries import SUMMARIES_FOLDER, Summary, summarise_once
from stagebench.analyse.tasks import (
    count_repeated,
    count_tasks,
    quickest_task_efficiency,
    summarise_attempts,
    summarise_tasks,
    summarise_turnaround,
    trace_queues,
)
from stagebench.analyse.traces import (
    Head,
    Request,
    Trace,
    find_folder,
    list_requests,
    list_warm_ups,
    read_head,
    read_trace,
    span_s,
)
from stagebench.blocks import read_plan
from stagebench.store import DIAGNOSIS_FOLDER, atomic_folder, canonical_json
from stagebench.tables.io import make_table, write_tables
from stagebench.tables.quantities import (
    COUNTERS,
    GROUP,
    RUN_QUANTITIES,
    STAGE_QUANTITIES,
    SWEEPS,
    unit_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Tables = Mapping[str, pd.DataFrame]
    from collections.abc import Iterator

    from numpy.typing import NDArray


Row = dict[str, Any]


RUN_KEY = ["experiment", "treatment", "replicate"]

TABLES_OF_RUNS: dict[str, Callable[[Trace], list[Row]]] = {
    "stages": summarise_stages,
    "tasks": summarise_tasks,
    "attempts": summarise_attempts,
    "memory": list_course,
    "sweeps": summarise_sweeps,
    "phases": summarise_phases,
    "roles": summarise_roles,
    "run_nodes": summarise_nodes,
    "queue_depth": trace_queues,
    "interpreters": summarise_interpreter,
}
"""Tables that have the rows of one run after those of another, so that parts can be joined."""


class AddedTables(NamedTuple):
    """What other packages add to the tables of a study.

    Functions of one run's trace make `columns` of the table of runs and the `rows` of further
    tables; they must be picklable. `whole` tables are made from all the other tables.
    """

    columns: Sequence[Callable[[Trace], Row]] = ()
    rows: Mapping[str, Callable[[Trace], list[Row]]] = {}
    whole: Mapping[str, Callable[[Tables], pd.DataFrame]] = {}


NOTHING_ADDED = AddedTables()


class Part(NamedTuple):
    """Some runs, summarised, without their records."""

    heads: list[Head]
    runs: list[Row]
    tables: dict[str, pd.DataFrame]


def summarise_study(
    plan: dict[str, Any],
    raw: Path,
    processes: int = 1,
    added: AddedTables = NOTHING_ADDED,
    code: str = "",
) -> dict[str, pd.DataFrame]:
    """Make the tables of a study that follow from its plan, from `raw` and from what is `added`.

    They do not depend on the number of `processes` that share the work, nor on what is kept of
    earlier analyses by the same `code`. The runs that diagnose are in a folder beside `raw`. Raises
    StoreError with the run folder that is missing or unreadable.
    """
    summarise = partial(summarise_part, raw=raw, added=added, code=code)
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
        **summarise_diagnoses(plan, raw.with_name(DIAGNOSIS_FOLDER), processes),
    }


def summarise_diagnoses(
    plan: dict[str, Any], folder: Path, processes: int
) -> dict[str, pd.DataFrame]:
    """Make the tables of the runs that diagnose, which are in no other table."""
    parts = map_parts(partial(diagnose_treatments, folder=folder), list_treatments(plan), processes)
    return {
        "alone": make_table("alone", summarise_pipelines(plan, folder)),
        "diagnosed": make_table("diagnosed", [row for rows in parts for row in rows]),
    }


def summarise_part(
    requests: Sequence[Request],
    raw: Path,
    added: AddedTables = NOTHING_ADDED,
    code: str = "",
) -> Part:
    """Summarise some runs, one after another; keep what a run leads to if `code` is known."""
    heads, runs = [], []
    rows: dict[str, list[Row]] = {name: [] for name in (*TABLES_OF_RUNS, *added.rows)}
    for request in requests:
        head = read_head(request, raw)
        summarise = partial(summarise_trace, request, raw, added)
        if code:
            folder = find_folder(request, raw)
            kept = raw.with_name(SUMMARIES_FOLDER) / folder.relative_to(raw)
            summary = summarise_once(head, folder, kept, code, summarise)
        else:
            summary = summarise()
        # What was written to its files is checked, and takes much memory.
        run = {name: value for name, value in head.run.items() if name != "files"}
        heads.append(Head(planned=head.planned, baseline=head.baseline, run=run))
        runs.append(summary.run)
        for name, own in summary.tables.items():
            rows[name] += own
    return Part(heads, runs, {name: make_table(name, own) for name, own in rows.items()})


def summarise_trace(request: Request, raw: Path, added: AddedTables) -> Summary:
    """Read the records of a run, and summarise them."""
    trace = read_trace(request, raw)
    tables = {**TABLES_OF_RUNS, **added.rows}
    own = {name: summarise(trace) for name, summarise in tables.items()}
    return Summary(summarise_run(trace, added.columns), own)


def summarise_run(trace: Trace, columns: Sequence[Callable[[Trace], Row]] = ()) -> Row:
    """Return the row of a run, without the columns that depend on other runs."""
    tasks = count_tasks(trace)
    row = (
        _run_facts(trace)
        | tasks
        | count_repeated(trace)
        | _run_times(trace, tasks["tasks_ok"])
        | summarise_turnaround(trace)
        | summarise_memory_causes(trace)
        | summarise_memory(trace)  # what readings bound replaces what sweeps show
        | summarise_ready_workers(trace)
        | _sampler_and_noise(trace)
        | _cgroup(trace)
        | {"swapped_bytes": _most_swapped(trace)}
        | describe_conditions(trace.run)
    )
    for make in columns:
        row |= make(trace)
    return row


def compare_runs(heads: list[Head], rows: list[Row]) -> list[Row]:
    """Add to the rows of all runs the columns that depend on other runs."""
    pairs = zip(heads, rows, strict=True)
    makespans = [row["makespan_s"] if head.is_ok else None for head, row in pairs]
    between: dict[str, Sequence[float | None]] = {
        "started_rank": traces.started_ranks(heads),
        "overlaps": traces.count_overlaps(heads),
        "shown": traces.choose_shown(heads, makespans),
        "makespan_ratio": traces.makespan_ratios(heads, makespans),
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
        "node": trace.node,
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
    waits = run["lock_wait_s"] + run["quiet"]["waited_s"] + run["warmed"]["took_s"]
    return float(whole - own - waits)


def _cgroup(trace: Trace) -> Row:
    charged = trace.run["cgroup"]
    names = ("peak_bytes", "kernel_peak_bytes", "cache_bytes")
    return {f"cgroup_{name}": charged.get(name) for name in names}


def _most_swapped(trace: Trace) -> int | None:
    """Return the most memory that was seen swapped out, by group or in a sweep; None if unknown."""
    sweeps: Counter[int] = Counter()
    for sample in trace.samples:
        if sample.swap_bytes is not None:
            sweeps[sample.sweep] += sample.swap_bytes
    seen = [trace.run["cgroup"].get("swap_bytes"), *sweeps.values()]
    return max((size for size in seen if size is not None), default=None)


def _sampler_and_noise(trace: Trace) -> Row:
    sampler, noise, census = (trace.run[name] for name in ("sampler", "noise", "census"))
    own_s = span_s(trace.run["exec_ns"], trace.run["exited_ns"])
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
        "reads": sampler["reads"],
        "reads_per_s": sampler["reads"] / own_s if own_s else None,
        "read_cpu_s": sampler["read_cpu_s"],
        "census": census["means"],
        "memory_metric": sampler["metric"],
        "memory_instrument": _find_instrument(sampler),
        "no_group": sampler["group_failure"] or trace.run["cgroup"].get("reason"),
        "processes_created": census["created"],
        "processes_sampled": census["sampled"],
        "processes_bounded_only": census["bounded_only"],
        "vanished": sampler["vanished"],
        "load_before": noise["load_before"],
        "load_after": noise["load_after"],
        "steal_share": noise["steal_share"],
        "others_cpu_share": noise["others_cpu_share"],
    }


def _find_instrument(sampler: Mapping[str, Any]) -> str:
    """Name the instrument of a whole run: a group that was taken away is not its instrument."""
    if sampler["group_drift_bytes"] is not None and sampler["group_failure"] is None:
        return GROUP
    return COUNTERS if sampler["reads"] else SWEEPS


def summarise_treatments(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise the quantities of runs: median, minimum, maximum and number of ok runs."""
    return _summarise("treatments", runs, ["experiment", "treatment"], RUN_QUANTITIES)


def summarise_treatment_stages(stages: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise the quantities of stages over the ok runs of each treatment."""
    key = ["experiment", "treatment", "replicate"]
    stages = stages.merge(runs[[*key, "status"]], on=key, how="left", validate="many_to_one")
    group = ["experiment", "treatment", "stage"]
    return _summarise("treatment_stages", stages, group, STAGE_QUANTITIES)


def _summarise(
    name: str,
    values: pd.DataFrame,
    group: list[str],
    quantities: Sequence[str],
) -> pd.DataFrame:
    rows = []
    all_values = values[list(quantities)].astype("float64").to_numpy()
    is_ok = (values["status"] == "ok").to_numpy()
    keys = [values[column].to_numpy() for column in group]
    # Rows are in the order of the plan; a treatment without an ok run keeps its rows, with n = 0.
    for key, members in pd.Series(range(len(values))).groupby(keys, sort=False):
        found = dict(zip(group, key, strict=True))
        places = members.to_numpy()
        columns = zip(quantities, all_values[places[is_ok[places]]].T, strict=True)
        rows += [found | _statistics(quantity, column) for quantity, column in columns]
    return make_table(name, rows)


def _statistics(quantity: str, values: NDArray[np.float64]) -> dict[str, object]:
    known = values[~np.isnan(values)]
    found = (
        {"median": np.median(known), "min": known.min(), "max": known.max()} if len(known) else {}
    )
    return {"quantity": quantity, "unit": unit_of(quantity), **found, "n": len(known)}


Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_PART = 16
"""The most runs in a part: every process holds the rows of as many runs at once."""


def map_parts(
    work: Callable[[Sequence[Item]], Result], items: Sequence[Item], processes: int
) -> list[Result]:
    """Return the result of `work` for every part of the items, in their order.

    With several processes, `work`, its arguments and its results are pickled.
    """
    parts = divide(items, processes)
    if processes == 1 or len(parts) <= 1:
        return [work(part) for part in parts]
    # By spawn, because the libraries of the analysis may have threads, which a fork would lose.
    # Ctrl-C reaches all processes: these end silently, and the first one reports it.
    with ProcessPoolExecutor(
        min(processes, len(parts)),
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    ) as pool:
        return list(pool.map(work, parts))


def divide(items: Sequence[Item], processes: int) -> list[Sequence[Item]]:
    """Cut the items into parts, at least one per process if there are enough items."""
    size = max(1, min(LARGEST_PART, -(-len(items) // processes)))
    return [items[start : start + size] for start in range(0, len(items), size)]


def summarise_warm_ups(plan: dict[str, Any], raw: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per warm-up, in the order of the plan; raises StoreError as for other runs."""
    for request in list_warm_ups(plan):
        head = read_head(request, raw)
        run = head.run
        yield {
            **head.key,
            "rank": head.planned["rank"],
            **{name: run[name] for name in ("campaign", "status", "detail", "started_at")},
            "own_time_s": span_s(run["exec_ns"], run["exited_ns"]),
        }


def judge_study(tables: Tables, plan: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Make the tables that compare runs with each other, from those of runs and stages."""
    runs, stages = tables["runs"], tables["stages"]
    return compare_treatments(tables, plan) | {
        "winners": find_winners(runs, plan),
        "contrasts": contrast_treatments(runs, plan),
        "factor_effects": find_factor_effects(runs, stages, plan),
        "drift": find_drift(runs),
    }


def explain_study(tables: Tables, plan: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Make the tables that say what limits treatments, what would help, and what to choose."""
    knowledge = learn(tables, plan)
    advice = make_advice_table(knowledge, tables["runs"], plan)
    return {
        "parts": make_parts_table(tables, plan),
        **make_limit_tables(knowledge.runs),
        **make_prediction_tables(knowledge, advice),
        "advice": advice,
    }


RUNS_PER_PROCESS = 32
"""With fewer runs, another process takes longer to start than it saves."""


def analyse_study(
    plan: Path,
    raw: Path,
    out: Path,
    processes: int | None = None,
    added: AddedTables = NOTHING_ADDED,
    code: str = "",
) -> None:
    """Write all tables of a study into the folder `out`, replacing it.

    `processes` is the largest number of processes that share the work; by default the number of
    usable cores. What is read of a run is kept for the next analysis by the same `code`.
    """
    planned = read_plan(plan, check_plan)
    most = processes or len(os.sched_getaffinity(0))
    useful = len(planned["runs"]) // RUNS_PER_PROCESS
    tables = summarise_study(planned, raw, max(1, min(most, useful)), added, code)
    tables |= judge_study(tables, planned)
    tables |= explain_study(tables, planned)
    tables |= {name: make(tables) for name, make in added.whole.items()}
    with atomic_folder(out) as folder:
        write_tables(tables, folder)
