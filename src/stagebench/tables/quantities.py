"""The names of quantities: what is told of a run, of a stage in it, and of memory.

Units stand in the names (`_s`, `_bytes`, `_per_s`; shares and ratios have none).
docs/glossary.md defines every quantity.
"""

from __future__ import annotations

import re

PARAMETER = "parameter."
"""Prefix of a published quantity that tells the scale of the study, and is no result."""

MEMORY_PARTS = ("main", "children", "tree")
"""Whose PSS is told: the measured process, all its descendants, both together."""

SAMPLE_PARTS = ("pss", "anon", "file", "uss")
"""What a sample tells of one process, beside its RSS; anonymous and file are parts of PSS."""

PHASES = ("base", "trough", "peak", "end")
"""Sweeps of a run that tell where main's memory goes."""

TASK_MOMENTS = ("due", "submitted", "started", "finished", "received")
"""Moments of a task in a stage, in their order; times lie between two of them."""

STAGE_TIMES = ("blocked", "service", "waiting", "return", "response")
STAGE_STATISTICS = ("mean", "median", "p5", "p95", "min", "max")

RUN_QUANTITIES = (
    "makespan_s",
    "makespan_ratio",
    "throughput_per_s",
    "turnaround_mean_s",
    "turnaround_p95_s",
    "blocked_s",
    "attempts_repeated",
    "queue_overflows",
    "own_time_s",
    "start_up_s",
    "supervisor_overhead_s",
    "lock_wait_s",
    "cpu_s",
    "cpu_user_s",
    "cpu_system_s",
    *(
        f"{part}_{name}"
        for part in MEMORY_PARTS
        for name in (
            "base_bytes",
            "trough_bytes",
            "peak_bytes",
            "peak_upper_bytes",
            "end_bytes",
            "growth_bytes",
            "time_to_peak_s",
            "largest_step_bytes",
        )
    ),
    "at_peak_main_bytes",
    "at_peak_children_bytes",
    "tree_uss_peak_bytes",
    "tree_anon_peak_bytes",
    "tree_memory_time_byte_s",
    "tree_largest_rise_bytes",
    "children_spread_bytes",
    "main_idle_bytes",
    "main_base_rss_bytes",
    "main_base_anon_bytes",
    "main_high_water_bytes",
    "at_trough_main_bytes",
    "at_trough_main_rss_bytes",
    "at_trough_main_anon_bytes",
    "worker_ready_pss_bytes",
    "worker_ready_uss_bytes",
    "quickest_task_efficiency",
    "most_children",
    "sweeps",
    "sweeps_with_children",
    "sweeps_with_workers",
    "sampled_s",
    "emulated_peak_bytes",
    "emulated_false_peak_bytes",
    "emulated_most_children",
    "emulated_discoveries",
    "emulated_children_sums",
    "sampler_cpu_s",
    "census_cpu_s",
    "processes_created",
    "processes_sampled",
    "processes_bounded_only",
    "sampler_median_gap_s",
    "sampler_p99_gap_s",
    "sampler_longest_gap_s",
    "load_before",
    "load_after",
    "steal_share",
    "others_cpu_share",
    "quiet_wait_s",
    "idle_before_share",
    "throttled",
    "pressure_cpu_share",
    "pressure_memory_share",
    "pressure_io_share",
    "machine_context_switches",
    "context_switches_voluntary",
    "context_switches_involuntary",
)
"""Numeric quantities of a run that are summarised over the replicates of a treatment."""

STAGE_QUANTITIES = (
    *(f"{time}_{statistic}_s" for time in STAGE_TIMES for statistic in STAGE_STATISTICS),
    "stage_efficiency",
    "share_of_total_time",
    "utilisation",
    "on_cpu_share",
    "service_cpu_share",
    "pool_first_ready_s",
    "pool_last_ready_s",
    "workers_served",
    "cpu_mean_s",
    "deepest_queue",
    "attempts_repeated",
    "queue_overflows",
)
"""Numeric quantities of a stage in a run that are summarised over the replicates."""

_ABOVE_BASE = re.compile(r"(main|tree)_(trough|peak|end)_bytes|at_peak_(main)_bytes")
_UNITS = (("_per_s", "1/s"), ("_byte_s", "byte*s"), ("_s", "s"), ("_bytes", "bytes"))


def unit_of(quantity: str) -> str:
    """Give the unit that the name of a quantity carries; "1" for shares, ratios and counts."""
    return next((unit for suffix, unit in _UNITS if quantity.endswith(suffix)), "1")


def words_of(quantity: str) -> str:
    """Write a quantity for people, without its unit: "tree_peak_bytes" is "tree peak"."""
    ends = (suffix for suffix, _ in _UNITS if quantity.endswith(suffix))
    return quantity.removesuffix(next(ends, "")).replace("_", " ")


def base_of(quantity: str) -> str | None:
    """Return the base that memory of main or of the tree lies above; None for all else."""
    match = _ABOVE_BASE.fullmatch(quantity)
    return f"{match[1] or match[3]}_base_bytes" if match else None


def hides_results(transport: str | None) -> bool:
    """Return whether results wait outside of all processes, where no PSS has them."""
    return transport not in {None, "", "pickle"}
