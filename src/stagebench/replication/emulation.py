"""What the emulated published way of sampling recorded of a run, and where that was false."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.memory import total_sweeps
from stagebench.analyse.study import AddedTables
from stagebench.analyse.traces import span_s

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.records import EmulatedRecord
    from stagebench.units import Bytes, Nanoseconds

Row = dict[str, Any]


def list_emulated(trace: Trace) -> list[Row]:
    """Return one row per record of the published way; `total` is what it reports."""
    return [
        trace.key
        | {
            "time_s": span_s(trace.origin_ns, record.time_ns),
            "main_pss_bytes": record.main_pss_bytes,
            "children_pss_bytes": record.children_pss_bytes,
            "total_pss_bytes": _total(record),
            "children": record.children,
            "discovered_s": span_s(trace.origin_ns, record.discovered_ns),
        }
        for record in trace.emulated
    ]


def summarise_emulation(trace: Trace) -> Row:
    """Return the columns of a run about the published way; none if it was not emulated."""
    settings = trace.specification["sampler"].get("emulate")
    if settings is None:
        return {}
    asked = {
        "emulated_interval_s": settings["interval_s"],
        "emulated_discovery_s": settings["discovery_s"],
    }
    if not trace.emulated:
        return asked
    peak = max(trace.emulated, key=_total)
    return {
        **asked,
        **_take_apart("emulated_peak", trace, peak),
        "emulated_most_children": max(record.children for record in trace.emulated),
        "emulated_discoveries": len({record.discovered_ns for record in trace.emulated}),
        "emulated_children_sums": len({r.children_pss_bytes for r in trace.emulated if r.children}),
        **_describe_false_peak(trace),
    }


def _describe_false_peak(trace: Trace) -> Row:
    """Describe the highest record that includes children which had ended; empty without one."""
    false = [record for record in trace.emulated if _count_ended(trace, record)]
    if not false:
        return {}
    peak = max(false, key=_total)
    return {
        **_take_apart("emulated_false_peak", trace, peak),
        "emulated_false_peak_ended": _count_ended(trace, peak),
        "emulated_false_peak_tree_bytes": _read_tree(trace, peak.time_ns),
    }


def _take_apart(name: str, trace: Trace, record: EmulatedRecord) -> Row:
    """Return a total, its two parts, its time, and the age of the children's part."""
    return {
        f"{name}_bytes": _total(record),
        f"{name}_main_bytes": record.main_pss_bytes,
        f"{name}_children_bytes": record.children_pss_bytes,
        f"{name}_time_s": span_s(trace.origin_ns, record.time_ns),
        f"{name}_age_s": span_s(record.discovered_ns, record.time_ns),
    }


def _count_ended(trace: Trace, record: EmulatedRecord) -> int:
    """Count the children in a record that were alive when discovered, but have ended since."""
    ended = sum(
        process.role != "main"
        and process.ended_ns is not None
        and process.started_ns <= record.discovered_ns <= process.ended_ns < record.time_ns
        for process in trace.processes
    )
    # An orphan is in the census but not among main's children, so it was never discovered.
    return min(ended, record.children)


def _read_tree(trace: Trace, time_ns: Nanoseconds) -> Bytes | None:
    """Return the tree's PSS in the sweep nearest to a moment, preferably one that is not torn."""
    totals = total_sweeps(trace)
    whole = [total for total in totals if not total.torn] or totals
    nearest = min(whole, key=lambda total: abs(total.ended_ns - time_ns), default=None)
    return None if nearest is None else nearest.tree


def _total(record: EmulatedRecord) -> Bytes:
    return record.main_pss_bytes + record.children_pss_bytes


EMULATION = AddedTables(columns=(summarise_emulation,), rows={"emulated": list_emulated})
"""What the emulation adds to the tables of a study."""
