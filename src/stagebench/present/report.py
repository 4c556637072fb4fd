"""Tables, plan and figures → report.md and report.html; the same input gives the same bytes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markdown_it import MarkdownIt
from markupsafe import Markup

from stagebench.present import (
    findings,
    report_attempts,
    report_census,
    report_checks,
    report_comparisons,
    report_conditions,
    report_drift,
    report_flow,
    report_machine,
    report_precision,
    report_tables,
    report_winners,
    unseen,
)
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.figures import OVERVIEWS, RATIOS
from stagebench.present.markdown import count_noun, render_template
from stagebench.store import read_json, write_text
from stagebench.tables import read_claims, read_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

_FOLDER = Path(__file__).parent


class Contents(NamedTuple):
    """What a report is made of: all tables, those of each experiment, the folder of figures."""

    tables: Mapping[str, pd.DataFrame]
    experiments: Sequence[Experiment]
    figures: Path


class Section(NamedTuple):
    """A section that another package adds, with its name among the contents.

    `render` returns Markdown, or "" where the study has nothing of the kind.
    """

    anchor: str
    title: str
    render: Callable[[Contents], str]


class AddedText(NamedTuple):
    """What other packages add: sections, and of an experiment a finding and a part each."""

    sections: Sequence[Section] = ()
    findings: Sequence[Callable[[Experiment], str]] = ()
    parts: Sequence[Callable[[Experiment, Path], str]] = ()


NOTHING_ADDED = AddedText()


def render_report(
    tables_folder: Path,
    plan: Path,
    figures: Path,
    out: Path,
    *,
    claims: Path | None = None,
    added: AddedText = NOTHING_ADDED,
) -> None:
    """Write `report.md` and `report.html` into `out`; images are named relative to it.

    `claims` is the folder of judged claims, where the study has some.
    """
    tables = read_tables(tables_folder) | read_claims(claims)
    experiments = split_experiments(tables)
    contents = Contents(tables, experiments, Path(os.path.relpath(figures, out)))
    values = _report_values(contents, read_json(plan), added)
    text = render_template(_FOLDER / "report.md.j2", values)
    body = MarkdownIt("commonmark").enable("table").render(text)
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    page_values = {
        "title": f"Study {values['study']}",
        "style": Markup(style),  # noqa: S704 - our own
        "body": Markup(body),  # noqa: S704 - cells are escaped where tables are made
    }
    page = render_template(_FOLDER / "report.html.j2", page_values)
    write_text(out / "report.md", text)
    write_text(out / "report.html", page)


def _report_values(contents: Contents, plan: Mapping[str, Any], added: AddedText) -> dict[str, Any]:
    tables = contents.tables
    runs = tables["runs"]
    return {
        "study": plan["study"],
        "seed": plan["seed"],
        "planned_runs": count_noun(len(plan["runs"]), "run"),
        "blocks": count_noun(int(plan["replicates"]), "block"),
        "time_limit": plan["time_limit_s"],
        "first_start": _moment(runs["started_at"].min()),
        "last_start": _moment(runs["started_at"].max()),
        "fewest": int(runs.groupby(["experiment", "treatment"])["replicate"].count().min()),
        "warm_ups": report_conditions.warm_ups_text(tables["warm_ups"]),
        "campaigns": report_conditions.campaigns_text(runs),
        "machine": report_machine.machine_table(tables["environment"]),
        "packages": report_machine.packages_text(tables["environment"]),
        "findings": [
            *findings.study_findings(runs),
            *report_machine.mixture_findings(tables["environment"]),
            *report_conditions.noise_findings(runs),
        ],
        "experiments": [
            _experiment_values(one, contents.figures, added) for one in contents.experiments
        ],
        "sections": [
            {"anchor": section.anchor, "title": section.title, "text": text}
            for section in added.sections
            if (text := section.render(contents))
        ],
        "precision": _precision_values(tables["comparisons"], plan),
        "drift": _drift_values(tables["drift"]),
        "checks": _check_values(tables),
        "forks_beside_threads": _forks_beside_threads(tables["stages"]),
    }


def _experiment_values(experiment: Experiment, figures: Path, added: AddedText) -> dict[str, Any]:
    folder = (figures / experiment.name).as_posix()
    found = (find(experiment) for find in added.findings)
    return {
        "name": experiment.name,
        "baseline": experiment.baseline,
        "treatments": experiment.treatments,
        "factors": report_tables.factors_text(experiment),
        "findings": [*findings.experiment_findings(experiment), *filter(None, found)],
        "parts": [part for make in added.parts if (part := make(experiment, figures))],
        "winners": report_winners.describe_winners(experiment),
        "arrival": report_flow.arrival_text(experiment),
        "pressure": report_flow.pressure_sentences(experiment),
        "pressure_table": report_flow.pressure_table(experiment),
        "pressure_contrasts": report_flow.contrasts_table(experiment, report_flow.BOUNDS),
        "transport": report_flow.transport_sentence(experiment),
        "transport_table": report_flow.contrasts_table(experiment, report_flow.TRANSPORT),
        "workflow": report_tables.workflow_table(experiment),
        "parameters": report_tables.parameters_text(experiment),
        "table": report_tables.treatments_table(experiment),
        "unseen": unseen.unseen_note(experiment),
        "unseen_reminder": unseen.unseen_reminder(experiment),
        "effects": report_comparisons.effects_table(experiment),
        "other_effects": report_comparisons.others_table(experiment),
        "gaps": report_comparisons.gap_notes(experiment),
        "ratios_figure": f"{folder}/{RATIOS}.png",
        "stages": report_tables.stages_table(experiment),
        "memory": report_tables.memory_table(experiment),
        "census": report_census.census_table(experiment),
        "is_polled": report_census.is_polled(experiment),
        "figures": {name: f"{folder}/{name}.png" for name in OVERVIEWS},
        "task_figures": {name: f"{folder}/tasks-{name}.png" for name in experiment.treatments},
    }


def _check_values(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    runs = tables["runs"]
    return {
        "failures": report_checks.failures_table(runs),
        "failed_warm_ups": report_conditions.failed_warm_ups_table(tables["warm_ups"]),
        "attempts": report_attempts.attempts_text(tables["stages"]),
        "outcomes": report_attempts.outcomes_table(tables["stages"]),
        "errors": report_checks.task_errors(tables["tasks"]),
        "repeated_errors": report_checks.task_errors(tables["attempts"]),
        "order": report_checks.order_text(runs),
        "overlap": report_checks.overlap_text(runs),
        "survivors": report_checks.survivors_text(runs),
        "totals": report_checks.totals_text(runs),
        "noise": report_checks.noise_table(runs),
        "quiet": report_conditions.quiet_text(runs),
        "noisy": report_conditions.noisy_text(runs),
        "noisy_runs": report_conditions.noisy_table(runs),
        "mixtures": report_machine.mixtures_table(tables["environment"]),
        "overhead": report_checks.overhead_table(runs),
        "sampler": report_checks.sampler_table(runs),
        "vanished": report_checks.vanished_text(runs),
        "metric": report_checks.metric_text(runs),
        "cgroup": report_checks.cgroup_text(runs),
    }


def _precision_values(comparisons: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "margin": 100 * plan["margin"],
        "text": report_precision.precision_text(comparisons, plan),
        "table": report_precision.precision_table(comparisons, plan),
    }


def _drift_values(drift: pd.DataFrame) -> dict[str, Any]:
    return {
        "text": report_drift.drift_text(drift),
        "findings": report_drift.drift_findings(drift),
        "table": report_drift.drift_table(drift),
    }


def _moment(text: str) -> str:
    """Shorten an ISO time to minutes: "2026-11-23 07:00 UTC"."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _forks_beside_threads(stages: pd.DataFrame) -> bool:
    """Tell whether a treatment forks workers while threads of another stage may be running."""
    run = ["experiment", "treatment", "replicate"]
    forking = stages[stages["start_method"] == "fork"][run]
    threads = stages[stages["executor"] == "thread"][run]
    return not forking.merge(threads, on=run).empty
