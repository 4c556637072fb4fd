"""What one trace comes to: the summary that is shown and stored, and the timeline that is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stagebench.analyse.bracket import find_brackets
from stagebench.quantities import MEMORY_PARTS
from stagebench.records import count_processes
from stagebench.timeline import Timeline
from stagebench.units import quantile_s, to_seconds

if TYPE_CHECKING:
    from stagebench.analyse.bracket import Bracket
    from stagebench.analyse.recording import Recording
    from stagebench.records import ProcessRecord
    from stagebench.units import Bytes, Nanoseconds, Seconds

PSS_KINDS = frozenset({"pss", "held"})
"""Kinds of sweeps that tell the PSS; in one that is held nothing had changed since the last."""


def summarise_recording(recording: Recording) -> dict[str, Any]:
    """Give the summary of a trace as JSON; what is not known is null."""
    run, memory = recording.run, recording.memory
    brackets = find_brackets(memory)
    return {
        "command": name_command(recording),
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
        "stayed": run.get("stayed", []),
        "sampler": describe_sampler(recording),
        "instrument_cpu_s": run.get("instrument_cpu_s"),
    }


def name_command(recording: Recording) -> list[str]:
    """Give the words of the command; a run of a study is named by its place in it."""
    run = recording.run
    if "command" in run:
        return list(run["command"])
    letter = "w" if run["warm_up"] else "r"
    return [f"{run['experiment']}/{run['treatment']}/{letter}{run['replicate']}"]


def describe_bracket(bracket: Bracket, origin_ns: Nanoseconds) -> dict[str, Any]:
    """Give a bracket, with its moment in seconds since the start of the command."""
    seen_ns = bracket.lower_ns
    return {
        "lower_bytes": bracket.lower_bytes,
        "lower_s": None if seen_ns is None else to_seconds(seen_ns - origin_ns),
        "upper_bytes": bracket.upper_bytes,
    }


def describe_census(recording: Recording) -> dict[str, Any]:
    """Count processes; how many there were in all is not known of a trace that was cut off."""
    census = recording.run["census"]
    if "created" in census:
        return dict(census)
    unknown = {"created": None, "bounded_only": None}
    return {"means": census["means"]} | count_processes(recording.memory.processes) | unknown


def recorded_s(recording: Recording) -> Seconds | None:
    """Give the time of the last sweep: what was recorded goes up to there."""
    sweeps = recording.memory.sweeps
    return to_seconds(sweeps[-1].ended_ns - recording.origin_ns) if sweeps else None


def describe_roles(recording: Recording) -> dict[str, Any]:
    """Count the processes of each role, and give the highest high-water mark of any one of them."""
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


def describe_sampler(recording: Recording) -> dict[str, Any]:
    """Give what the sampler was asked for and achieved; of what was cut, as far as its files go."""
    told, sweeps = recording.run["sampler"], recording.memory.sweeps
    asked = {name: told[name] for name in ("interval_s", "cpu_budget")}
    cost = {name: told.get(name) for name in ("cpu_s", "census_cpu_s")}
    if recording.is_whole:
        achieved = {name: told[name] for name in ("sweeps", "torn", "median_gap_s", "p99_gap_s")}
        return asked | achieved | cost
    found = [sweep for sweep in sweeps if sweep.kind in PSS_KINDS]
    gaps = sorted(later.started_ns - earlier.started_ns for earlier, later in pairwise(found))
    achieved = {
        "sweeps": len(found),
        "torn": sum(sweep.torn for sweep in found),
        "median_gap_s": quantile_s(gaps, 0.5),
        "p99_gap_s": quantile_s(gaps, 0.99),
    }
    return asked | achieved | cost


def draw_timeline(recording: Recording) -> Timeline:
    """Give the PSS of every sweep, and the number of processes over time."""
    memory, origin_ns = recording.memory, recording.origin_ns
    totals = _total_samples(recording)
    times: list[Seconds] = []
    pss: dict[str, list[Bytes]] = {part: [] for part in MEMORY_PARTS}
    latest: dict[str, Bytes] | None = None
    for sweep in memory.sweeps:
        if sweep.kind not in PSS_KINDS:
            continue
        latest = totals.get(sweep.sweep) if sweep.kind == "pss" else latest
        if latest is None:
            continue
        times.append(to_seconds(sweep.ended_ns - origin_ns))
        for part in MEMORY_PARTS:
            pss[part].append(latest[part])
    changes = count_alive(recording)
    changed = [to_seconds(moment - origin_ns) for moment, _ in changes]
    return Timeline(times, pss, changed, [alive for _, alive in changes])


def count_alive(recording: Recording) -> list[tuple[Nanoseconds, int]]:
    """Give how many processes lived from each change on: by the census, or else by the sweeps."""
    memory = recording.memory
    if "created" not in recording.run["census"]:
        return [(sweep.started_ns, sweep.processes) for sweep in memory.sweeps]
    steps: Counter[Nanoseconds] = Counter()
    for process in memory.processes:
        steps[max(process.started_ns, recording.origin_ns)] += 1
        steps[min(process.ended_ns or recording.ended_ns, recording.ended_ns)] -= 1
    alive, counts = 0, []
    for moment in sorted(steps):
        alive += steps[moment]
        counts.append((moment, alive))
    return counts


def _total_samples(recording: Recording) -> dict[int, dict[str, Bytes]]:
    main = {process.pid for process in recording.memory.processes if process.role == "main"}
    totals: defaultdict[int, dict[str, Bytes]] = defaultdict(lambda: dict.fromkeys(MEMORY_PARTS, 0))
    for sample in recording.memory.samples:
        if sample.pss_bytes is not None:
            part = "main" if sample.pid in main else "children"
            totals[sample.sweep][part] += sample.pss_bytes
            totals[sample.sweep]["tree"] += sample.pss_bytes
    return dict(totals)
