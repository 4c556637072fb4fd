"""Tables, plan and figures → report.md, its pages in report/, and report.html.

`report.md` is short: the first screen, one table and a few figures of each experiment, and links to
the pages, which have all the rest. The same input gives the same bytes.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.blocks import read_plan
from stagebench.present import effects, factor_text, flow, stops, treatments, trust, winners
from stagebench.present.answer import (
    format_answer,
    format_markdown,
    make_screen,
)
from stagebench.present.charts import choose_figures
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.first_tasks import first_task_sentences
from stagebench.present.markdown import count_noun, render_template
from stagebench.present.node_table import describe_nodes
from stagebench.present.overview import overview_table
from stagebench.present.page.page import render_page
from stagebench.present.pythons import interpreters_table
from stagebench.present.why import why_values
from stagebench.store import atomic_folder, write_text
from stagebench.tables.io import read_claims, read_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from stagebench.present.answer import ExperimentAnswer
    from stagebench.present.charts import AddedFigure


_FOLDER = Path(__file__).parent

PAGES = "report"
"""The folder of the pages, beside `report.md`."""

MOST_LINES = 250
"""`report.md` has no more lines."""

_DETAILS = ((40, 3), (24, 3), (16, 3), (10, 3), (10, 2), (6, 2), (10, 1), (6, 1), (6, 0), (3, 0))
"""Rows of a table and figures of each experiment: the first of these that fit are shown."""

_MAIN_FIGURES = {
    "makespan": "Makespan of every run of {}",
    "limits": "Makespan and floors of {}",
    "memory": "Memory over time, {}",
}


class Contents(NamedTuple):
    """The input of a page: all tables, those of each experiment, the folder of figures."""

    tables: Mapping[str, pd.DataFrame]
    experiments: Sequence[Experiment]
    figures: Path


class Section(NamedTuple):
    """A page that another package adds: its file's name, its title, and what it is about.

    `render` returns Markdown, or "" if the page does not apply to the study.
    """

    name: str
    title: str
    about: str
    render: Callable[[Contents], str]


class AddedText(NamedTuple):
    """What other packages add: pages, parts of the pages of experiments, and figures."""

    sections: Sequence[Section] = ()
    parts: Sequence[Callable[[Experiment, Path], str]] = ()
    figures: Sequence[AddedFigure] = ()


NOTHING_ADDED = AddedText()


class Page(NamedTuple):
    """A page of the report: its file's name without suffix, its title, what it is about."""

    name: str
    title: str
    about: str
    text: str

    @property
    def path(self) -> str:
        """The page's path, relative to `report.md`."""
        return f"{PAGES}/{self.name}.md"


def render_report(
    tables_folder: Path,
    plan: Path,
    figures: Path,
    out: Path,
    *,
    claims: Path | None = None,
    added: AddedText = NOTHING_ADDED,
) -> None:
    """Write `report.md`, the folder `report` and `report.html` into `out`.

    Images are named relative to the page that shows them. `claims` is the folder of judged claims,
    if the study has any.
    """
    tables = read_tables(tables_folder) | read_claims(claims)
    experiments = split_experiments(tables)
    planned = read_plan(plan)
    screen = make_screen(tables, planned, experiments)
    contents = Contents(tables, experiments, Path(os.path.relpath(figures, out / PAGES)))
    pages = _make_pages(contents, planned, added)
    names = {page.name for page in pages}
    own = [
        # No name of an experiment has a dot.
        _experiment_page(
            f"{one.name}.experiment" if one.name in names else one.name,
            *(one, answer, contents, planned, added),
        )
        for one, answer in zip(experiments, screen.answers, strict=True)
    ]
    shown = Contents(tables, experiments, Path(os.path.relpath(figures, out)))
    text = _render_short(shown, planned, format_markdown(screen), own, pages)
    with atomic_folder(out / PAGES) as folder:
        for page in [*own, *pages]:
            values = {"study": planned["study"], "title": page.title, "text": page.text}
            write_text(folder / f"{page.name}.md", render_template(_FOLDER / "page.md.j2", values))
    write_text(out / "report.md", text)
    render_page(screen, experiments, out / "report.html")


def _render_short(
    contents: Contents,
    plan: Mapping[str, Any],
    screen: str,
    own: Sequence[Page],
    pages: Sequence[Page],
) -> str:
    """Return `report.md`, with as much of every experiment as there is room for."""
    title, _, answers = screen.partition("\n")
    values = {
        "title": title,
        "answers": answers.strip("\n"),
        "failures": [
            *filter(None, map(effects.baseline_failure, contents.experiments)),
            *trust.failure_lines(contents.tables),
        ],
        "conditions": _list_conditions(contents.tables, plan),
        "pages": pages,
    }

    def render_experiments(most: int, most_figures: int) -> str:
        shown = [
            _short_values(one, page, contents.figures, most, most_figures)
            for one, page in zip(contents.experiments, own, strict=True)
        ]
        return _render_first(values | {"experiments": shown, "linked": []})

    # Of a study whose experiments have no room at all, nothing longer is made.
    if _fits(render_experiments(*_DETAILS[-1])):
        return next(filter(_fits, starmap(render_experiments, _DETAILS)))
    links = [f"[{page.title}]({page.path})" for page in own]
    text = _render_first(values | {"experiments": [], "linked": [f"- {link}" for link in links]})
    if _fits(text):
        return text
    return _render_first(values | {"experiments": [], "linked": [" · ".join(links)]})


def _fits(text: str) -> bool:
    return text.count("\n") <= MOST_LINES


def _render_first(values: Mapping[str, Any]) -> str:
    return render_template(_FOLDER / "report.md.j2", values)


def _short_values(
    experiment: Experiment, page: Page, figures: Path, most: int, most_figures: int
) -> dict[str, Any]:
    """Return what `report.md` shows of an experiment."""
    titles = list(_MAIN_FIGURES.items())[:most_figures]
    return {
        "name": experiment.name,
        "table": overview_table(experiment, most),
        "left_out": max(0, len(experiment.treatments) - most),
        "lists_all": experiment.listed == experiment.treatments,
        "unseen": flow.unseen_note(experiment),
        "path": page.path,
        "figures": {
            title.format(experiment.name): (figures / experiment.name / f"{name}.png").as_posix()
            for name, title in titles
        },
    }


def _list_conditions(tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]) -> list[str]:
    """Return what `report.md` says about noise and machine."""
    runs, environment = tables["runs"], tables["environment"]
    precision = effects.precision_text(
        tables["comparisons"], plan, trust.estimate_block(runs), trust.count_run_nodes(runs)
    )
    stopped = stops.stops_text(runs, plan)
    sentences = [
        *trust.mixture_findings(environment),
        *trust.list_doubts(runs),
        f"{trust.noisy_text(runs)} [Noise](report/trust.md#noise)",
        f"Blocks: {stopped} [Precision](report/trust.md#precision)" if stopped else "",
        f"Precision: {precision} [Precision](report/trust.md#precision)",
        f"Drift: {effects.drift_text(tables['drift'])} [Drift](report/trust.md#drift)",
        trust.warm_ups_text(tables["warm_ups"]),
        f"{trust.machine_text(environment)} {_when_text(runs, plan)} [Machine](report/machine.md)",
        trust.nodes_text(runs, environment),
    ]
    return [text for text in sentences if text]


def _when_text(runs: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    first, last = (_moment(runs["started_at"].agg(end)) for end in ("min", "max"))
    blocks = count_noun(len({one["block"] for one in plan["runs"]}), "block")
    each = "each treatment" if "until" not in plan else "the baseline and each undecided treatment"
    return (
        f"{count_noun(len(plan['runs']), 'run')} in"
        f" {blocks}; every block holds {each} once, in random order (seed {plan['seed']})."
        f" First start {first}, last start {last}."
    )


def _make_pages(contents: Contents, plan: Mapping[str, Any], added: AddedText) -> list[Page]:
    """Return the pages that are not about one experiment."""
    tables = contents.tables
    runs = tables["runs"]
    reading = {
        "margin": 100 * plan["margin"],
        "level": stops.level_text(plan),
        "fewest": int(runs.groupby(["experiment", "treatment"])["replicate"].count().min()),
        "nodes": trust.count_run_nodes(runs),
        "forks_beside_threads": _forks_beside_threads(tables["stages"]),
    }
    machine = {
        "study": plan["study"],
        "seed": plan["seed"],
        "when": _when_text(runs, plan),
        "time_limit": plan["time_limit_s"],
        "campaigns": trust.campaigns_text(runs),
        "warm_ups": trust.warm_ups_text(tables["warm_ups"]),
        "nodes": trust.nodes_text(runs, tables["environment"]),
        "nodes_table": trust.nodes_table(runs, tables["environment"]),
        "machine": trust.machine_table(tables["environment"]),
        "packages": trust.packages_text(tables["environment"]),
        "mixtures": trust.mixtures_table(tables["environment"]),
    }
    own = [
        Page(
            "reading",
            "How to read it",
            "numbers, words and terms",
            _render("reading.md.j2", reading),
        ),
        Page(
            "trust",
            "How far to trust it",
            "failures, precision, drift, noise, overhead, and how memory was read",
            _render("trust.md.j2", _trust_values(tables, plan)),
        ),
        Page(
            "machine",
            "Machine",
            "what was run, where, and how to repeat it",
            _render("machine.md.j2", machine),
        ),
    ]
    others = [
        Page(section.name, section.title, section.about, text)
        for section in added.sections
        if (text := section.render(contents))
    ]
    return [*others, *own]


def _render(template: str, values: Mapping[str, Any]) -> str:
    return render_template(_FOLDER / template, values).rstrip("\n")


def _experiment_page(
    name: str,
    experiment: Experiment,
    answer: ExperimentAnswer,
    contents: Contents,
    plan: Mapping[str, Any],
    added: AddedText,
) -> Page:
    """Return the page of one experiment."""
    stated = {one["name"] for one in plan["experiments"] if one.get("same_work")}
    values = _experiment_values(experiment, contents.figures, added) | {
        "answer": format_answer(answer),
        "same_work": winners.same_work_text(experiment) if experiment.name in stated else "",
        "margin": 100 * plan["margin"],
    }
    # Throughput counts tasks, so it compares nothing where the same work is split differently.
    numbers = experiment.tables["runs"]["tasks"].nunique() if values["same_work"] else 1
    values["table"] = treatments.treatments_table(experiment, with_throughput=numbers == 1)
    text = _render("experiment.md.j2", values | {"contents": _list_contents(values)})
    title = f"Experiment `{experiment.name}`"
    return Page(name, title, "", text)


def _experiment_values(experiment: Experiment, figures: Path, added: AddedText) -> dict[str, Any]:
    folder = (figures / experiment.name).as_posix()
    return {
        "name": experiment.name,
        "baseline": experiment.baseline,
        "factors": treatments.factors_text(experiment),
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
        "listed": treatments.listed_text(experiment),
        "workflow": treatments.workflow_table(experiment),
        "parameters": treatments.parameters_text(experiment),
        "interpreters": interpreters_table(experiment),
        "unseen": flow.unseen_note(experiment),
        "unseen_reminder": flow.unseen_reminder(experiment),
        "factor_effects": factor_text.describe_factors(experiment),
        "effects": effects.effects_table(experiment),
        "gaps": effects.gap_notes(experiment),
        "first_tasks": first_task_sentences(experiment),
        "stages": treatments.stages_table(experiment),
        "memory": treatments.memory_table(experiment),
        "children_seen": treatments.children_text(experiment),
        "nodes": describe_nodes(experiment),
        "census": treatments.census_table(experiment),
        "is_polled": treatments.is_polled(experiment),
        "figures": {
            name: f"{folder}/{name}.png" for name in choose_figures(experiment, added.figures)
        },
    }


_PARTS = {
    "treatments": ("Treatments", "table"),
    "limits": ("What limits them, and what would help", "limits"),
    "factors": ("Effects of factors", "factor_effects"),
    "effects": ("Effects against the baseline", "effects"),
    "pressure": ("Back-pressure", "pressure_table"),
    "transport": ("Transport", "transport_table"),
    "batches": ("Batches", "batch_table"),
    "workflow": ("Workflow", "workflow"),
    "stages": ("Stages", "stages"),
    "memory": ("Memory", "memory"),
    "nodes": ("Nodes", "nodes"),
    "processes": ("Processes", "census"),
}
"""Anchor of a part of an experiment's page → its title in the contents, and the value it shows."""


def _list_contents(values: Mapping[str, Any]) -> dict[str, str]:
    has = {**values, "limits": values["why"]["limits"]}
    return {anchor: title for anchor, (title, value) in _PARTS.items() if has[value]}


def _trust_values(tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]) -> dict[str, Any]:
    runs, comparisons, drift = (tables[name] for name in ("runs", "comparisons", "drift"))
    block_s = trust.estimate_block(runs)
    return {
        "failures": trust.failures_table(runs),
        "unsupported": trust.unsupported_table(runs),
        "failed_warm_ups": trust.failed_warm_ups_table(tables["warm_ups"]),
        "attempts": trust.attempts_text(tables["stages"]),
        "outcomes": trust.outcomes_table(tables["stages"]),
        "errors": trust.task_errors(tables["tasks"]),
        "repeated_errors": trust.task_errors(tables["attempts"]),
        "precision": {
            "text": effects.precision_text(comparisons, plan, block_s, trust.count_run_nodes(runs)),
            "table": effects.precision_table(comparisons, plan, block_s),
            "stops": stops.stops_text(runs, plan),
            "stops_table": stops.stops_table(runs, plan),
            "level": stops.level_text(plan),
        },
        "drift": {
            "text": effects.drift_text(drift),
            "findings": effects.drift_findings(drift),
            "table": effects.drift_table(drift),
        },
        "order": trust.order_text(runs),
        "overlap": trust.overlap_text(runs),
        "survivors": trust.survivors_text(runs),
        "totals": trust.totals_text(runs),
        "noise": trust.noise_table(runs),
        "quiet": trust.quiet_text(runs),
        "warmth": trust.warmth_text(runs),
        "noisy": trust.noisy_text(runs),
        "noisy_runs": trust.noisy_table(runs),
        "overhead": trust.overhead_table(runs),
        "sampler": trust.sampler_table(runs),
        "vanished": trust.vanished_text(runs),
        "metric": trust.metric_text(runs),
        "instrument": trust.instrument_text(runs),
        "cgroup": trust.cgroup_text(runs),
        "swap": trust.swap_text(runs),
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
