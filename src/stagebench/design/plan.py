"""The plan of a study: all that the analysis needs to know about its design, as JSON and as text.

`format_resolved` writes the config itself, with what it extends, as YAML that names the file and
line of every value.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stagebench.design.diagnoses import format_diagnoses, plan_diagnoses
from stagebench.design.grid import order_runs, order_warm_ups
from stagebench.design.levels import holds, level_key
from stagebench.design.unsupported import find_unsupported
from stagebench.design.yaml import is_ambiguous
from stagebench.engines.support import OWN
from stagebench.task_list import count_tasks
from stagebench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from stagebench.design.grid import ExperimentGrid, Factor, Study, Treatment, Until
    from stagebench.design.levels import Level
    from stagebench.design.merging import Node
    from stagebench.design.problems import Origin
    from stagebench.design.yaml import Config

Json = dict[str, Any]

WIDTH = 80
"""Line width of a plan as text."""


def make_plan(study: Study) -> Json:
    """Make the plan of a checked study; the same config always makes the same plan."""
    treatments = study.treatments
    return {
        "study": study.name,
        "seed": study.seed,
        "replicates": study.replicates,
        **_plan_until(study.until),
        "warm_ups": study.warm_ups,
        "time_limit_s": study.time_limit_s,
        "quiet_wait_s": study.quiet_wait_s,
        "precision": dict(study.precision),
        "margin": study.margin,
        "reference": study.reference,
        "claims": study.claims,
        "experiments": [
            _plan_experiment(experiment, [t for t in treatments if t.experiment == experiment.name])
            for experiment in study.experiments
        ],
        "treatments": {f"{t.experiment}/{t.id}": _plan_treatment(t) for t in treatments},
        "warm_up_runs": [asdict(run) for run in order_warm_ups(study, treatments)],
        "runs": [asdict(run) for run in order_runs(study, treatments)],
        "diagnoses": plan_diagnoses(study),
    }


def _plan_until(until: Until | None) -> Json:
    """Return the entry of a study that may stop early; nothing for others, so they stay as are."""
    if until is None:
        return {}
    return {
        "until": {
            "half_widths": dict(until.half_widths),
            "at_least": until.at_least,
            "time_budget_s": until.time_budget_s,
        }
    }


def name_runs(plan: Mapping[str, Any]) -> dict[str, Json]:
    """Return the planned runs, warm-ups first, by the path of their folder below `raw`."""
    return {
        f"{run['experiment']}/{run['treatment']}/{kind}{run['replicate']}": run
        for kind, runs in (("w", plan["warm_up_runs"]), ("r", plan["runs"]))
        for run in runs
    }


def format_plan(plan: Mapping[str, Any], *, is_tried: bool = False) -> str:
    """Format a plan as text: its experiments, the number of runs, the most demanding treatment.

    Unless it `is_tried` next, the text says how to find out what a plan cannot know.
    """
    lines = [f"study {plan['study']}: seed {plan['seed']}, {_format_blocks(plan)}"]
    for experiment in plan["experiments"]:
        lines += ["", *_format_experiment(experiment, plan["treatments"])]
    key, need = max(
        ((key, t["estimated_memory_bytes"]) for key, t in plan["treatments"].items()),
        key=lambda pair: pair[1],
    )
    limit, warm_ups = format_seconds(plan["time_limit_s"]), len(plan["warm_up_runs"])
    before = f", after {warm_ups} to warm up" if warm_ups else ""
    most = f"most memory, by estimate: {format_bytes(need)} ({key})"
    unknown = "" if is_tried else "unknown; --trial measures it"
    runs = f"{_count_runs(plan)} runs of {len(plan['treatments'])} treatments{before}"
    return "\n".join(
        [
            *lines,
            "",
            f"{runs}, each stopped after {limit}",
            *format_diagnoses(plan["diagnoses"]),
            *([most] if need else [f"most memory: {unknown}"] * bool(unknown)),
            *([f"time of the study: {unknown}"] * bool(unknown)),
        ]
    )


def _format_blocks(plan: Mapping[str, Any]) -> str:
    if "until" not in plan:
        return f"replicates {plan['replicates']}"
    until = plan["until"]
    widths = ", ".join(
        f"{name} ± {100 * width:g} %" for name, width in until["half_widths"].items()
    )
    budget = until["time_budget_s"]
    most = f", within {format_seconds(budget)}" if budget else ""
    return f"{until['at_least']} to {plan['replicates']} blocks until {widths}{most}"


def _count_runs(plan: Mapping[str, Any]) -> str:
    if "until" not in plan:
        return str(len(plan["runs"]))
    least = plan["until"]["at_least"] * len(plan["treatments"])
    return f"{least} to {len(plan['runs'])}"


def _plan_experiment(experiment: ExperimentGrid, treatments: list[Treatment]) -> Json:
    return {
        "name": experiment.name,
        "workflow": experiment.workflow,
        "baseline": next(t.id for t in treatments if t.baseline),
        "factors": {f.name: _levels_in_use(f, treatments) for f in experiment.factors},
        "treatments": [t.id for t in treatments],
        # Absent if not set, so that plans without it stay as they were.
        **({"same_work": True} if experiment.same_work else {}),
    }


def _levels_in_use(factor: Factor, treatments: list[Treatment]) -> list[Level]:
    """Return the levels that treatments have: first those listed, then those only included."""
    used = [t.factors[factor.name] for t in treatments if factor.name in t.factors]
    listed = [level for level in factor.levels if holds(used, level)]
    return list({level_key(level): level for level in [*listed, *used]}.values())


def _plan_treatment(treatment: Treatment) -> Json:
    return {
        "experiment": treatment.experiment,
        "treatment": treatment.id,
        "baseline": treatment.baseline,
        "estimated_memory_bytes": treatment.estimated_memory_bytes,
        "specification": treatment.specification,
    }


def _format_experiment(experiment: Json, treatments: Json) -> list[str]:
    name, ids = experiment["name"], experiment["treatments"]
    own = [treatments[f"{name}/{treatment}"] for treatment in ids]
    most = max(treatment["estimated_memory_bytes"] for treatment in own)
    factors = [f"{factor} ({len(levels)})" for factor, levels in experiment["factors"].items()]
    return [
        f"{name}: {len(ids)} treatments of workflow {experiment['workflow']}",
        *_wrap("tasks: ", format_tasks([treatment["specification"] for treatment in own])),
        *_wrap("engine: ", format_engines([treatment["specification"] for treatment in own])),
        *(
            line
            for label, words in format_stages([treatment["specification"] for treatment in own])
            for line in _wrap(f"stage {label}: ", words)
        ),
        *_wrap("interpreters: ", format_pythons([one["specification"] for one in own])),
        *_wrap("server: ", format_servers([treatment["specification"] for treatment in own])),
        *_wrap("factors (levels): ", factors or ["none"]),
        *_wrap("treatments: ", ids),
        f"  baseline: {experiment['baseline']}",
        *_format_unsupported(own),
        *(["  all treatments do the same work, as stated"] if "same_work" in experiment else []),
        # Without an estimate by any handler, there is nothing to say.
        *([f"  memory of one run, by estimate: up to {format_bytes(most)}"] if most else []),
    ]


def _format_unsupported(treatments: list[Json]) -> list[str]:
    """List the treatments that cannot run here, by reason; such a run is no failure."""
    reasons: dict[str, list[str]] = {}
    for treatment in treatments:
        if reason := find_unsupported(treatment["specification"]):
            reasons.setdefault(reason, []).append(treatment["treatment"])
    return [
        line
        for reason, names in reasons.items()
        for line in _wrap("cannot run here: ", [*names[:-1], f"{names[-1]}: {reason}"])
    ]


def _wrap(label: str, words: list[str]) -> list[str]:
    if not words:
        return []
    return textwrap.wrap(
        label + ", ".join(words),
        width=WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def format_tasks(specifications: list[Json]) -> list[str]:
    """Describe how many tasks there are, how they arrive, and how many may be in flight.

    Values that differ between treatments are joined by "or", in the order of the treatments.
    """
    return [
        _any_of(specifications, lambda one: _count(one["tasks"])),
        _any_of(specifications, lambda one: _arrival(one.get("arrival"))),
        *_limits(
            [one.get("in_flight") for one in specifications], "{} in flight at most", "any number"
        ),
    ]


def format_pythons(specifications: list[Json]) -> list[str]:
    """List the interpreters, with versions and packages; nothing if no treatment names one."""
    named = [one.get("python") for one in specifications]
    return list(dict.fromkeys(map(_say_python, named))) if any(named) else []


def _say_python(given: Json | None) -> str:
    if given is None:
        return "the one of stagebench"
    packages = [f"{name} {version}" for name, version in given["packages"].items()]
    return f"{given['name']} ({' with '.join(filter(None, [given['version'], *packages[:1]]))}" + (
        f" and {len(packages) - 1} more)" if packages[1:] else ")"
    )


def format_engines(specifications: list[Json]) -> list[str]:
    """Name the engines that run the stages and their nodes; nothing if it is the runner alone."""
    return [
        *_limits([one.get("engine") for one in specifications], "{}", OWN),
        *_limits([_say_nodes(one.get("nodes")) for one in specifications], "{}", "no nodes"),
    ]


def _say_nodes(given: Json | None) -> str | None:
    if given is None:
        return None
    cores = f" of {_number(given['cores'], 'core')}" if "cores" in given else ""
    link = f" with links of {given['link_mbit_s']:g} Mbit/s" if "link_mbit_s" in given else ""
    return f"{_number(given['count'], 'node')}{cores}{link}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_servers(specifications: list[Json]) -> list[str]:
    """Describe the server that is started beside each run; nothing if no treatment has one."""
    servers = [one.get("server") for one in specifications]
    if not any(servers):
        return []
    ready = [one and f"ready within {format_seconds(one['ready_s'])}" for one in servers]
    commands = [one and one["command"] for one in servers]
    return [*_limits(commands, "{}", "none"), *_limits(ready, "{}", "none")]


def format_stages(specifications: list[Json]) -> Iterator[tuple[str, list[str]]]:
    """Yield each stage's name with words for its handler, executor and limits."""
    for place, stage in enumerate(specifications[0]["stages"]):
        own = [one["stages"][place] for one in specifications]
        executor = _any_of(own, lambda one: str(one["executor"]))
        handler = _any_of(own, lambda one: str(one["handler"]))
        yield stage["name"], [f"{handler} on {executor}", *_format_limits(own)]


def _format_limits(stages: list[Json]) -> Iterator[str]:
    yield from _limits([one.get("transport") for one in stages], "by {}", "pickle")
    yield from _limits([one.get("queue_size") for one in stages], "queue of {}", "any size")
    yield from _limits([one.get("batch") for one in stages], "batches of {}", "1")
    yield from _limits([one.get("prefetch") for one in stages], "{} sent ahead", "0")
    timeouts = [one.get("timeout_s") for one in stages]
    texts = [None if limit_s is None else format_seconds(limit_s) for limit_s in timeouts]
    yield from _limits(texts, "time-out {}", "none")
    yield from _limits([one.get("retries") for one in stages], "{} retries", "0")
    causes = [one.get("retry_on") for one in stages]
    words = [None if on is None else "/".join(on) for on in causes]
    yield from _limits(words, "tried again after {}", "any fault")


def _limits(values: list[Any], text: str, unset: str) -> list[str]:
    """Fill the distinct values into a text; return nothing if none of them is set."""
    if all(value is None for value in values):
        return []
    return [text.format(_any_of(values, lambda one: unset if one is None else str(one)))]


def _any_of(items: Iterable[Any], words: Callable[[Any], str]) -> str:
    return " or ".join(dict.fromkeys(map(words, items)))


def _count(tasks: Any) -> str:
    number = f"{count_tasks(tasks):,}"
    return f"{number} of {tasks['file']}" if isinstance(tasks, dict) else number


def _arrival(given: Json | None) -> str:
    if given is None:
        return "at once"
    rate = f"{given['rate_per_s']:g}/s"
    return f"at {rate}" if given["kind"] == "fixed_rate" else f"Poisson at {rate}"


RESOLVED_WIDTH = 98
"""Line width of a resolved config."""

COMMENT_COLUMN = 60
"""Column at which the places begin if the line leaves room."""

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
"""Texts that need no quotes, except words that YAML reads as other values."""


def format_resolved(config: Config) -> str:
    """Format a config with what it extends as YAML, with the file and line of every value.

    File names are relative to the config's folder.
    """
    if config.root is None:
        return ""
    lines = _Resolved(os.path.dirname(config.root.place.file)).write(config.root, "")
    return "\n".join(lines)


class _Resolved:
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def write(self, node: Node, indent: str) -> list[str]:
        """Return the lines of the entries of a mapping or list."""
        if isinstance(node.value, dict):
            pairs = [(f"{_scalar(key)}:", value) for key, value in node.value.items()]
        else:
            pairs = [("-", value) for value in node.value]
        return [line for lead, value in pairs for line in self._entry(lead, value, indent)]

    def _entry(self, lead: str, node: Node, indent: str) -> list[str]:
        flow = f"{indent}{lead} {_flow(node)}"
        if _is_on_one_line(node) and (len(flow) < RESOLVED_WIDTH or not _holds_any(node)):
            return self._comment(flow, node.place, indent)
        below = f"{indent}  "
        lines = self.write(node, below)
        if lead == "-":
            # The first line of an item goes behind the dash; a comment above it stays above.
            first = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
            lines[first] = f"{indent}- {lines[first][len(below) :]}"
            return lines
        return [*self._comment(f"{indent}{lead}", node.place, indent), *lines]

    def _comment(self, text: str, place: Origin, indent: str) -> list[str]:
        file = os.path.relpath(place.file, self._folder or ".") if place.line else place.file
        comment = f"# {file}:{place.line}" if place.line else f"# {file}"
        line = f"{text:{COMMENT_COLUMN}}  {comment}"
        if len(line) <= RESOLVED_WIDTH:
            return [line]
        return [f"{indent}{comment}", *_break(text, indent)]


def _is_on_one_line(node: Node) -> bool:
    """Report whether a value and everything inside it come from one line."""
    return all(below.place == node.place for below in _walk(node))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    items = node.value.values() if isinstance(node.value, dict) else node.value
    for item in items if isinstance(node.value, dict | list) else ():
        yield from _walk(item)


def _holds_any(node: Node) -> bool:
    return isinstance(node.value, dict | list) and len(node.value) > 0


def _flow(node: Node) -> str:
    if isinstance(node.value, dict):
        inside = ", ".join(f"{_scalar(key)}: {_flow(one)}" for key, one in node.value.items())
        return f"{{{inside}}}"
    if isinstance(node.value, list):
        return f"[{', '.join(map(_flow, node.value))}]"
    return _scalar(node.value)


def _scalar(value: Any) -> str:
    """Format a scalar so that every version of YAML reads it back unchanged."""
    if isinstance(value, str):
        words = ("null", "true", "false", "y", "n")
        bare = _BARE.fullmatch(value) and not is_ambiguous(value) and value.lower() not in words
        if bare and len(value) < COMMENT_COLUMN:
            return value
        return json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, float):
        mantissa, letter, exponent = repr(value).partition("e")
        if not letter:
            return mantissa
        point = "" if "." in mantissa else ".0"
        return f"{mantissa}{point}e{'' if exponent.startswith('-') else '+'}{exponent.lstrip('+')}"
    return json.dumps(value)


def _break(text: str, indent: str) -> list[str]:
    """Break a long quoted text into lines that a backslash at the end joins."""
    if len(text) <= RESOLVED_WIDTH or not text.endswith('"'):
        return [text]
    pieces = re.findall(r"\\u[0-9a-fA-F]{4}|\\.|.", text)
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > RESOLVED_WIDTH - 1:
            lines[-1] += "\\"
            # A space at the start of a line would be lost.
            lines.append(f"{indent}  \\" if piece == " " else f"{indent}  ")
        lines[-1] += piece
    return lines
