"""The summary of one trace, as JSON and as text of 80 columns."""

from __future__ import annotations

import shlex
import signal
import textwrap
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stagebench.peak.bracket import find_brackets
from stagebench.records import CpuRecord, count_processes
from stagebench.trace.tracer import ADVANCE_S
from stagebench.units import GIB, MIB, format_seconds, quantile_s, to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stagebench.peak.bracket import Bracket
    from stagebench.records import ProcessRecord, SweepRecord
    from stagebench.trace.recording import Recording
    from stagebench.units import Bytes, Nanoseconds, Seconds


PSS_KINDS = frozenset({"pss", "held"})
"""Kinds of sweeps with a known PSS; in a held one nothing has changed since the one before."""


def summarise_recording(recording: Recording) -> dict[str, Any]:
    """Summarise a trace as JSON; unknown values are null."""
    run, memory = recording.run, recording.memory
    brackets = find_brackets(memory)
    return {
        "command": name_command(recording),
        "pid": run.get("pid"),
        "status": "cut" if recording.is_cut else run["status"],
        "detail": run["detail"],
        "exit_code": run.get("exit_code"),
        "started_at": run["started_at"],
        "duration_s": to_seconds(recording.ended_ns - recording.origin_ns),
        "recorded_s": recorded_s(recording),
        "peak": {
            part: describe_bracket(brackets[part], recording.origin_ns)
            for part in ("tree", "main", "children")
        },
        "processes": describe_census(recording),
        "roles": describe_roles(recording),
        "cpu": describe_cpu(recording),
        "stayed": run.get("stayed", []),
        "sampler": describe_sampler(recording),
        "instrument_cpu_s": run.get("instrument_cpu_s"),
    }


def name_command(recording: Recording) -> list[str]:
    """Return the words of the command, or for a run of a study its place there."""
    run = recording.run
    if "command" in run:
        return list(run["command"])
    letter = "w" if run["warm_up"] else "r"
    return [f"{run['experiment']}/{run['treatment']}/{letter}{run['replicate']}"]


def describe_bracket(bracket: Bracket, origin_ns: Nanoseconds) -> dict[str, Any]:
    """Describe a bracket, its moment in seconds since the start of the command."""
    seen_ns = bracket.lower_ns
    return {
        "lower_bytes": bracket.lower_bytes,
        "lower_s": None if seen_ns is None else to_seconds(seen_ns - origin_ns),
        "upper_bytes": bracket.upper_bytes,
    }


def describe_census(recording: Recording) -> dict[str, Any]:
    """Count processes; in a trace that was cut off, only those that were sampled are known."""
    census = recording.run["census"]
    if "created" in census:
        return dict(census)
    unknown = {"created": None, "bounded_only": None}
    return {"means": census["means"]} | count_processes(recording.memory.processes) | unknown


def recorded_s(recording: Recording) -> Seconds | None:
    """Return the time of the last sweep, at which the recording ends."""
    sweeps = recording.memory.sweeps
    return to_seconds(sweeps[-1].ended_ns - recording.origin_ns) if sweeps else None


def describe_roles(recording: Recording) -> dict[str, Any]:
    """Count the processes of each role, and find the highest high-water mark among them."""
    known = "created" in recording.run["census"]
    roles: defaultdict[str, list[ProcessRecord]] = defaultdict(list)
    for process in recording.memory.processes:
        roles[process.role].append(process)
    return {
        role: {
            "created": len(found) if known else None,
            "sampled": sum(process.samples > 0 for process in found),
            "high_water_bytes": max(
                (each.high_water_bytes for each in found if each.high_water_bytes is not None),
                default=None,
            ),
        }
        for role, found in roles.items()
    }


BUSIEST = 5
"""So many processes are listed by their CPU time; the rest is added up."""


def describe_cpu(recording: Recording) -> dict[str, Any] | None:
    """Describe the CPU time of the tree, of each role and of single processes; None if unknown."""
    if not recording.cpu:
        return None
    used = find_cpu(recording)
    roles: defaultdict[str, list[CpuRecord]] = defaultdict(list)
    for process, cpu in zip(recording.memory.processes, used, strict=True):
        roles[process.role].append(cpu)
    order = sorted(range(len(used)), key=lambda place: -(used[place].cpu_ns or 0))
    rest = order[BUSIEST:]
    return {
        "tree": add_cpu(used),
        "roles": {role: add_cpu(found) for role, found in roles.items()},
        "busiest": [
            name_process(recording.memory.processes[place]) | add_cpu([used[place]])
            for place in order[:BUSIEST]
        ],
        "others": {"processes": len(rest)} | add_cpu([used[place] for place in rest]),
    }


def find_cpu(recording: Recording) -> list[CpuRecord]:
    """Return the CPU time of every process; without any if it was not recorded."""
    known = {(cpu.pid, cpu.started_ns): cpu for cpu in recording.cpu}
    return [
        known.get(
            (each.pid, each.started_ns),
            CpuRecord(pid=each.pid, started_ns=each.started_ns, cpu_ns=None, is_final=0),
        )
        for each in recording.memory.processes
    ]


def name_process(process: ProcessRecord) -> dict[str, Any]:
    """Return what tells a process from others."""
    return {"pid": process.pid, "role": process.role, "command": process.command}


def add_cpu(used: Sequence[CpuRecord]) -> dict[str, Any]:
    """Add up CPU time; unless it `is_whole`, there may have been more. None if none is known."""
    known = [each.cpu_ns for each in used if each.cpu_ns is not None]
    return {
        "cpu_s": to_seconds(sum(known)) if known or not used else None,
        "is_whole": all(each.is_final and each.cpu_ns is not None for each in used),
    }


def describe_sampler(recording: Recording) -> dict[str, Any]:
    """Describe what the sampler was asked for and what it achieved, as far as the records go."""
    use, sweeps = recording.run["sampler"], recording.memory.sweeps
    asked = {name: use[name] for name in ("interval_s", "cpu_budget")}
    # A run of a study spends no budget in advance.
    asked["advance_s"] = ADVANCE_S if recording.run.get("kind") == "trace" else 0.0
    cost = {name: use.get(name) for name in ("cpu_s", "census_cpu_s", "read_cpu_s", "reads")}
    cost["by_group"] = use.get("group_drift_bytes") is not None
    if recording.is_whole:
        achieved = {name: use[name] for name in ("sweeps", "torn", "median_gap_s", "p99_gap_s")}
        return asked | achieved | cost
    found = [sweep for sweep in sweeps if sweep.kind in PSS_KINDS]
    gaps = sorted(_list_gaps(found))
    achieved = {
        "sweeps": len(gaps) + 1 if found else 0,
        "torn": sum(sweep.torn for sweep in found),
        "median_gap_s": quantile_s(gaps, 0.5),
        "p99_gap_s": quantile_s(gaps, 0.99),
    }
    return asked | achieved | cost


def _list_gaps(found: Sequence[SweepRecord]) -> Iterator[Nanoseconds]:
    """Yield the gaps between sweeps; those between held ones that were not written are equal."""
    for earlier, later in pairwise(found):
        count = later.sweep - earlier.sweep if later.kind == "held" else 1
        yield from [(later.started_ns - earlier.started_ns) // count] * count


COLUMNS = 80
_NAME = 11
_LARGE = 10 * GIB
"""Sizes from here on are easier to read in GiB."""

POLLED = "polled: short-lived processes may be missed"


def format_summary(summary: Mapping[str, Any], place: str | None = None) -> str:
    """Format a summary as text; `place` is the folder of the trace."""
    lines = [shorten(shlex.join(summary["command"]), COLUMNS)]
    for name, texts in _list_items(summary, place):
        for index, text in enumerate(texts):
            lines += _wrap(name if index == 0 else "", text)
    return "\n".join(lines) + "\n"


def _list_items(summary: Mapping[str, Any], place: str | None) -> Iterator[tuple[str, list[str]]]:
    yield "ended", [describe_end(summary)]
    if summary["status"] == "truncated":
        yield "NOT WHOLE", [_describe_loss(summary)]
    peaks = {part: format_peak(peak) for part, peak in summary["peak"].items()}
    if summary["processes"]["created"] == 1:
        polled = summary["processes"]["means"] == "poll"
        peaks["children"] = "none was seen" if polled else "there were none"
    yield "peak PSS", _align(peaks)
    yield "processes", [describe_processes(summary["processes"]), *_list_roles(summary["roles"])]
    if summary["cpu"]:
        yield "CPU time", _list_cpu(summary)
        if len(summary["cpu"]["busiest"]) > 1:
            yield "busiest", _list_busiest(summary["cpu"])
    if summary["stayed"]:
        stayed = summary["stayed"]
        width = COLUMNS - _NAME - 14
        listed = [f"pid {each['pid']}  {shorten(each['command'], width)}" for each in stayed]
        yield "still live", listed
    yield "sampled", [_describe_rate(summary)]
    yield "overhead", [_describe_overhead(summary)]
    if place is not None:
        yield "folder", [place]


def describe_end(summary: Mapping[str, Any]) -> str:
    """Describe how and when the command ended."""
    duration, code = format_seconds(summary["duration_s"]), summary["exit_code"]
    if summary["status"] == "cut":
        return f"CUT OFF after {duration}: the tracer was ended, or it is still running"
    if summary["pid"] is not None:
        if any(each["pid"] == summary["pid"] for each in summary["stayed"]):
            return f"not yet: pid {summary['pid']} goes on; it was traced for {duration}"
        return f"pid {summary['pid']}, after {duration} of tracing; exit code not known"
    if code is None:
        return f"{summary['status']}, after {duration}"
    if code < 0:
        return f"by {_name_signal(-code)}, after {duration}"
    return f"with exit code {code}, after {duration}"


def format_peak(peak: Mapping[str, Any]) -> str:
    """Format a bracket: "between 231.0 and 233.5 MiB, at 1.24 s"."""
    lower, upper = peak["lower_bytes"], peak["upper_bytes"]
    if lower is None:
        known = "" if upper is None else f", at most {format_size(upper)}"
        return f"not seen by any sweep{known}"
    moment = format_moment(peak["lower_s"])
    if upper is None:
        return f"at least {format_size(lower)}, at {moment}; upper bound not known"
    size, _unit = format_size(lower, upper).split()
    return f"between {size} and {format_size(upper)}, at {moment}"


def format_size(size: Bytes, scale: Bytes | None = None) -> str:
    """Format a size in MiB with one digit, or in GiB if it (or `scale`, if given) is large."""
    if (size if scale is None else scale) >= _LARGE:
        return f"{size / GIB:,.2f} GiB"
    return f"{size / MIB:,.1f} MiB"


def format_moment(moment_s: Seconds) -> str:
    """Format a moment of a trace in seconds, to a hundredth."""
    return f"{moment_s:,.2f} s"


def describe_processes(processes: Mapping[str, Any]) -> str:
    """Describe how many processes there were, and for how many a sweep read the memory."""
    polled = f"; {POLLED}" if processes["means"] == "poll" else ""
    if processes["created"] is None:
        return f"{processes['sampled']} sampled; their total number was not recorded{polled}"
    return (
        f"{processes['created']} created, {processes['sampled']} sampled,"
        f" {processes['bounded_only']} bounded only{polled}"
    )


def _list_roles(roles: Mapping[str, Any]) -> list[str]:
    texts = {}
    for role, numbers in roles.items():
        mark = numbers["high_water_bytes"]
        created = "" if numbers["created"] is None else f"{numbers['created']} created, "
        highest = "" if mark is None else f", highest RSS of one {format_size(mark)}"
        texts[role] = f"{created}{numbers['sampled']} sampled{highest}"
    return _align(texts)


def _list_cpu(summary: Mapping[str, Any]) -> list[str]:
    cpu, duration = summary["cpu"], summary["duration_s"]
    texts = {"tree": format_cpu(cpu["tree"])}
    if cpu["tree"]["cpu_s"] is not None and duration:
        texts["tree"] += f", on average {cpu['tree']['cpu_s'] / duration:.2g} cores"
    if len(cpu["roles"]) > 1:
        texts |= {role: format_cpu(used) for role, used in cpu["roles"].items()}
    return _align(texts)


def format_cpu(cpu: Mapping[str, Any]) -> str:
    """Format CPU time: "2.31 s", or "at least 2.31 s" if there may have been more."""
    if cpu["cpu_s"] is None:
        return "not known"
    return f"{'' if cpu['is_whole'] else 'at least '}{format_seconds(cpu['cpu_s'])}"


def _list_busiest(cpu: Mapping[str, Any]) -> list[str]:
    """List single processes by their CPU time, one line each."""
    busiest, others = cpu["busiest"], cpu["others"]
    rows = [(f"pid {each['pid']}", each["role"], format_cpu(each)) for each in busiest]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row, each in zip(rows, busiest, strict=True):
        begin = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append(f"{begin}  {shorten(each['command'], COLUMNS - _NAME - len(begin) - 2)}")
    if others["processes"]:
        lines.append(f"{count_others(others['processes'])}: {format_cpu(others)}")
    return lines


def count_others(number: int) -> str:
    """Return how many processes are not listed, in words."""
    return f"{number} other{'s' if number > 1 else ''}"


def _align(texts: Mapping[str, str]) -> list[str]:
    width = max(map(len, texts), default=0) + 2
    return [f"{name:<{width}}{text}" for name, text in texts.items()]


def _describe_loss(summary: Mapping[str, Any]) -> str:
    upto = summary["recorded_s"]
    known = "nothing was recorded" if upto is None else f"recorded up to {format_moment(upto)}"
    return f"{summary['detail']}; {known}"


def _describe_rate(summary: Mapping[str, Any]) -> str:
    sampler, duration = summary["sampler"], summary["duration_s"]
    rate = sampler["sweeps"] / duration if duration else 0
    gaps = ""
    if sampler["median_gap_s"] is not None:
        median, p99 = (format_seconds(sampler[f"{name}_gap_s"]) for name in ("median", "p99"))
        gaps = f"; median gap {median}, 1 in 100 over {p99}"
    read = ""
    if sampler.get("reads") and duration:
        by = "by a control group" if sampler["by_group"] else "by the processes' counters"
        read = f"total {sampler['reads'] / duration:.3g} times a second {by}; swept "
    return read + (
        f"{rate:.3g} times a second, {1 / sampler['interval_s']:.3g} asked for{gaps};"
        f" {sampler['torn']} of {sampler['sweeps']} torn"
    )


def _describe_overhead(summary: Mapping[str, Any]) -> str:
    sampler, duration = summary["sampler"], summary["duration_s"]
    share, advance = sampler["cpu_budget"], sampler["cpu_budget"] * sampler["advance_s"]
    budget = f"budget {_percent(share)}" + f", and {format_seconds(advance)} at the start" * (
        advance > 0
    )
    if sampler["cpu_s"] is None or not duration:
        return f"not recorded ({budget})"
    names = ("cpu_s", "census_cpu_s", "read_cpu_s")
    used, census, reads = ((sampler.get(name) or 0) / duration for name in names)
    whole = summary["instrument_cpu_s"]
    sweeps, counted = f"sweeps {_percent(used - census - reads)}", f"census {_percent(census)}"
    parts = f"{sweeps} and {counted} ({budget})"
    if sampler.get("reads"):
        # Then the budget is for sweeps alone.
        parts = f"readings {_percent(reads)}, {counted}, {sweeps} ({budget})"
    total = "" if whole is None else f"{_percent(whole / duration)} of a core in all: "
    return total + parts


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def shorten(text: str, width: int) -> str:
    """Cut a text to `width`; line breaks become spaces, and control characters visible."""
    flat = " ".join(text.split())
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in flat)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def _wrap(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=COLUMNS,
        initial_indent=f"{name:<{_NAME}}",
        subsequent_indent=" " * _NAME,
        drop_whitespace=True,
        break_on_hyphens=False,
    )


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
