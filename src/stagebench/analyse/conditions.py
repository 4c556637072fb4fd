"""The conditions of runs: properties of their machine, its state, and what disturbed a run.

A disturbed run is flagged as noisy, with the reasons. The flag is a label: no run is dropped and no
number changes because of it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from stagebench.store import canonical_json
from stagebench.tables.schema import NODES_BETWEEN
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stagebench.analyse.traces import Head, Trace
    from stagebench.units import Seconds


Row = dict[str, Any]

MOST_NAMED = 4
"""With more treatments of an experiment, their runs are counted instead of named."""


def count_nodes(nodes: Iterable[str]) -> int:
    """Return on how many nodes values are known to be: unknown ones are one more, or all."""
    found = set(nodes)
    return len(found) if len(found - {""}) > 1 else 1


def summarise_environment(heads: Sequence[Head]) -> list[Row]:
    """Return one row per property and value; a second value of a property means mixed places.

    Where treatments name their interpreters, that these differ is meant: only runs with the same
    one must be alike. Whether the GIL is on may also be due to what a treatment's handlers import.
    Nodes may differ, too: what is the same in all runs of each node has its `nodes`, not its place.
    """
    seen: dict[str, dict[str, list[int]]] = {}
    of_interpreters: set[str] = set()
    for index, head in enumerate(heads):
        of_interpreter = dict(_interpreter_properties(head.run))
        of_interpreters |= of_interpreter.keys()
        for name, value in (dict(_properties(head.run)) | of_interpreter).items():
            seen.setdefault(name, {}).setdefault(value, []).append(index)
    runs = [(head.planned["experiment"], head.planned["treatment"]) for head in heads]
    pythons = [canonical_json(head.run["specification"].get("python")) for head in heads]
    own = {"gil": ["/".join(run) for run in runs]}
    nodes = [head.node for head in heads]
    return [
        {
            "property": name,
            "value": value,
            "runs": len(places),
            "where": ""
            if len(places) == len(heads)
            or by_node
            or (name in of_interpreters and _is_meant(values, own.get(name, pythons)))
            else name_places(runs, places),
            "nodes": NODES_BETWEEN.join(dict.fromkeys(nodes[place] for place in places))
            if by_node
            else "",
        }
        for name, values in seen.items()
        for by_node in [_differs_by_node(values, nodes)]
        for value, places in values.items()
    ]


def _differs_by_node(values: Mapping[str, Sequence[int]], nodes: Sequence[str]) -> bool:
    """Return whether a property is the same, or unknown, in all runs of each of several nodes."""
    runs = Counter(nodes)
    own = [Counter(nodes[place] for place in places) for places in values.values()]
    is_whole = all(runs[node] == count for counts in own for node, count in counts.items())
    return is_whole and count_nodes(nodes) > 1 and own != [runs]


def _is_meant(values: Mapping[str, Sequence[int]], groups: Sequence[str]) -> bool:
    """Return whether a property has one value in each group of runs."""
    found: dict[str, str] = {}
    return all(
        found.setdefault(groups[place], value) == value
        for value, places in values.items()
        for place in places
    )


def describe_interpreter(run: Row) -> Row:
    """Return what ran a run's measured process, as far as it is known."""
    known = run.get("interpreter")
    if known is not None:
        return dict(known)
    # Before this was recorded, it was the one of the supervisor; an import may have switched its
    # GIL on.
    environment = run["environment"]
    return {
        "version": environment.get("python"),
        "implementation": environment.get("python_implementation"),
        "gil": environment.get("gil") or None,
        "packages": {},
    }


def summarise_interpreter(trace: Trace) -> list[Row]:
    """Return the row of a run in the table of interpreters."""
    found = describe_interpreter(trace.run)
    packages = found.pop("packages")
    python = found.pop("name", None)
    texts = [f"{name} {version}" for name, version in packages.items()]
    return [trace.key | found | {"python": python, "packages": ", ".join(texts)}]


def _interpreter_properties(run: Row) -> Iterator[tuple[str, str]]:
    """Yield the properties of what ran the workflow, which may differ on purpose."""
    if "interpreter" not in run:
        return
    found = run["interpreter"]
    names = {"python": "version", "python_implementation": "implementation", "gil": "gil"}
    for name, key in names.items():
        if found[key] is not None:
            yield name, str(found[key])
    yield from ((f"packages.{name}", str(one)) for name, one in found["packages"].items())


def name_places(runs: list[tuple[str, str]], own: list[int]) -> str:
    """Name the experiments, or else the treatments, of some runs: "a, b/t1 (2 of 3 runs)"."""
    chosen = [runs[index] for index in own]
    places = []
    for experiment in dict.fromkeys(name for name, _ in chosen):
        here = [run for run in chosen if run[0] == experiment]
        all_here = sum(name == experiment for name, _ in runs)
        treatments = list(dict.fromkeys(here))
        if len(here) == all_here:
            places.append(experiment)
        elif len(treatments) > MOST_NAMED:
            places.append(f"{experiment} ({len(here)} of {all_here} runs)")
        else:
            places += [_name_treatment(run, here.count(run), runs.count(run)) for run in treatments]
    return ", ".join(places)


def _name_treatment(run: tuple[str, str], count: int, of: int) -> str:
    return "/".join(run) + ("" if count == of else f" ({count} of {of} runs)")


def _properties(run: Row) -> Iterator[tuple[str, str]]:
    environment = run["environment"]
    # A node that is called as its host is said once.
    is_host = environment.get("node") == environment.get("host")
    known = environment | ({"node": None} if is_host else {})
    for name, value in [*known.items(), *run["machine_before"]["settings"].items()]:
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", str(version)) for part, version in value.items())
        elif value is not None:
            yield name, str(value)


MOST_STEAL_SHARE = 0.01
MOST_OTHERS_SHARE = 0.05
MOST_MEMORY_PRESSURE_SHARE = 0.01
"""A run is noisy if the host stole more than this share, other programs used more, or tasks waited
for memory for longer. Pressure on CPU and disk is not flagged: the run itself causes it."""

LEAST_CPU_S = 0.05
"""Less stolen time or use by others is not flagged: the kernel counts in ticks of 10 ms."""


def describe_conditions(run: Row) -> Row:
    """Return the columns of one run on the state of the machine and on what disturbed the run."""
    before, after, quiet = run["machine_before"], run["machine_after"], run["quiet"]
    found = {
        "quiet_wait_s": quiet["waited_s"],
        "idle_before_share": quiet["idle_share"],
        "quiet": quiet["quiet"],
        **_describe_warmth(run["warmed"], before),
        "throttled": _count_throttled(before, after),
        **{
            f"pressure_{name}_share": _pressure_share(before, after, name)
            for name in ("cpu", "memory", "io")
        },
        "machine_context_switches": _difference(before, after, "context_switches"),
        "context_switches_voluntary": run["context_switches_voluntary"],
        "context_switches_involuntary": run["context_switches_involuntary"],
    }
    return found | {"noisy": "; ".join(find_noise(run, found))}


def _describe_warmth(warmed: Row, before: Row) -> Row:
    """Return how much memory was touched before a run, why not more, and what a page cost."""
    costs = {name: before[f"{name}_ns"] for name in ("fresh_page", "used_page")}
    return {
        "warm_needed_bytes": warmed["needed_bytes"],
        "warm_touched_bytes": warmed["touched_bytes"],
        "warm_s": warmed["took_s"],
        "not_warmed": warmed["reason"],
        **{f"{name}_s": None if ns is None else to_seconds(ns) for name, ns in costs.items()},
    }


def find_noise(run: Row, found: Row) -> Iterator[str]:
    """Yield every reason why a run is noisy, with its size."""
    before, after, noise = run["machine_before"], run["machine_after"], run["noise"]
    cores = run["environment"].get("cores") or 1
    span_s = to_seconds(after["time_ns"] - before["time_ns"]) * cores
    if found["quiet"] is False:
        yield f"not quiet before ({_percent(found['idle_before_share'])} idle)"
    if _exceeds(noise["steal_share"], MOST_STEAL_SHARE, span_s):
        yield f"{_percent(noise['steal_share'])} of CPU time stolen by the host"
    server = noise.get("server_cpu_share") or 0.0
    others = (noise["others_cpu_share"] or 0.0) - server
    if _exceeds(others, MOST_OTHERS_SHARE, span_s):
        yield f"others used {_percent(others)} of CPU time"
    if _exceeds(server, MOST_OTHERS_SHARE, span_s):
        yield f"the server beside it used {_percent(server)} of CPU time"
    if found["throttled"]:
        count = found["throttled"]
        yield f"throttled {count} time{'s' if count > 1 else ''}"
    if _exceeds(found["pressure_memory_share"], MOST_MEMORY_PRESSURE_SHARE):
        yield f"memory was short {_percent(found['pressure_memory_share'])} of the time"
    for name, value in before["settings"].items():
        if after["settings"][name] != value:
            yield f"{name} changed from {value} to {after['settings'][name]}"


def _exceeds(share: float | None, most: float, span_s: Seconds = math.inf) -> bool:
    """Whether a share is too large, and its time more than the kernel's clock resolves."""
    return share is not None and share > most and share * span_s > LEAST_CPU_S


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _difference(before: Row, after: Row, name: str) -> int | None:
    values = after[name], before[name]
    return None if None in values else values[0] - values[1]


def _count_throttled(before: Row, after: Row) -> int | None:
    """Count how often heat or a control group's limit slowed CPUs; missing if both are unknown."""
    found = [_difference(before["throttled"], after["throttled"], n) for n in before["throttled"]]
    known = [count for count in found if count is not None]
    return sum(known) if known else None


def _pressure_share(before: Row, after: Row, name: str) -> float | None:
    """Return the share of the run's time in which some task of the machine waited for `name`."""
    first, last = before["pressure"][name], after["pressure"][name]
    span_ns = after["time_ns"] - before["time_ns"]
    if first is None or last is None or not span_ns:
        return None
    return float((last["some_us"] - first["some_us"]) * 1000 / span_ns)
