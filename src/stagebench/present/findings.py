"""What the report says first: sentences made of the tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd

from stagebench.present.markdown import count_noun, format_number
from stagebench.present.report_comparisons import effects_finding
from stagebench.present.report_tables import PER_MIB, bottlenecks
from stagebench.present.report_winners import describe_winners
from stagebench.present.unseen import list_unseen, name_treatments, tell_places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.present.experiment import Experiment


_MOST_VERDICTS = 3
"""On different work, that stand at the top of the report."""


def study_findings(runs: pd.DataFrame) -> list[str]:
    """Say how the runs of the whole study ended and how many a treatment has."""
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
    """Say who wins, and the extremes of an experiment: bottleneck, memory, children."""
    sentences = [
        *_winners(experiment),
        effects_finding(experiment),
        _busiest(experiment),
        _memory(experiment),
        _children(experiment),
    ]
    return [sentence for sentence in sentences if sentence]


def _winners(experiment: Experiment) -> list[str]:
    """Begin with the verdicts on who wins; where nothing competes, with the extremes of time."""
    verdicts = describe_winners(experiment)
    if not verdicts:
        return [_time(experiment)]
    told = [f"**{verdict.headline}**: {verdict.brief}" for verdict in verdicts[:_MOST_VERDICTS]]
    if more := len(verdicts) - len(told):
        told.append(f"{count_noun(more, 'more verdict')} on other work: see the experiment.")
    return told


def _medians(experiment: Experiment, quantity: str) -> dict[str, float]:
    found = {t: experiment.summary(t, quantity)["median"] for t in experiment.treatments}
    return {treatment: float(value) for treatment, value in found.items() if not pd.isna(value)}


def _extremes(values: Mapping[str, float]) -> tuple[str, str]:
    return min(values, key=lambda key: values[key]), max(values, key=lambda key: values[key])


def _time(experiment: Experiment) -> str:
    makespans = _medians(experiment, "makespan_s")
    if not makespans:
        return "No run succeeded: there is no makespan to tell."
    fastest, slowest = _extremes(makespans)
    text = f"Fastest: **{fastest}**, {_seconds(experiment, fastest)}"
    if fastest != slowest:
        text += f"; slowest: **{slowest}**, {_seconds(experiment, slowest)}"
    return f"{text} (median makespan)."


def _seconds(experiment: Experiment, treatment: str) -> str:
    makespan = experiment.summary(treatment, "makespan_s")["median"]
    ratio = experiment.summary(treatment, "makespan_ratio")["median"]
    relative = f", {format_number(ratio)} × {experiment.baseline}"
    is_other = treatment != experiment.baseline and not pd.isna(ratio)
    return f"{format_number(makespan)} s{relative if is_other else ''}"


def _busiest(experiment: Experiment) -> str:
    if len(experiment.stages) < 2:  # a single stage has no rival
        return ""
    found = [bottlenecks(experiment, treatment) for treatment in experiment.treatments]
    counts = Counter(_name_stages(experiment, stages) for stages in found if stages)
    told = ", ".join(
        f"{named} in {count_noun(n, 'treatment')}" for named, n in counts.most_common()
    )
    return f"Bottleneck, by utilisation of its workers: {told}." if told else ""


def _name_stages(experiment: Experiment, stages: Sequence[str]) -> str:
    return " with ".join(f"`{stage}`" for stage in experiment.stages if stage in stages)


def _memory(experiment: Experiment) -> str:
    unseen = list_unseen(experiment)
    peaks = _medians(experiment, "tree_peak_bytes")
    seen = {treatment: peak for treatment, peak in peaks.items() if treatment not in unseen}
    told = _peaks(seen) if seen else ""
    if not unseen or not peaks:
        return told
    where = f"results wait in {tell_places(experiment)}, which no PSS has"
    return f"{told} Memory not judged: {name_treatments(unseen)} ({where}).".strip()


def _peaks(peaks: Mapping[str, float]) -> str:
    least, most = _extremes(peaks)
    sizes = {name: f"{format_number(peaks[name], scale=PER_MIB)} MiB" for name in (least, most)}
    if least == most:
        where = " in every treatment" if len(peaks) > 1 else ""
        return f"Peak PSS of the tree: {sizes[most]}{where} (median)."
    return (
        f"Most memory: **{most}**, {sizes[most]}; least: **{least}**, {sizes[least]}"
        " (median peak PSS of the whole process tree)."
    )


def _children(experiment: Experiment) -> str:
    stages, runs = experiment.tables["stages"], experiment.tables["runs"]
    processes = set(stages.loc[stages["executor"] == "process", "treatment"])
    own = runs[runs["treatment"].isin(processes) & (runs["status"] == "ok")]
    if own.empty:
        return ""
    seen = int((own["sweeps_with_workers"].fillna(0) > 0).sum())
    which = f"all {seen}" if seen == len(own) else f"{seen} of {len(own)}"
    return f"The memory sampler saw worker processes in {which} runs that had some."
