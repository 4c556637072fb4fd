"""Tables, plan and figures → report.md and report.html; the same input gives the same bytes.

The findings at the top are made from the tables.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from stagebench.present import (
    effects,
    factor_text,
    flow,
    treatments,
    trust,
    winners,
)
from stagebench.present.charts import OVERVIEWS
from stagebench.present.effects import effects_finding
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.first_tasks import first_task_sentences
from stagebench.present.flow import list_unseen, name_places, name_treatments
from stagebench.present.markdown import MISSING, count_noun, format_number, render_template
from stagebench.present.why import advice_findings, why_values
from stagebench.present.winners import Work, describe_winners, list_works
from stagebench.store import read_json, write_text
from stagebench.tables.decisions import LEAST, MOST
from stagebench.tables.io import read_claims, read_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_FOLDER = Path(__file__).parent


class Contents(NamedTuple):
    """The input of a report: all tables, those of each experiment, the folder of figures."""

    tables: Mapping[str, pd.DataFrame]
    experiments: Sequence[Experiment]
    figures: Path


class Section(NamedTuple):
    """A section that another package adds, and its entry in the list of contents.

    `render` returns Markdown, or "" if the section does not apply to the study.
    """

    anchor: str
    title: str
    render: Callable[[Contents], str]


class AddedText(NamedTuple):
    """What other packages add: sections, and findings and parts of each experiment."""

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

    `claims` is the folder of judged claims, if the study has any.
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
        "style": Markup(style),  # noqa: S704 - our own file
        "body": Markup(body),  # noqa: S704 - cells are escaped where tables are made
    }
    page = render_template(_FOLDER / "report.html.j2", page_values)
    write_text(out / "report.md", text)
    write_text(out / "report.html", page)


def _report_values(contents: Contents, plan: Mapping[str, Any], added: AddedText) -> dict[str, Any]:
    tables = contents.tables
    runs = tables["runs"]
    stated = {one["name"] for one in plan["experiments"] if one.get("same_work")}
    return {
        "study": plan["study"],
        "seed": plan["seed"],
        "planned_runs": count_noun(len(plan["runs"]), "run"),
        "blocks": count_noun(int(plan["replicates"]), "block"),
        "time_limit": plan["time_limit_s"],
        "first_start": _moment(runs["started_at"].min()),
        "last_start": _moment(runs["started_at"].max()),
        "fewest": int(runs.groupby(["experiment", "treatment"])["replicate"].count().min()),
        "warm_ups": trust.warm_ups_text(tables["warm_ups"]),
        "campaigns": trust.campaigns_text(runs),
        "machine": trust.machine_table(tables["environment"]),
        "packages": trust.packages_text(tables["environment"]),
        "findings": [
            *study_findings(runs),
            *trust.mixture_findings(tables["environment"]),
            *trust.noise_findings(runs),
        ],
        "experiments": [
            _experiment_values(one, contents.figures, added, is_stated=one.name in stated)
            for one in contents.experiments
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


_SHOWN = 3
"""So many of the figures stand in the report."""

_SAME_WORK = "The config states that its treatments do the same work."


def _experiment_values(
    experiment: Experiment, figures: Path, added: AddedText, *, is_stated: bool
) -> dict[str, Any]:
    """Return the values of one experiment; `is_stated`: that its treatments do the same work."""
    numbers = experiment.tables["runs"]["tasks"].nunique() if is_stated else 1
    folder = (figures / experiment.name).as_posix()
    found = (find(experiment) for find in added.findings)
    return {
        "name": experiment.name,
        "baseline": experiment.baseline,
        "treatments": experiment.treatments,
        "factors": treatments.factors_text(experiment),
        "same_work": winners.same_work_text(experiment) if is_stated else "",
        "findings": [
            *([_SAME_WORK] if is_stated else []),
            *experiment_findings(experiment),
            *filter(None, found),
        ],
        "parts": [part for make in added.parts if (part := make(experiment, figures))],
        "winners": winners.describe_winners(experiment),
        "arrival": flow.arrival_text(experiment),
        "pressure": flow.pressure_sentences(experiment),
        "pressure_table": flow.pressure_table(experiment),
        "pressure_contrasts": flow.contrasts_table(experiment, flow.BOUNDS),
        "transport": flow.transport_sentence(experiment),
        "transport_table": flow.contrasts_table(experiment, flow.TRANSPORT),
        "why": why_values(experiment),
        "batch": flow.batch_sentence(experiment),
        "batch_table": flow.contrasts_table(experiment, flow.BATCH),
        "workflow": treatments.workflow_table(experiment),
        "parameters": treatments.parameters_text(experiment),
        "table": treatments.treatments_table(experiment, with_throughput=numbers == 1),
        "unseen": flow.unseen_note(experiment),
        "unseen_reminder": flow.unseen_reminder(experiment),
        "factor_effects": factor_text.describe_factors(experiment),
        "effects": effects.effects_table(experiment),
        "other_effects": effects.others_table(experiment),
        "gaps": effects.gap_notes(experiment),
        "first_tasks": first_task_sentences(experiment),
        "stages": treatments.stages_table(experiment),
        "memory": treatments.memory_table(experiment),
        "census": treatments.census_table(experiment),
        "is_polled": treatments.is_polled(experiment),
        "figures": {name: f"{folder}/{name}.png" for name in list(OVERVIEWS)[:_SHOWN]},
    }


def _check_values(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    runs = tables["runs"]
    return {
        "failures": trust.failures_table(runs),
        "failed_warm_ups": trust.failed_warm_ups_table(tables["warm_ups"]),
        "attempts": trust.attempts_text(tables["stages"]),
        "outcomes": trust.outcomes_table(tables["stages"]),
        "errors": trust.task_errors(tables["tasks"]),
        "repeated_errors": trust.task_errors(tables["attempts"]),
        "order": trust.order_text(runs),
        "overlap": trust.overlap_text(runs),
        "survivors": trust.survivors_text(runs),
        "totals": trust.totals_text(runs),
        "noise": trust.noise_table(runs),
        "quiet": trust.quiet_text(runs),
        "warmth": trust.warmth_text(runs),
        "noisy": trust.noisy_text(runs),
        "noisy_runs": trust.noisy_table(runs),
        "mixtures": trust.mixtures_table(tables["environment"]),
        "overhead": trust.overhead_table(runs),
        "sampler": trust.sampler_table(runs),
        "vanished": trust.vanished_text(runs),
        "metric": trust.metric_text(runs),
        "instrument": trust.instrument_text(runs),
        "cgroup": trust.cgroup_text(runs),
        "swap": trust.swap_text(runs),
    }


def _precision_values(comparisons: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "margin": 100 * plan["margin"],
        "text": effects.precision_text(comparisons, plan),
        "table": effects.precision_table(comparisons, plan),
    }


def _drift_values(drift: pd.DataFrame) -> dict[str, Any]:
    return {
        "text": effects.drift_text(drift),
        "findings": effects.drift_findings(drift),
        "table": effects.drift_table(drift),
    }


def _moment(text: str) -> str:
    """Shorten an ISO time to minutes: "2026-11-23 07:00 UTC"."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _forks_beside_threads(stages: pd.DataFrame) -> bool:
    """Return whether a treatment forks workers while threads of another stage may be running."""
    run = ["experiment", "treatment", "replicate"]
    forking = stages[stages["start_method"] == "fork"][run]
    threads = stages[stages["executor"] == "thread"][run]
    return not forking.merge(threads, on=run).empty


_MOST_VERDICTS = 3
"""Verdicts on different work beyond this number are counted at the top of the report."""


def study_findings(runs: pd.DataFrame) -> list[str]:
    """Report how the runs of the whole study ended and how many each treatment has."""
    ok = int((runs["status"] == "ok").sum())
    counts = runs.groupby(["experiment", "treatment"])["replicate"].count()
    ended = (
        f"All {count_noun(ok, 'run')} succeeded"
        if ok == len(runs)
        else f"{ok} of {count_noun(len(runs), 'run')} succeeded"
    )
    fewest, most = counts.min(), counts.max()
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    treatments = count_noun(len(counts), "treatment")
    return [f"{ended}: {treatments}, {each} {'run' if most == 1 else 'runs'} each."]


def experiment_findings(experiment: Experiment) -> list[str]:
    """Report who wins, what to choose and why, the extremes of memory and the children seen."""
    sentences = [
        *_winners(experiment),
        *advice_findings(experiment),
        effects_finding(experiment),
        factor_text.factors_finding(experiment),
        _memory(experiment),
        _children(experiment),
    ]
    return [sentence for sentence in sentences if sentence]


def _winners(experiment: Experiment) -> list[str]:
    """Return the verdicts on who wins; where nothing competes, the extremes of time."""
    verdicts = describe_winners(experiment)
    if not verdicts:
        return [_time(experiment)]
    shown = [f"**{verdict.headline}**: {verdict.brief}" for verdict in verdicts[:_MOST_VERDICTS]]
    if more := len(verdicts) - len(shown):
        shown.append(f"{count_noun(more, 'more verdict')} on other work: see the experiment.")
    return shown


_MOST_NAMED = 4
"""Of more treatments than this, the others are counted."""


def _time(experiment: Experiment) -> str:
    """List the makespans of treatments that do not compete."""
    makespans = {t: experiment.summary(t, "makespan_s")["median"] for t in experiment.treatments}
    known = [
        f"**{treatment}** {format_number(value)} s"
        for treatment, value in makespans.items()
        if not pd.isna(value)
    ]
    if not known:
        return "No run succeeded, so there is no makespan."
    why = ", of different work" if len(known) > 1 else ""
    return f"Makespan (median{why}): {_list_some(known)}."


def _list_some(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f", and {more} more" if more > 0 else "")


def _memory(experiment: Experiment) -> str:
    """Report which treatments take the most and the least memory, as far as that is decided."""
    unseen = list_unseen(experiment)
    seen = [one for one in experiment.treatments if one not in unseen]
    peaks = _peaks(experiment, seen)
    if not unseen or all(experiment.runs(one).empty for one in experiment.treatments):
        return peaks
    where = f"results wait in {name_places(experiment)}, which is not counted"
    return f"{peaks} Memory not judged: {name_treatments(unseen)} ({where}).".strip()


def _peaks(experiment: Experiment, seen: Sequence[str]) -> str:
    sizes = {one: treatments.peak_cell(experiment, one) for one in seen}
    known = {one: size for one, size in sizes.items() if size != MISSING}
    if not known:
        return ""
    works = list_works(experiment)
    if len(set(known.values())) == 1:
        where = " in every treatment" if len(known) > 1 else ""
        return f"Peak memory of the tree: {next(iter(known.values()))} MiB{where} (median)."
    what = "peak of the whole process tree, in the median"
    if len(works) == 1 and (extremes := _extremes(works[0])):
        return f"{extremes} ({what})."
    why = "not decided" if len(works) == 1 else "of different work"
    some = _list_some([f"**{one}** {size} MiB" for one, size in known.items()])
    return f"Memory, {why}: {some} ({what})."


def _extremes(work: Work) -> str:
    """Return "Most memory: **t5**, 62.1 MiB; least memory: …", as far as that is decided."""
    texts = []
    for end in (MOST, LEAST):
        contest = work.get(("tree_peak_bytes", end))
        if contest is not None and contest.is_decided:
            names = [f"**{one}**, {contest.size(one)}" for one in contest.possible]
            several = "one of " * (not contest.is_sole)
            texts.append(f"{end} memory: {several}{_list_some(names)}")
    text = "; ".join(texts)
    return f"{text[:1].upper()}{text[1:]}"


def _children(experiment: Experiment) -> str:
    stages, runs = experiment.tables["stages"], experiment.tables["runs"]
    processes = set(stages.loc[stages["executor"] == "process", "treatment"])
    own = runs[runs["treatment"].isin(processes) & (runs["status"] == "ok")]
    if own.empty:
        return ""
    seen = int((own["sweeps_with_workers"].fillna(0) > 0).sum())
    which = f"all {seen}" if seen == len(own) else f"{seen} of {len(own)}"
    return f"Page tables of worker processes were read in {which} runs that had any."
