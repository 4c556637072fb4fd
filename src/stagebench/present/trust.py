"""How far the measurements can be trusted: failures, order, noise, overhead, and the machine.

Each function returns a table or sentences of the report, empty if there is nothing to report.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stagebench.present.alike import cut_off
from stagebench.present.markdown import (
    MISSING,
    count_noun,
    escape,
    format_number,
    format_percent,
    format_table,
    quote_code,
    show_line,
)
from stagebench.tables.io import find_failed, find_unsupported, list_rows
from stagebench.tables.quantities import COUNTERS, GROUP, INSTRUMENTS, SWEEPS
from stagebench.tables.schema import NODES_BETWEEN, OUTCOMES
from stagebench.units import format_bytes, format_seconds

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
    "touching memory before it s": "warm_s",
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
    "readings of the tree's total": "reads",
    "readings per second": "reads_per_s",
    "CPU time of these readings s": "read_cpu_s",
    "CPU budget, share of a core": "sampler_cpu_budget",
    "CPU time of sampler and census s": "sampler_cpu_s",
    "CPU time of the census s": "census_cpu_s",
    "processes created": "processes_created",
    "processes sampled": "processes_sampled",
    "processes bounded only": "processes_bounded_only",
}


def failures_table(runs: pd.DataFrame) -> str:
    """List the runs that did not succeed; "" if all did."""
    failed = find_failed(runs)
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


def unsupported_table(runs: pd.DataFrame) -> str:
    """List the treatments that cannot run here, with the reason; "" if all can."""
    columns = ["experiment", "treatment", "reason"]
    rows = [
        [str(row[name]) for name in ("experiment", "treatment", "detail")]
        for _, row in find_unsupported(runs).iterrows()
    ]
    return format_table(columns, rows, texts=3) if rows else ""


MOST_FAILED = 10
"""Of more treatments that failed than this, the others are counted."""

MOST_ERROR = 120
"""Characters of an error that is shown before any table."""


def failure_lines(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Name the treatments with runs that failed, each with its first error."""
    runs = tables["runs"]
    failed = find_failed(runs)
    key = ["experiment", "treatment"]
    made = Counter(zip(runs["experiment"], runs["treatment"], strict=True))
    firsts = failed.drop_duplicates(key)
    lines = []
    for _, first in firsts.head(MOST_FAILED).iterrows():
        name, treatment = place = (first["experiment"], first["treatment"])
        own = failed[(failed["experiment"] == name) & (failed["treatment"] == treatment)]
        ended = ", ".join(f"{status} × {n}" for status, n in Counter(own["status"]).items())
        lines.append(
            f"{quote_code(treatment)} of {quote_code(name)}: {len(own)} of"
            f" {count_noun(made[place], 'run')} failed ({escape(ended)}). First error:"
            f" {quote_code(find_error(tables, first))}"
        )
    if more := len(firsts) - len(lines):
        lines.append(
            f"And {count_noun(more, 'more treatment')}: [failures](report/trust.md#failures)"
        )
    return lines


def find_error(tables: Mapping[str, pd.DataFrame], run: pd.Series[Any]) -> str:
    """Return the first error of a run in one short line: of a task, or of the run itself."""
    tasks = tables["tasks"]
    own = tasks["error"] != ""
    for name in ("experiment", "treatment", "replicate"):
        own &= tasks[name] == run[name]
    errors = tasks.loc[own, "error"]
    text = str(errors.iloc[0]) if len(errors) else str(run["detail"] or run["status"])
    return cut_off(show_line(text[: 10 * MOST_ERROR]).replace("`", "'"), MOST_ERROR)


MOST_ERRORS = 100
"""Of more different errors than this, the others are counted."""


def task_errors(tasks: pd.DataFrame) -> list[str]:
    """Count the distinct errors of handlers: "3 × ValueError: …"."""
    counts = tasks.loc[tasks["error"] != "", "error"].value_counts()
    lines = [f"{count} × {quote_code(error)}" for error, count in counts.head(MOST_ERRORS).items()]
    more = len(counts) - len(lines)
    return [*lines, f"and {count_noun(more, 'other error')}"] if more else lines


def order_text(runs: pd.DataFrame) -> str:
    """Compare the planned order of the runs with the order of their starts."""
    late = _count_late(runs)
    if late == 0:
        on_each = " on each node" if count_run_nodes(runs) > 1 else ""
        return f"All {count_noun(len(runs), 'run')} started in the planned random order{on_each}."
    return (
        f"{late} of {count_noun(len(runs), 'run')} started after a run that was planned to come"
        " later: part of the study was measured at another time than the rest."
    )


def _count_late(runs: pd.DataFrame) -> int:
    """Count the runs that started after a later one of their node: nodes work side by side."""
    started = runs.sort_values("started_rank")
    return sum(
        later < earlier
        for _, own in started.groupby("node")
        for earlier, later in pairwise(own["rank"])
    )


def overlap_text(runs: pd.DataFrame) -> str:
    """Report whether any two measured processes were alive at the same time."""
    known = runs["overlaps"].dropna()
    meeting = int((known > 0).sum())
    if meeting:
        return f"**{count_noun(meeting, 'run')} overlapped another one: do not trust their times.**"
    unknown = len(runs) - len(known)
    rest = f"; unknown for {unknown}" if unknown else ""
    there = " on one node" if count_run_nodes(runs) > 1 else ""
    return f"No two of {count_noun(len(known), 'run')} were measured at the same time{there}{rest}."


def list_doubts(runs: pd.DataFrame) -> list[str]:
    """Report what makes the measurements doubtful, if anything does."""
    doubts = [swap_text(runs), metric_text(runs)]
    if _count_late(runs):
        doubts.append(order_text(runs))
    if (runs["overlaps"].fillna(0) > 0).any():
        doubts.append(overlap_text(runs))
    return [text for text in doubts if text]


def estimate_block(runs: pd.DataFrame) -> float:
    """Return how many seconds one more block takes: each treatment's mean, added up."""
    parts = ["own_time_s", "supervisor_overhead_s", "quiet_wait_s", "warm_s"]
    each = runs[parts].astype("float64").fillna(0.0).sum(axis=1)
    return float(each.groupby([runs["experiment"], runs["treatment"]]).mean().sum())


def survivors_text(runs: pd.DataFrame) -> str:
    """Report whether runs left processes behind that had to be ended."""
    left = runs["survivors"].fillna(0)
    if not left.any():
        return "No run left a process behind."
    return f"{count_noun(int((left > 0).sum()), 'run')} left processes behind, which were ended."


def totals_text(runs: pd.DataFrame) -> str:
    """Compare the time that the supervisors added with the runs' own times."""
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
    """Return median and maximum of the noise around the runs, per experiment."""
    return _extremes_table(runs, _NOISE)


def overhead_table(runs: pd.DataFrame) -> str:
    """Return median and maximum of the time spent around the workflow, per experiment."""
    return _extremes_table(runs, _OVERHEAD)


def sampler_table(runs: pd.DataFrame) -> str:
    """Return median and maximum of the sampler's numbers, per experiment."""
    return _extremes_table(runs, _SAMPLER)


def metric_text(runs: pd.DataFrame) -> str:
    """Warn if memory was read by another metric than PSS in some runs; "" otherwise."""
    others = sorted(set(runs["memory_metric"]) - {"pss", ""})
    if not others:
        return ""
    known = {"uss": "USS (a process's own pages)", "rss": "RSS (shared pages in every process)"}
    used = " and ".join(known[metric] for metric in others)
    return f"**PSS was not available in some runs: where this report says PSS, theirs is {used}.**"


_INSTRUMENTS = {
    GROUP: "a control group counted the memory of the whole tree",
    COUNTERS: "the counters of single processes were read",
    SWEEPS: "memory was read in sweeps alone",
}


def instrument_text(runs: pd.DataFrame) -> str:
    """Report how the tree's memory was read, how often, at which cost, and why not by a group."""
    known = runs[runs["memory_instrument"].isin(INSTRUMENTS)]
    sentences = []
    for instrument, what in _INSTRUMENTS.items():
        own = known[known["memory_instrument"] == instrument]
        if not own.empty:
            sentences.append(f"In {_share_of(own, runs)} {what}{_rate_text(own)}.")
    if (known["memory_instrument"] != GROUP).any():
        sentences.append(
            "Without a control group, what comes and goes between two readings makes brackets"
            " wide, and shared memory counts only while it is mapped."
        )
    reasons = known.loc[known["no_group"] != "", "no_group"].value_counts()
    if len(reasons):
        listed = "; ".join(
            f"{quote_code(reason)} ({count_noun(n, 'run')})" for reason, n in reasons.items()
        )
        sentences.append(f"Why there was no control group: {listed}.")
    return " ".join(sentences)


def _share_of(own: pd.DataFrame, runs: pd.DataFrame) -> str:
    of = count_noun(len(runs), "run")
    return f"all {of}" if len(own) == len(runs) else f"{len(own)} of {of}"


def _rate_text(runs: pd.DataFrame) -> str:
    """Return the readings per second and what they cost; "" if there were none."""
    rates, costs, lives = (
        runs[name].astype("float64") for name in ("reads_per_s", "read_cpu_s", "own_time_s")
    )
    if not (rates > 0).any():
        return ""
    return (
        f", {format_number(_median(rates))} times a second in the median"
        f" ({format_number(rates.min())} at least), for {format_percent(_median(costs / lives))} of"
        " a core's time"
    )


def cgroup_text(runs: pd.DataFrame) -> str:
    """Compare the peaks charged to control groups with the anonymous memory that was sampled."""
    columns = ["cgroup_peak_bytes", "cgroup_cache_bytes", "tree_anon_peak_bytes"]
    known = runs[columns].dropna().astype("float64")
    if known.empty:
        return "No control group could be created for the runs, so there is no cross-check."
    peak, cache, anonymous = (known[column] for column in columns)
    below = int((peak < anonymous).sum())
    ratio = format_number(_median((peak - cache) / anonymous))
    of = count_noun(len(known), "run")
    if below:
        return (
            f"**In {below} of {of} the control group was charged with less than the anonymous"
            " memory that was sampled: one of the two is wrong.**"
        )
    return (
        f"In all {of} the control group was charged with at least the anonymous memory that was"
        f" sampled. Without page cache, its peak was {ratio} times that in the median: the rest is"
        " kernel memory, and memory that no sweep saw."
    )


def swap_text(runs: pd.DataFrame) -> str:
    """Warn if memory of runs was swapped out, which no figure of memory includes; "" otherwise."""
    swapped = runs["swapped_bytes"].fillna(0).astype("float64")
    swapped = swapped[swapped > 0]
    if swapped.empty:
        return ""
    return (
        f"**Memory was swapped out in {len(swapped)} of {count_noun(len(runs), 'run')}, up to"
        f" {format_bytes(int(swapped.max()))} at a time: no figure of memory here includes it, and"
        " times include bringing it back.**"
    )


def vanished_text(runs: pd.DataFrame) -> str:
    """Report how often a process ended while a sweep was reading it."""
    vanished, sweeps = int(runs["vanished"].fillna(0).sum()), int(runs["sweeps"].fillna(0).sum())
    times = count_noun(vanished, "time")
    return f"A process ended while it was being read {times} in {count_noun(sweeps, 'sweep')}."


def _extremes_table(runs: pd.DataFrame, quantities: Mapping[str, str]) -> str:
    experiments = list(dict.fromkeys(runs["experiment"]))
    own = runs[list(quantities.values())].astype("float64").groupby(runs["experiment"])
    medians, most = own.median(), own.max()
    columns = ["", *(f"{name} {kind}" for name in experiments for kind in ("median", "maximum"))]
    rows = []
    for label, quantity in quantities.items():
        cells = [label]
        for name in experiments:
            cells += [format_number(found[quantity][name]) for found in (medians, most)]
        rows.append(cells)
    return format_table(columns, rows, texts=1)


def _median(values: pd.Series[float]) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else float("nan")


_ENDED = {name: f"tasks_{name}" for name in OUTCOMES if name not in ("ok", "missing")}
_WORDS = {"failed": "failed", "timed_out": "timed out", "lost": "lost its worker"}
_REPEATED = {name: f"repeated_{name}" for name in _WORDS}


def attempts_text(stages: pd.DataFrame) -> str:
    """Report how many attempts were repeated and why; "" if none was."""
    counts = {name: int(stages[column].fillna(0).sum()) for name, column in _REPEATED.items()}
    total = sum(counts.values())
    if not total:
        return ""
    reasons = ", ".join(f"{n} {_WORDS[name]}" for name, n in counts.items() if n)
    return (
        f"Tasks were retried after {count_noun(total, 'attempt')} ({reasons}). A task counts once:"
        " its outcome and its times are those of its last attempt, its turnaround covers all."
    )


def outcomes_table(stages: pd.DataFrame) -> str:
    """Count tasks that were not ok or were retried, by treatment and stage; "" without any."""
    columns = [*_ENDED.values(), *_REPEATED.values()]
    key = ["experiment", "treatment", "stage"]
    counts = stages.groupby(key, sort=False)[["tasks_ok", *columns]].sum()
    counts = counts[(counts[columns] > 0).any(axis=1)]
    if counts.empty:
        return ""
    titles = ["ok", *(f"{name.replace('_', ' ')}" for name in _ENDED)]
    titles += [f"retried after {name.replace('_', ' ')}" for name in _REPEATED]
    rows = [[*map(str, place), *map(str, row)] for place, row in _items(counts)]
    return format_table([*key, *titles], rows, texts=3)


def _items(counts: pd.DataFrame) -> list[tuple[tuple[str, ...], list[int]]]:
    values = counts.astype("int64").to_numpy().tolist()
    return list(zip(counts.index, values, strict=True))


def warm_ups_text(warm_ups: pd.DataFrame) -> str:
    """Report how many runs came before the first block; "" if none did."""
    if warm_ups.empty:
        return ""
    failed = len(find_failed(warm_ups))
    failures = (
        f" **{failed} of them did not succeed**, see [failures](trust.md#failures)."
        if failed
        else ""
    )
    return (
        f"{count_noun(len(warm_ups), 'warm-up run')} came before the first block: recorded, but not"
        f" part of any number, figure or comparison.{failures}"
    )


def failed_warm_ups_table(warm_ups: pd.DataFrame) -> str:
    """List the warm-ups that did not succeed; "" if all did."""
    failed = find_failed(warm_ups)
    if failed.empty:
        return ""
    columns = ["experiment", "treatment", "status", "detail", "warm-up"]
    rows = [
        [*(str(row[name]) for name in columns[:4]), str(row["replicate"])]
        for _, row in failed.iterrows()
    ]
    return format_table(columns, rows, texts=4)


def campaigns_text(runs: pd.DataFrame) -> str:
    """List the calls of Snakemake that made the runs; "" if there was only one."""
    counts = runs.groupby("campaign")["replicate"].count()
    if len(counts) < 2:  # one campaign is the rule
        return ""
    named = ", ".join(
        f"{escape(name or 'unknown')} ({count_noun(n, 'run')})" for name, n in counts.items()
    )
    return (
        f"The runs were made in {len(counts)} campaigns (calls of Snakemake): {named}. Runs are"
        " compared within their own campaign where possible."
    )


_FEW_NODES = {2: "Two", 3: "Three"}
"""So many nodes show little of how nodes differ."""


def count_run_nodes(runs: pd.DataFrame) -> int:
    """Return on how many nodes the runs were made; 1 if that is unknown."""
    return max(1, len(set(runs["node"]) - {""}))


def nodes_text(runs: pd.DataFrame, environment: pd.DataFrame) -> str:
    """Say which nodes made the runs, and what follows for intervals; "" if there was only one."""
    number = count_run_nodes(runs)
    if number < 2:
        return ""
    named = ", ".join(
        f"{quote_code(node) if node else 'unknown'}"
        f" ({count_noun(own['block'].nunique(), 'block')}, {count_noun(len(own), 'run')})"
        for node, own in runs.groupby("node")
    )
    sentences = (
        f"The runs were made on {number} nodes: {named}.",
        "Treatments are compared within a block and a node; intervals include how nodes differ.",
        few_nodes_text(runs),
        _split_text(runs),
        _differences_text(environment),
    )
    return " ".join(filter(None, sentences))


def few_nodes_text(runs: pd.DataFrame) -> str:
    """Say that there are too few nodes for narrow intervals; "" if there are more, or one."""
    number = count_run_nodes(runs)
    if number not in _FEW_NODES:
        return ""
    return (
        f"{_FEW_NODES[number]} nodes show little of how nodes differ, so intervals are wide. More"
        " nodes would narrow them, by more than more blocks on these."
    )


def _split_text(runs: pd.DataFrame) -> str:
    """Count the runs that are on another node than the baseline of their block."""
    key = ["experiment", "block", "campaign"]
    bases = runs.loc[runs["baseline"], [*key, "node"]].rename(columns={"node": "of_baseline"})
    paired = runs.loc[~runs["baseline"]].merge(bases.drop_duplicates(key), on=key)
    apart = paired[paired["node"] != paired["of_baseline"]]
    if apart.empty:
        return ""
    blocks = sorted(set(apart["block"]))
    named = f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"
    return (
        f"**{count_noun(len(apart), 'run')} of {named} {'was' if len(apart) == 1 else 'were'} made"
        " on another node than the baseline, and so left out of the ratios to it.**"
    )


def _differences_text(environment: pd.DataFrame) -> str:
    own = environment[environment["nodes"] != ""]
    names = [name for name in dict.fromkeys(own["property"]) if name not in ("host", "node")]
    if not names:
        return ""
    return f"The nodes differ in {', '.join(escape(label_property(str(one))) for one in names)}."


def nodes_table(runs: pd.DataFrame, environment: pd.DataFrame) -> str:
    """Return what each node made, how calm it was, and in what nodes differ; "" if there is one."""
    if count_run_nodes(runs) < 2:
        return ""
    differing = environment[environment["nodes"] != ""]
    # A host that is called as its node is said once.
    said = ("node", "host") if "node" not in set(differing["property"]) else ("node",)
    names = [str(name) for name in dict.fromkeys(differing["property"]) if name not in said]
    columns = ["node", "blocks", "runs", "disturbed", "waited until quiet s", "fresh page µs"]
    rows = [
        [
            str(node) or "unknown",
            str(own["block"].nunique()),
            str(len(own)),
            str(int((own["noisy"] != "").sum())),
            format_number(_median(own["quiet_wait_s"])),
            format_number(_median(own["fresh_page_s"]), scale=1e6),
            *(_value_on(differing, name, str(node)) for name in names),
        ]
        for node, own in runs.groupby("node")
    ]
    return format_table([*columns, *map(label_property, names)], rows, texts=1)


def _value_on(environment: pd.DataFrame, name: str, node: str) -> str:
    """Return a property's value on a node, of those that differ between nodes."""
    for row in list_rows(environment[environment["property"] == name]):
        if node in row["nodes"].split(NODES_BETWEEN):
            return format_property(name, str(row["value"]))
    return MISSING


def quiet_text(runs: pd.DataFrame) -> str:
    """Report how long runs waited for a quiet machine, and whether it became quiet."""
    known = runs[runs["quiet"].notna()]
    if known.empty:
        return "No run waited for the machine to be quiet: how busy it was before is unknown."
    waits, quiet = known["quiet_wait_s"], int(known["quiet"].sum())
    unknown = len(runs) - len(known)
    rest = f", unknown for {unknown}" if unknown else ""
    return (
        f"The machine was quiet before {quiet} of {count_noun(len(known), 'run')}{rest}; a run"
        f" waited {format_number(waits.median())} s for that in the median,"
        f" {format_number(waits.max())} s at most."
    )


def warmth_text(runs: pd.DataFrame) -> str:
    """Report how much memory was touched before runs, why not more, and what a page cost."""
    touched = runs[runs["warm_touched_bytes"] > 0]
    sentences = []
    if len(touched):
        size, took_s = touched["warm_touched_bytes"].median(), touched["warm_s"].median()
        sentences.append(
            f"Before {len(touched)} of {count_noun(len(runs), 'run')} a helper touched memory and"
            f" freed it again, {format_bytes(int(size))} in {format_seconds(took_s)} in the median,"
            " so that runs do not pay for pages that the machine has given away."
        )
    reasons = runs.loc[runs["not_warmed"] != "", "not_warmed"].value_counts()
    if len(reasons):
        named = "; ".join(
            f"{escape(reason)} ({count_noun(int(n), 'run')})" for reason, n in reasons.items()
        )
        sentences.append(f"Less memory than a run needs was touched because: {named}.")
    fresh, used = (_median(runs[name]) for name in ("fresh_page_s", "used_page_s"))
    if fresh > 0 and used > 0:
        sentences.append(
            f"A fresh page of 4 KiB took {format_number(fresh, scale=1e6)} µs of CPU time, one that"
            f" had been used {format_number(used, scale=1e6)} µs"
            f" ({format_number(fresh / used)} ×; medians)."
        )
    return " ".join(sentences)


def noisy_text(runs: pd.DataFrame) -> str:
    """Report how many runs are flagged as noisy, and which treatment has most of them."""
    noisy = runs[runs["noisy"] != ""]
    if noisy.empty:
        return f"None of {count_noun(len(runs), 'run')} is flagged as noisy."
    counts = (noisy["experiment"] + "/" + noisy["treatment"]).value_counts()
    share = format_percent(len(noisy) / len(runs))
    most = counts[counts == counts.max()]
    where = f", {most.iloc[0]} of them in {most.index[0]}" if len(most) == 1 else ""
    return (
        f"**{len(noisy)} of {count_noun(len(runs), 'run')} ({share}) were disturbed** by other"
        f" activity{where}. All numbers include them."
    )


MOST_NOISY = 100
"""Of more noisy runs than this, the first are listed."""


def noisy_table(runs: pd.DataFrame) -> str:
    """List the noisy runs and why they are flagged; "" if none is."""
    noisy = runs[runs["noisy"] != ""]
    if noisy.empty:
        return ""
    columns = ["experiment", "treatment", "noisy", "replicate", "status"]
    rows = [[str(row[name]) for name in columns] for _, row in noisy.head(MOST_NOISY).iterrows()]
    table = format_table(columns, rows, texts=3)
    more = len(noisy) - MOST_NOISY
    return f"{table}\n\nAnd {more} more: `noisy` in `tables/runs.csv`." if more > 0 else table


_MACHINE = {
    "host": "host",
    "node": "node",
    "cpu_model": "CPU",
    "machine": "architecture",
    "cores": "cores",
    "cores_usable": "cores usable",
    "memory_bytes": "memory",
    "os": "operating system",
    "kernel": "kernel",
    "governor": "frequency governor",
    "transparent_huge_pages": "transparent huge pages",
    "page_reporting": "free memory is reported to the host",
    "idle_memory_reclaim": "idle memory is paged out (DAMON)",
    "swap_bytes": "swap space",
    "aslr": "randomisation of addresses (2 is full)",
    "affinity": "CPUs that runs may use",
    "cgroup_cpu_limit": "CPUs that the control group allows",
    "cgroup_memory_limit": "memory that the control group allows",
    "temporary_filesystem": "file system of temporary files",
    "python": "Python",
    "python_implementation": "implementation",
    "gil": "GIL",
    "stagebench": "stagebench",
    "commit": "commit",
    "commit_dirty": "uncommitted changes",
}
"""Property in the table `environment` → label in the report."""

_SIZES = ("memory_bytes", "cgroup_memory_limit", "swap_bytes")


def machine_table(environment: pd.DataFrame) -> str:
    """Return every known property of machine and software."""
    rows = [
        [label, _values(environment, name)]
        for name, label in _MACHINE.items()
        if (environment["property"] == name).any()
    ]
    return format_table(["property", "value"], rows, texts=2)


_IN_SHORT = ("cpu_model", "cores_usable", "memory_bytes", "os", "kernel", "python")


def machine_text(environment: pd.DataFrame) -> str:
    """Return the machine and its software in one sentence; "" if nothing is known."""
    known = [name for name in _IN_SHORT if (environment["property"] == name).any()]
    texts = [f"{_MACHINE[name]} {escape(_values(environment, name))}" for name in known]
    text = ", ".join(texts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _values(environment: pd.DataFrame, name: str) -> str:
    """Return a property's value; if it differs, each with its nodes or its number of runs."""
    own = environment[environment["property"] == name]
    values = [format_property(name, value) for value in own["value"]]
    if len(values) == 1 and not own["nodes"].iloc[0]:
        return str(values[0])
    where = [
        nodes or count_noun(runs, "run")
        for nodes, runs in zip(own["nodes"], own["runs"], strict=True)
    ]
    return ", ".join(
        value if value == place else f"{value} ({place})"
        for value, place in zip(values, where, strict=True)
    )


def format_property(name: str, value: str) -> str:
    """Return a value of a property of machine or software for people."""
    if name in _SIZES and value.isdecimal():
        return format_bytes(int(value))
    return {"True": "yes", "False": "no", "max": "no limit"}.get(value, value)


def packages_text(environment: pd.DataFrame) -> str:
    """List the packages and their versions."""
    names = environment["property"][environment["property"].str.startswith("packages.")]
    return ", ".join(
        f"{escape(name.removeprefix('packages.'))} {escape(_values(environment, name))}"
        for name in dict.fromkeys(names)
    )


def mixture_findings(environment: pd.DataFrame) -> list[str]:
    """Name the properties that differ between runs, if any."""
    mixed = environment[environment["where"] != ""]
    if mixed.empty:
        return []
    counts = mixed["property"].value_counts(sort=False)
    differences = ", ".join(
        f"{escape(label_property(str(name)))} ({count_noun(int(count), 'value')})"
        for name, count in counts.items()
    )
    text = f"**The runs were not made under the same conditions**: {differences}."
    return [f"{text} This may explain differences between treatments."]


def mixtures_table(environment: pd.DataFrame) -> str:
    """List the values of properties that differ between runs, and where; "" if none differs."""
    mixed = environment[environment["where"] != ""]
    if mixed.empty:
        return ""
    columns = zip(mixed["property"], mixed["value"], mixed["where"], mixed["runs"], strict=True)
    rows = [
        [label_property(name), format_property(name, value), where, str(runs)]
        for name, value, where, runs in columns
    ]
    return format_table(["property", "value", "where", "runs"], rows, texts=3)


def label_property(name: str) -> str:
    """Return the words for a property of machine or software."""
    return _MACHINE.get(name, name.removeprefix("packages."))
