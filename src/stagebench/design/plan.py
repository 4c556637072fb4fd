"""The plan of a study: all that the analysis needs to know of its design, as JSON and as text."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stagebench.design.flow import format_stages, format_tasks
from stagebench.design.grid import expand_treatments
from stagebench.design.levels import holds, level_key
from stagebench.design.order import order_runs, order_warm_ups
from stagebench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from stagebench.design.study import Experiment, Factor, Level, Study, Treatment

Json = dict[str, Any]

WIDTH = 80
"""Columns of a plan written for people."""


def make_plan(study: Study) -> Json:
    """Expand a checked study into its plan; the same config always gives the same plan."""
    treatments = expand_treatments(study)
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


def _plan_experiment(experiment: Experiment, treatments: list[Treatment]) -> Json:
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
