"""The report's section on runs sampled both ways; every sentence holds whatever the runs show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.present.emulation import (
    FIGURE_NAME,
    SAME,
    BothWays,
    compare,
    count_children,
    emulated_treatments,
    find_both_ways,
    there_were,
)
from stagebench.present.markdown import (
    format_number,
    format_spread,
    format_table,
    render_template,
)
from stagebench.tables import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    import pandas as pd

    from stagebench.present.experiment import Experiment

_TEMPLATE = Path(__file__).with_name("both_ways.md.j2")
_MOST_LISTED = 6
"""Discoveries beyond this number are counted, not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothWaysText:
    """What the template shows; `pauses` are the seconds between readings and discoveries."""

    pauses: str
    table: str
    runs: dict[str, list[str]]


def render_both_ways(experiment: Experiment, figures: Path) -> str:
    """Write an experiment's part on both ways; "" where the published one was not emulated."""
    both_ways = describe_both_ways(experiment)
    if both_ways is None:
        return ""
    figure = (figures / experiment.name / f"{FIGURE_NAME}.png").as_posix()
    values = {"experiment": experiment.name, "figure": figure, "both_ways": both_ways}
    return render_template(_TEMPLATE, values)


def describe_both_ways(experiment: Experiment) -> BothWaysText | None:
    """Compare the two ways in one experiment; None where the published one was not emulated."""
    treatments = emulated_treatments(experiment)
    if not treatments:
        return None
    return BothWaysText(
        pauses=_pauses(experiment),
        table=_table(experiment, treatments),
        runs={treatment: _describe(experiment, treatment) for treatment in treatments},
    )


def emulation_finding(experiment: Experiment) -> str:
    """Say in one sentence what the published way got wrong in the shown runs, if anything."""
    found = [find_both_ways(experiment, each) for each in emulated_treatments(experiment)]
    runs = [both for both in found if both is not None]
    if not runs:
        return ""
    wrong = [f"{both.treatment}: {', '.join(parts)}" for both in runs if (parts := _wrong(both))]
    if not wrong:
        return (
            "Sampled the published way, too, it missed no child, added none that had ended, and"
            " its peak is not below that of our sweeps."
        )
    return f"Sampled the published way, too, it recorded: {'; '.join(wrong)}."


def _wrong(both: BothWays) -> list[str]:
    wrong = []
    if both.missed_children and both.children:
        wrong.append(f"{both.seen} of {count_children(both.children)}")
    if both.has_false_peak:
        false, true = (both.mib(f"emulated_false_peak{end}") for end in ("", "_tree"))
        known = both.known("emulated_false_peak_tree_bytes")
        held = f" when the tree held {_mib(true)}" if known else ""
        wrong.append(f"{_mib(false)}{held}")
    if compare(both.mib("emulated_peak"), both.mib("tree_peak")) < 0:
        peak, true = both.mib("emulated_peak"), both.mib("tree_peak")
        wrong.append(f"a peak of {_mib(peak)} where a sweep read {_mib(true)}")
    return wrong


def _pauses(experiment: Experiment) -> str:
    runs = experiment.tables["runs"]
    kinds = runs[["emulated_interval_s", "emulated_discovery_s"]].dropna().drop_duplicates()
    told = (
        f"main every {interval:g} s, its children discovered every {discovery:g} s"
        for interval, discovery in kinds.itertuples(index=False)
    )
    return "; or ".join(told)


def _table(experiment: Experiment, treatments: list[str]) -> str:
    columns = ["treatment", "n", "published way: peak MiB", "false peak MiB", "children seen"]
    columns += ["discoveries", "ours: peak MiB", "children there were"]
    return format_table(columns, [_row(experiment, each) for each in treatments], texts=1)


def _row(experiment: Experiment, treatment: str) -> list[str]:
    runs = experiment.runs(treatment)
    return [
        treatment,
        str(len(runs)),
        _spread(numbers(runs, "emulated_peak_bytes") / MIB),
        _spread(numbers(runs, "emulated_false_peak_bytes") / MIB),
        _spread(numbers(runs, "emulated_most_children")),
        _spread(numbers(runs, "emulated_discoveries")),
        _spread(numbers(runs, "tree_peak_bytes") / MIB),
        _spread(numbers(runs, "processes_created") - 1),
    ]


def _spread(values: pd.Series[float]) -> str:
    return format_spread(values.agg(["median", "min", "max"]))


def _describe(experiment: Experiment, treatment: str) -> list[str]:
    both = find_both_ways(experiment, treatment)
    if both is None:
        ended = len(experiment.runs(treatment)) > 0
        return ["nothing was recorded." if ended else f"{experiment.failure_note(treatment)}."]
    told = [describe_children(both), describe_sums(both), describe_peak(both)]
    return [text for text in (*told, describe_false_peak(both)) if text]


def describe_children(both: BothWays) -> str:
    """Say how many children the published way saw of those that there were."""
    made = _discoveries(both)
    if both.children is None:
        return f"{made} saw at most {count_children(both.seen)}."
    if both.children == 0:
        return f"{made}; there were no children."
    there = there_were(both.children)
    if both.seen >= both.children:
        return f"{made} saw {count_children(both.seen)}; {there}."
    if both.seen == 0:
        return f"**{made} saw no child; {there}.**"
    return (
        f"{made} saw at most {count_children(both.seen)} at once; {there} in all, at most"
        f" {int(both.run['most_children'])} in a sweep."
    )


def _discoveries(both: BothWays) -> str:
    # Rounded before it is written: the first one, just before the start, is no "-0.00".
    moments = [round(moment, 2) + 0.0 for moment in both.discoveries_s]
    when = ", ".join(f"{moment:.2f}" for moment in moments)
    listed = f" (at {when} s)" if len(moments) <= _MOST_LISTED else ""
    return f"{len(moments)} discover{'y' if len(moments) == 1 else 'ies'}{listed}"


def describe_sums(both: BothWays) -> str:
    """Set the sums that it kept beside what the children held; empty where it saw none."""
    sums, read = both.sums_mib, both.children_mib
    if not sums:
        return ""
    told = ", ".join(map(format_number, sums)) if len(sums) <= _MOST_LISTED else _range(sums)
    swept = f"; meanwhile sweeps read {_range(list(read))} MiB" if len(read) else ""
    return f"The children's PSS as it kept it from one discovery to the next: {told} MiB{swept}."


def _range(values: list[float]) -> str:
    return f"{format_number(min(values))} to {format_number(max(values))}"


def describe_peak(both: BothWays) -> str:
    """Take the peak of the published way apart and compare it with that of our sweeps."""
    peak, true = both.mib("emulated_peak"), both.mib("tree_peak")
    told = f"Peak: {_mib(peak)} the published way, at {_parts(both, 'emulated_peak')}"
    if not both.known("tree_peak_bytes"):
        return f"{told}; no sweep of ours tells the tree's."
    told += f"; {_mib(true)} by our sweeps, at {both.seconds('tree_time_to_peak'):.2f} s"
    told += _at_most(both)
    if both.never_held(peak):
        return f"{told}: there never was so much."
    difference = compare(peak, true)
    if difference == 0:
        return f"{told}: the same within {100 * SAME:g} %."
    if difference > 0:
        return f"{told}: no sweep read so much."
    return f"{told}: at least {_mib(true - peak)} missed."


def _at_most(both: BothWays) -> str:
    upper = both.mib("tree_peak_upper")
    return f" (at most {_mib(upper)} between them)" if both.known("tree_peak_upper_bytes") else ""


def _parts(both: BothWays, name: str) -> str:
    moment, main = both.seconds(f"{name}_time"), _mib(both.mib(f"{name}_main"))
    children, age = both.mib(f"{name}_children"), both.seconds(f"{name}_age")
    added = f" + {_mib(children)} of children as they were {age:.2f} s before" if children else ""
    return f"{moment:.2f} s ({main} of main then{added or ', no children'})"


def describe_false_peak(both: BothWays) -> str:
    """Say what the largest total was that adds children which had ended, or that none does."""
    if not both.has_false_peak:
        counted = "it counted none" if both.seen == 0 else "all that it counted still lived"
        return f"No false peak: no record adds children that had ended ({counted})."
    ended = int(both.run["emulated_false_peak_ended"])
    held = both.mib("emulated_false_peak_tree")
    known = both.known("emulated_false_peak_tree_bytes")
    return (
        f"**False peak: {_mib(both.mib('emulated_false_peak'))}** at"
        f" {_parts(both, 'emulated_false_peak')}. By then {ended} of these had"
        f" ended{f', and the tree held {_mib(held)}' if known else ''}.{_verdict(both)}"
    )


def _verdict(both: BothWays) -> str:
    """Say whether it is what the published way reports, and whether there ever was as much."""
    which = "It is the peak that the published way reports" if both.false_peak_is_the_peak else ""
    false = both.mib("emulated_false_peak")
    if both.never_held(false):
        return f" {which + ', and there' if which else 'There'} never was so much in this run."
    if compare(false, both.mib("tree_peak")) > 0:
        return f" {which + ', and no' if which else 'No'} sweep read so much."
    return f" {which}." if which else " It is not the largest total that it recorded."


def _mib(value: float) -> str:
    return f"{format_number(value)} MiB"
