"""The plan of a study: all that the analysis needs to know of its design, as JSON and as text.

How tasks come into an experiment's workflow and pass its stages, in words for a plan.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stagebench.design.grid import order_runs, order_warm_ups
from stagebench.design.levels import holds, level_key
from stagebench.task_list import count_tasks
from stagebench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stagebench.design.checked_study import ExperimentGrid, Factor, Level, Study, Treatment


Json = dict[str, Any]

WIDTH = 80
"""Columns of a plan written for people."""


def make_plan(study: Study) -> Json:
    """Make the plan of a checked study; the same config always makes the same plan."""
    treatments = study.treatments
    return {
        "study": study.name,
        "seed": study.seed,
        "replicates": study.replicates,
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
    }


def format_plan(plan: Json) -> str:
    """Write a plan for people: its experiments, the most demanding treatment, the runs in all."""
    lines = [f"study {plan['study']}: seed {plan['seed']}, replicates {plan['replicates']}"]
    for experiment in plan["experiments"]:
        lines += ["", *_format_experiment(experiment, plan["treatments"])]
    key, need = max(
        ((key, t["estimated_memory_bytes"]) for key, t in plan["treatments"].items()),
        key=lambda pair: pair[1],
    )
    limit, warm_ups = format_seconds(plan["time_limit_s"]), len(plan["warm_up_runs"])
    before = f", after {warm_ups} to warm up" if warm_ups else ""
    runs = f"{len(plan['runs'])} runs of {len(plan['treatments'])} treatments{before}"
    return "\n".join(
        [
            *lines,
            "",
            f"{runs}, each stopped after {limit}",
            f"most memory, by estimate: {format_bytes(need)} ({key})",
        ]
    )


def _plan_experiment(experiment: ExperimentGrid, treatments: list[Treatment]) -> Json:
    return {
        "name": experiment.name,
        "workflow": experiment.workflow,
        "baseline": next(t.id for t in treatments if t.baseline),
        "factors": {f.name: _levels_in_use(f, treatments) for f in experiment.factors},
        "treatments": [t.id for t in treatments],
    }


def _levels_in_use(factor: Factor, treatments: list[Treatment]) -> list[Level]:
    """List the levels that treatments have: those of the config first, then the included ones."""
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
    needs = [treatment["estimated_memory_bytes"] for treatment in own]
    factors = [f"{factor} ({len(levels)})" for factor, levels in experiment["factors"].items()]
    return [
        f"{name}: {len(ids)} treatments of workflow {experiment['workflow']}",
        *_wrap("tasks: ", format_tasks([treatment["specification"] for treatment in own])),
        *(
            line
            for label, words in format_stages([treatment["specification"] for treatment in own])
            for line in _wrap(f"stage {label}: ", words)
        ),
        *_wrap("factors (levels): ", factors or ["none"]),
        *_wrap("treatments: ", ids),
        f"  baseline: {experiment['baseline']}",
        f"  memory of one run, by estimate: up to {format_bytes(max(needs))}",
    ]


def _wrap(label: str, words: list[str]) -> list[str]:
    return textwrap.wrap(
        label + ", ".join(words),
        width=WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def format_tasks(specifications: list[Json]) -> list[str]:
    """Say how many tasks there are, how they arrive, and how many may be in flight.

    What differs between the treatments is joined by "or", as their levels come.
    """
    return [
        _any_of(specifications, lambda one: _count(one["tasks"])),
        _any_of(specifications, lambda one: _arrival(one.get("arrival"))),
        *_limits(
            [one.get("in_flight") for one in specifications], "{} in flight at most", "any number"
        ),
    ]


def format_stages(specifications: list[Json]) -> Iterator[tuple[str, list[str]]]:
    """Give each stage's name with its handler, its executor, and what else it is limited to."""
    for place, stage in enumerate(specifications[0]["stages"]):
        own = [one["stages"][place] for one in specifications]
        executor = _any_of(own, lambda one: str(one["executor"]))
        handler = _any_of(own, lambda one: str(one["handler"]))
        yield stage["name"], [f"{handler} on {executor}", *_format_limits(own)]


def _format_limits(stages: list[Json]) -> Iterator[str]:
    yield from _limits([one.get("transport") for one in stages], "by {}", "pickle")
    yield from _limits([one.get("queue_size") for one in stages], "queue of {}", "any size")
    timeouts = [one.get("timeout_s") for one in stages]
    texts = [None if limit_s is None else format_seconds(limit_s) for limit_s in timeouts]
    yield from _limits(texts, "time-out {}", "none")
    yield from _limits([one.get("retries") for one in stages], "{} retries", "0")
    causes = [one.get("retry_on") for one in stages]
    words = [None if on is None else "/".join(on) for on in causes]
    yield from _limits(words, "tried again after {}", "any fault")


def _limits(values: list[Any], text: str, unset: str) -> list[str]:
    """Put the different values into a text; nothing where none of them is set."""
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
