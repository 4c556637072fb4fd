"""The table of all quantities: what can be measured, in which unit, and how people read both.

Schema, summaries, comparisons, claims, figures and report take units and words from here.
docs/glossary.md defines every quantity; a test compares it with this table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from stagebench.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PARAMETER = "parameter."
"""Prefix of published quantities that are parameters of a handler, not results."""

MEMORY_PARTS = ("main", "children", "tree")
"""Processes whose PSS is summed: the measured one, all its descendants, both together."""

SAMPLE_PARTS = ("pss", "anon", "file", "uss")
"""Kinds of memory in a sample beside RSS; anonymous and file are parts of PSS."""

PHASES = ("base", "trough", "peak", "end")
"""Sweeps of a run that show how main's memory changes."""

TASK_MOMENTS = ("due", "submitted", "started", "finished", "received")
"""Moments of a task in a stage, in order; each of its times lies between two of them."""

STAGE_TIMES = ("blocked", "service", "waiting", "return", "response")
STAGE_STATISTICS = ("mean", "median", "p5", "p95", "min", "max")

TASK_PARTS = ("first", "later")
"""The first task of each worker, and all others."""

COUNT, NUMBER = "count", "number"
"""Kinds of cells: a whole number, any number."""

RUN, STAGE, TASK = "run", "stage", "task"
READING, SWEEP, PHASE, ROLE = "reading", "sweep", "phase", "role"
EMULATED = "emulated"
"""A record of the published sampling method."""
QUEUE = "queue"
"""A change of a queue."""

LOWER, HIGHER = "lower", "higher"


class Quantity(NamedTuple):
    """A quantity that can be measured or that was set.

    `unit`: a key of `UNITS`. `kind`: of its cells. `level`: what it describes. `label`: its words
    for people, without the unit. `better`: the direction that is better, or "".
    """

    name: str
    unit: str
    kind: str
    level: str
    label: str
    better: str = ""


class Unit(NamedTuple):
    """How people read and write the values of a unit.

    People read a value divided by `size` and followed by `word`. `heading` is the unit in the
    heading of a column, or "" if every cell has the word. `words` maps the words that a claim may
    put after a number to their sizes.
    """

    size: float
    word: str
    heading: str
    words: Mapping[str, float]


UNITS = {
    "s": Unit(1, "s", "s", {"s": 1, "ms": 0.001, "min": 60}),
    "bytes": Unit(MIB, "MiB", "MiB", {"MiB": MIB, "KiB": KIB, "GiB": GIB, "B": 1}),
    "byte*s": Unit(MIB, "MiB·s", "MiB s", {"MiB*s": MIB, "GiB*s": GIB}),
    "1/s": Unit(1, "1/s", "/s", {"/s": 1, "1/s": 1}),
    "share": Unit(0.01, "%", "", {"%": 0.01, "points": 0.01, "": 1}),
    "ratio": Unit(1, "×", "", {"": 1, "%": 0.01, "points": 0.01}),
    "1": Unit(1, "", "", {"": 1}),
}

_MEMORY_OF_RUN = tuple(
    Quantity(f"{part}_{name}", unit, kind, RUN, f"{part} {label}", better)
    for part in MEMORY_PARTS
    for name, unit, kind, label, better in (
        ("base_bytes", "bytes", COUNT, "base", LOWER),
        ("trough_bytes", "bytes", COUNT, "trough", LOWER),
        ("peak_bytes", "bytes", COUNT, "peak", LOWER),
        ("peak_upper_bytes", "bytes", COUNT, "peak upper", LOWER),
        ("end_bytes", "bytes", COUNT, "end", LOWER),
        ("growth_bytes", "bytes", COUNT, "growth", LOWER),
        ("growth_upper_bytes", "bytes", COUNT, "growth upper", LOWER),
        ("time_to_peak_s", "s", NUMBER, "time to peak", ""),
        ("largest_step_bytes", "bytes", COUNT, "largest step", LOWER),
    )
)

_SUMMARISED_OF_RUN = (
    Quantity("makespan_s", "s", NUMBER, RUN, "makespan", LOWER),
    Quantity("makespan_ratio", "ratio", NUMBER, RUN, "makespan ratio", LOWER),
    Quantity("throughput_per_s", "1/s", NUMBER, RUN, "throughput", HIGHER),
    Quantity("turnaround_mean_s", "s", NUMBER, RUN, "turnaround mean", LOWER),
    Quantity("turnaround_p95_s", "s", NUMBER, RUN, "turnaround p95", LOWER),
    Quantity("blocked_s", "s", NUMBER, RUN, "blocked", LOWER),
    Quantity("attempts_repeated", "1", COUNT, RUN, "attempts repeated", LOWER),
    Quantity("queue_overflows", "1", COUNT, RUN, "queue overflows", LOWER),
    Quantity("own_time_s", "s", NUMBER, RUN, "own time", LOWER),
    Quantity("start_up_s", "s", NUMBER, RUN, "start up", LOWER),
    Quantity("supervisor_overhead_s", "s", NUMBER, RUN, "supervisor overhead", LOWER),
    Quantity("lock_wait_s", "s", NUMBER, RUN, "lock wait"),
    Quantity("cpu_s", "s", NUMBER, RUN, "cpu", LOWER),
    Quantity("cpu_user_s", "s", NUMBER, RUN, "cpu user", LOWER),
    Quantity("cpu_system_s", "s", NUMBER, RUN, "cpu system", LOWER),
    *_MEMORY_OF_RUN,
    Quantity("at_peak_main_bytes", "bytes", COUNT, RUN, "at peak main", LOWER),
    Quantity("at_peak_children_bytes", "bytes", COUNT, RUN, "at peak children", LOWER),
    Quantity("tree_uss_peak_bytes", "bytes", COUNT, RUN, "tree uss peak", LOWER),
    Quantity("tree_anon_peak_bytes", "bytes", COUNT, RUN, "tree anon peak", LOWER),
    Quantity("tree_anon_peak_upper_bytes", "bytes", COUNT, RUN, "tree anon peak upper", LOWER),
    Quantity("tree_time_to_peak_upper_s", "s", NUMBER, RUN, "tree time to peak upper"),
    Quantity("tree_memory_time_byte_s", "byte*s", NUMBER, RUN, "tree memory time", LOWER),
    Quantity(
        *("tree_memory_time_upper_byte_s", "byte*s", NUMBER, RUN),
        *("tree memory time upper", LOWER),
    ),
    Quantity("tree_largest_rise_bytes", "bytes", COUNT, RUN, "tree largest rise", LOWER),
    Quantity(
        "tree_largest_rise_upper_bytes", "bytes", COUNT, RUN, "tree largest rise upper", LOWER
    ),
    Quantity("children_spread_bytes", "bytes", COUNT, RUN, "children spread"),
    Quantity("main_idle_bytes", "bytes", COUNT, RUN, "main idle", LOWER),
    Quantity("main_base_rss_bytes", "bytes", COUNT, RUN, "main base rss", LOWER),
    Quantity("main_base_anon_bytes", "bytes", COUNT, RUN, "main base anon", LOWER),
    Quantity("main_high_water_bytes", "bytes", COUNT, RUN, "main high water", LOWER),
    Quantity("at_trough_main_bytes", "bytes", COUNT, RUN, "at trough main", LOWER),
    Quantity("at_trough_main_rss_bytes", "bytes", COUNT, RUN, "at trough main rss", LOWER),
    Quantity("at_trough_main_anon_bytes", "bytes", COUNT, RUN, "at trough main anon", LOWER),
    # Medians over the workers of a run, so they need not be whole.
    Quantity("worker_ready_pss_bytes", "bytes", NUMBER, RUN, "worker ready pss", LOWER),
    Quantity("worker_ready_uss_bytes", "bytes", NUMBER, RUN, "worker ready uss", LOWER),
    Quantity("quickest_task_efficiency", "share", NUMBER, RUN, "quickest task efficiency", HIGHER),
    Quantity("most_children", "1", COUNT, RUN, "most children"),
    Quantity("sweeps", "1", COUNT, RUN, "sweeps"),
    Quantity("sweeps_with_children", "1", COUNT, RUN, "sweeps with children"),
    Quantity("sweeps_with_workers", "1", COUNT, RUN, "sweeps with workers"),
    Quantity("sampled_s", "s", NUMBER, RUN, "sampled"),
    Quantity("emulated_peak_bytes", "bytes", COUNT, RUN, "emulated peak"),
    Quantity("emulated_false_peak_bytes", "bytes", COUNT, RUN, "emulated false peak"),
    Quantity("emulated_most_children", "1", COUNT, RUN, "emulated most children"),
    Quantity("emulated_discoveries", "1", COUNT, RUN, "emulated discoveries"),
    Quantity("emulated_children_sums", "1", COUNT, RUN, "emulated children sums"),
    Quantity("sampler_cpu_s", "s", NUMBER, RUN, "sampler cpu", LOWER),
    Quantity("census_cpu_s", "s", NUMBER, RUN, "census cpu", LOWER),
    Quantity("processes_created", "1", COUNT, RUN, "processes created"),
    Quantity("processes_sampled", "1", COUNT, RUN, "processes sampled"),
    Quantity("processes_bounded_only", "1", COUNT, RUN, "processes bounded only"),
    Quantity("sampler_median_gap_s", "s", NUMBER, RUN, "sampler median gap", LOWER),
    Quantity("sampler_p99_gap_s", "s", NUMBER, RUN, "sampler p99 gap", LOWER),
    Quantity("sampler_longest_gap_s", "s", NUMBER, RUN, "sampler longest gap", LOWER),
    Quantity("load_before", "1", NUMBER, RUN, "load before"),
    Quantity("load_after", "1", NUMBER, RUN, "load after"),
    Quantity("steal_share", "share", NUMBER, RUN, "steal share", LOWER),
    Quantity("others_cpu_share", "share", NUMBER, RUN, "others cpu share", LOWER),
    Quantity("quiet_wait_s", "s", NUMBER, RUN, "quiet wait"),
    Quantity("idle_before_share", "share", NUMBER, RUN, "idle before share"),
    Quantity("warm_needed_bytes", "bytes", COUNT, RUN, "warm needed"),
    Quantity("warm_touched_bytes", "bytes", COUNT, RUN, "warm touched"),
    Quantity("warm_s", "s", NUMBER, RUN, "warm"),
    Quantity("fresh_page_s", "s", NUMBER, RUN, "fresh page", LOWER),
    Quantity("used_page_s", "s", NUMBER, RUN, "used page", LOWER),
    Quantity("throttled", "1", COUNT, RUN, "throttled", LOWER),
    Quantity("pressure_cpu_share", "share", NUMBER, RUN, "pressure cpu share", LOWER),
    Quantity("pressure_memory_share", "share", NUMBER, RUN, "pressure memory share", LOWER),
    Quantity("pressure_io_share", "share", NUMBER, RUN, "pressure io share", LOWER),
    Quantity("machine_context_switches", "1", COUNT, RUN, "machine context switches"),
    Quantity("context_switches_voluntary", "1", COUNT, RUN, "context switches voluntary"),
    Quantity("context_switches_involuntary", "1", COUNT, RUN, "context switches involuntary"),
)

_SUMMARISED_OF_STAGE = (
    *(
        Quantity(f"{time}_{statistic}_s", "s", NUMBER, STAGE, f"{time} {statistic}", LOWER)
        for time in STAGE_TIMES
        for statistic in STAGE_STATISTICS
    ),
    Quantity("stage_efficiency", "share", NUMBER, STAGE, "stage efficiency", HIGHER),
    Quantity("share_of_total_time", "share", NUMBER, STAGE, "share of total time"),
    Quantity("utilisation", "share", NUMBER, STAGE, "utilisation"),
    Quantity("on_cpu_share", "share", NUMBER, STAGE, "on cpu share"),
    Quantity("service_cpu_share", "share", NUMBER, STAGE, "service cpu share"),
    Quantity("pool_first_ready_s", "s", NUMBER, STAGE, "pool first ready", LOWER),
    Quantity("pool_last_ready_s", "s", NUMBER, STAGE, "pool last ready", LOWER),
    Quantity("workers_served", "1", COUNT, STAGE, "workers served"),
    Quantity("cpu_mean_s", "s", NUMBER, STAGE, "cpu mean", LOWER),
    Quantity("cpu_median_s", "s", NUMBER, STAGE, "cpu median", LOWER),
    *(Quantity(f"{part}_tasks", "1", COUNT, STAGE, f"{part} tasks") for part in TASK_PARTS),
    *(
        Quantity(f"{time}_{part}_{mean}_s", "s", NUMBER, STAGE, f"{time} {part} {mean}", LOWER)
        for time in ("service", "cpu")
        for part in TASK_PARTS
        for mean in ("mean", "median")
    ),
    Quantity("imported_modules", "1", COUNT, STAGE, "imported modules", LOWER),
    Quantity("deepest_queue", "1", COUNT, STAGE, "deepest queue"),
    Quantity("attempts_repeated", "1", COUNT, STAGE, "attempts repeated", LOWER),
    Quantity("queue_overflows", "1", COUNT, STAGE, "queue overflows", LOWER),
)

_OUTCOMES = tuple(
    Quantity(f"tasks_{outcome}", "1", COUNT, level, f"tasks {label}", better)
    for level in (RUN, STAGE)
    for outcome, label, better in (
        ("ok", "ok", HIGHER),
        ("failed", "failed", LOWER),
        ("timed_out", "timed out", LOWER),
        ("lost", "lost", LOWER),
        ("skipped", "skipped", LOWER),
        ("cancelled", "cancelled", LOWER),
        ("missing", "missing", LOWER),
    )
)

_OTHERS_OF_RUN = (
    Quantity("in_flight", "1", COUNT, RUN, "in flight"),
    Quantity("overlaps", "1", COUNT, RUN, "overlaps", LOWER),
    Quantity("time_limit_s", "s", NUMBER, RUN, "time limit"),
    Quantity("survivors", "1", COUNT, RUN, "survivors", LOWER),
    Quantity("tasks", "1", COUNT, RUN, "tasks"),
    Quantity("sampler_interval_s", "s", NUMBER, RUN, "sampler interval"),
    Quantity("sampler_cpu_budget", "share", NUMBER, RUN, "sampler cpu budget"),
    Quantity("sweeps_held", "1", COUNT, RUN, "sweeps held"),
    Quantity("rss_sweeps", "1", COUNT, RUN, "rss sweeps"),
    Quantity("sweeps_left_out", "1", COUNT, RUN, "sweeps left out", LOWER),
    Quantity("sweeps_torn", "1", COUNT, RUN, "sweeps torn", LOWER),
    Quantity("reads", "1", COUNT, RUN, "reads"),
    Quantity("reads_per_s", "1/s", NUMBER, RUN, "reads per second", HIGHER),
    Quantity("read_cpu_s", "s", NUMBER, RUN, "read cpu", LOWER),
    Quantity("cgroup_peak_bytes", "bytes", COUNT, RUN, "cgroup peak", LOWER),
    Quantity("cgroup_kernel_peak_bytes", "bytes", COUNT, RUN, "cgroup kernel peak", LOWER),
    Quantity("cgroup_cache_bytes", "bytes", COUNT, RUN, "cgroup cache", LOWER),
    Quantity("swapped_bytes", "bytes", COUNT, RUN, "swapped", LOWER),
    Quantity("vanished", "1", COUNT, RUN, "vanished", LOWER),
    Quantity("emulated_interval_s", "s", NUMBER, RUN, "emulated interval"),
    Quantity("emulated_discovery_s", "s", NUMBER, RUN, "emulated discovery"),
    *(
        Quantity(f"emulated_{peak}_{name}", unit, kind, RUN, f"emulated {words} {label}")
        for peak, words in (("peak", "peak"), ("false_peak", "false peak"))
        for name, unit, kind, label in (
            ("main_bytes", "bytes", COUNT, "main"),
            ("children_bytes", "bytes", COUNT, "children"),
            ("time_s", "s", NUMBER, "time"),
            ("age_s", "s", NUMBER, "age"),
        )
    ),
    Quantity("emulated_false_peak_ended", "1", COUNT, RUN, "emulated false peak ended"),
    Quantity("emulated_false_peak_tree_bytes", "bytes", COUNT, RUN, "emulated false peak tree"),
)

_OTHERS_OF_STAGE = (
    Quantity("workers", "1", COUNT, STAGE, "workers"),
    Quantity("queue_size", "1", COUNT, STAGE, "queue size"),
    Quantity("batch", "1", COUNT, STAGE, "batch"),
    Quantity("prefetch", "1", COUNT, STAGE, "prefetch"),
    Quantity("timeout_s", "s", NUMBER, STAGE, "timeout"),
    Quantity("retries", "1", COUNT, STAGE, "retries"),
    Quantity("result_bytes", "bytes", COUNT, STAGE, "result"),
    Quantity("repeated_failed", "1", COUNT, STAGE, "repeated failed", LOWER),
    Quantity("repeated_timed_out", "1", COUNT, STAGE, "repeated timed out", LOWER),
    Quantity("repeated_lost", "1", COUNT, STAGE, "repeated lost", LOWER),
)

_OF_TASK = (
    Quantity("attempt", "1", COUNT, TASK, "attempt"),
    *(Quantity(f"{moment}_s", "s", NUMBER, TASK, moment) for moment in TASK_MOMENTS),
    *(Quantity(f"{time}_s", "s", NUMBER, TASK, time, LOWER) for time in STAGE_TIMES),
    Quantity("queue_s", "s", NUMBER, TASK, "in the queue", LOWER),
    Quantity("start_s", "s", NUMBER, TASK, "start of the worker", LOWER),
    Quantity("send_s", "s", NUMBER, TASK, "handing over", LOWER),
    Quantity("cpu_s", "s", NUMBER, TASK, "cpu", LOWER),
)

_OF_READING = (
    Quantity("began_s", "s", NUMBER, READING, "began"),
    Quantity("time_s", "s", NUMBER, READING, "time"),
    Quantity("tree_lower_bytes", "bytes", COUNT, READING, "tree lower", LOWER),
    Quantity("tree_reached_bytes", "bytes", COUNT, READING, "tree reached", LOWER),
    Quantity("tree_upper_bytes", "bytes", COUNT, READING, "tree upper", LOWER),
)

_OF_SWEEP = (
    Quantity("time_s", "s", NUMBER, SWEEP, "time"),
    *(
        Quantity(f"{part}_pss_bytes", "bytes", COUNT, SWEEP, f"{part} pss", LOWER)
        for part in MEMORY_PARTS
    ),
    *(
        Quantity(f"{part}_{name}_bytes", "bytes", COUNT, SWEEP, f"{part} {name}", LOWER)
        for part in ("tree", "main")
        for name in ("uss", "anon", "rss")
    ),
    Quantity("processes", "1", COUNT, SWEEP, "processes"),
    Quantity("vanished", "1", COUNT, SWEEP, "vanished", LOWER),
    Quantity("torn", "1", COUNT, SWEEP, "torn", LOWER),
)

_OF_PHASE = (
    Quantity("time_s", "s", NUMBER, PHASE, "time"),
    *(
        Quantity(f"main_{name}_bytes", "bytes", COUNT, PHASE, f"main {name}", LOWER)
        for name in ("pss", "anon", "uss", "rss")
    ),
    Quantity("workers", "1", COUNT, PHASE, "workers"),
)

_OF_ROLE = (
    *(Quantity(name, "1", COUNT, ROLE, name) for name in ("created", "sampled")),
    Quantity("bounded_only", "1", COUNT, ROLE, "bounded only"),
    Quantity("at_peak_processes", "1", COUNT, ROLE, "at peak processes"),
    Quantity("at_peak_pss_bytes", "bytes", COUNT, ROLE, "at peak pss", LOWER),
    *(
        Quantity(f"largest_{name}_bytes", "bytes", COUNT, ROLE, f"largest {name}", LOWER)
        for name in SAMPLE_PARTS
    ),
    *(
        # A median over the workers of a run, so it need not be whole.
        Quantity(f"ready_{name}_bytes", "bytes", NUMBER, ROLE, f"ready {name}", LOWER)
        for name in SAMPLE_PARTS
    ),
    Quantity("high_water_bytes", "bytes", COUNT, ROLE, "high water", LOWER),
)

_OF_EMULATED = (
    Quantity("time_s", "s", NUMBER, EMULATED, "time"),
    *(
        Quantity(f"{part}_pss_bytes", "bytes", COUNT, EMULATED, f"{part} pss", better)
        for part, better in (("main", LOWER), ("children", LOWER), ("total", ""))
    ),
    Quantity("children", "1", COUNT, EMULATED, "children"),
    Quantity("discovered_s", "s", NUMBER, EMULATED, "discovered"),
)

_OF_QUEUE = (
    Quantity("time_s", "s", NUMBER, QUEUE, "time"),
    Quantity("waiting", "1", COUNT, QUEUE, "waiting"),
    Quantity("in_service", "1", COUNT, QUEUE, "in service"),
)

ALL_QUANTITIES = (
    *_SUMMARISED_OF_RUN,
    *_SUMMARISED_OF_STAGE,
    *_OUTCOMES,
    *_OTHERS_OF_RUN,
    *_OTHERS_OF_STAGE,
    *_OF_TASK,
    *_OF_READING,
    *_OF_SWEEP,
    *_OF_PHASE,
    *_OF_ROLE,
    *_OF_EMULATED,
    *_OF_QUEUE,
)
"""The table. A name can occur at several levels, with the same unit and label in all."""

QUANTITIES: Mapping[str, Quantity] = {quantity.name: quantity for quantity in ALL_QUANTITIES}

RUN_QUANTITIES = tuple(quantity.name for quantity in _SUMMARISED_OF_RUN)
"""Quantities of a run that are summarised over the replicates of a treatment."""

STAGE_QUANTITIES = tuple(quantity.name for quantity in _SUMMARISED_OF_STAGE)
"""Quantities of a stage that are summarised over the replicates of a treatment."""

_UNIT_ENDINGS = ("_byte_s", "_bytes", "_s")
"""The ends of names by unit, longer ones first."""

_LOWER_ENDS = frozenset(
    {
        f"{part}_{name}"
        for part in MEMORY_PARTS
        for name in ("peak_bytes", "growth_bytes", "largest_step_bytes", "time_to_peak_s")
    }
    | {f"tree_{name}_bytes" for name in ("uss_peak", "anon_peak", "largest_rise")}
    | {"tree_memory_time_byte_s", "children_spread_bytes"}
)

_MOMENTS = frozenset(f"{part}_time_to_peak_s" for part in MEMORY_PARTS)
"""Moments at which sweeps found something: by themselves they bound it from neither side."""

_ABOVE_BASE = re.compile(r"(main|tree)_(trough|peak|end)_bytes|at_peak_(main)_bytes")


def list_level(level: str) -> dict[str, Quantity]:
    """Return the quantities that describe a level, by name."""
    return {quantity.name: quantity for quantity in ALL_QUANTITIES if quantity.level == level}


def unit_of(quantity: str) -> str:
    """Return a quantity's unit as in tables: "1" for counts, shares and ratios."""
    unit = QUANTITIES[quantity].unit
    return "1" if unit in ("share", "ratio") else unit


def words_of(quantity: str) -> str:
    """Return a quantity's words for people: "tree peak" for "tree_peak_bytes"."""
    return QUANTITIES[quantity].label


def published_size(quantity: str, word: str) -> float | None:
    """Return the size of a published value's unit, or None if the quantity has another one.

    Values are published in the unit that people read; shares, ratios and counts in "1".
    """
    unit = unit_of(quantity)
    if unit == "1":
        return 1 if word == "1" else None
    return UNITS[unit].size if word == UNITS[unit].word else None


def base_of(quantity: str) -> str | None:
    """Return the base of a quantity of main's or the tree's memory, or None."""
    match = _ABOVE_BASE.fullmatch(quantity)
    return f"{match[1] or match[3]}_base_bytes" if match else None


def upper_of(quantity: str) -> str | None:
    """Return the quantity that is the upper end of a bracket, or None."""
    suffix = next((end for end in _UNIT_ENDINGS if quantity.endswith(end)), "")
    upper = f"{quantity.removesuffix(suffix)}_upper{suffix}"
    return upper if suffix and upper in QUANTITIES else None


def is_lower_end(quantity: str) -> bool:
    """Return whether a value is only a lower end of what it names: the largest that sweeps read.

    Its upper end, if it is known, is the quantity `upper_of` it.
    """
    return quantity in _LOWER_ENDS


def is_moment(quantity: str) -> bool:
    """Return whether a value is the moment at which a peak was seen.

    Without an upper end it bounds the moment of the peak from neither side.
    """
    return quantity in _MOMENTS


INSTRUMENTS = GROUP, COUNTERS, SWEEPS = "group", "counters", "sweeps"
"""How the tree's memory was read: what a control group was charged for; the processes' own
counters; sweeps alone."""


def hides_results(transport: str | None, instruments: Iterable[str] = ()) -> bool:
    """Return whether results wait where the instruments of a treatment's runs do not count them.

    A control group counts shared memory, mapped or not, but no file. Nothing else counts memory
    that no process maps.
    """
    used = set(instruments)
    counted = {None, "", "pickle"} | ({"shared_memory"} if used == {GROUP} else set())
    return transport not in counted
