"""Runs sampled both ways, by our sweeps and the published way: report section and shared data.

No sentence takes a result for granted: each follows from what the runs show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.present.markdown import format_number, format_spread, format_table, render_template
from stagebench.tables.io import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    import pandas as pd

    from stagebench.present.experiment import Experiment


_TEMPLATE = Path(__file__).with_name("both_ways.md.j2")
_MOST_LISTED = 6
"""More discoveries than this are counted, not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothWaysText:
    """The values of the template; `pauses` describes the intervals of readings and discoveries."""

    summary: str
    pauses: str
    table: str
    runs: dict[str, list[str]]


def render_both_ways(experiment: Experiment, figures: Path) -> str:
    """Return an experiment's part on both ways; "" if the published one was not emulated."""
    both_ways = describe_both_ways(experiment)
    if both_ways is None:
        return ""
    figure = (figures / experiment.name / f"{FIGURE_NAME}.png").as_posix()
    values = {"experiment": experiment.name, "figure": figure, "both_ways": both_ways}
    return render_template(_TEMPLATE, values)


def describe_both_ways(experiment: Experiment) -> BothWaysText | None:
    """Compare the two ways in one experiment; None if the published one was not emulated."""
    treatments = emulated_treatments(experiment)
    if not treatments:
        return None
    return BothWaysText(
        summary=emulation_finding(experiment),
        pauses=_pauses(experiment),
        table=_table(experiment, treatments),
        runs={treatment: _describe(experiment, treatment) for treatment in treatments},
    )


def emulation_finding(experiment: Experiment) -> str:
    """Report in one sentence what the published way got wrong in the runs shown, if anything."""
    found = [find_both_ways(experiment, each) for each in emulated_treatments(experiment)]
    runs = [both for both in found if both is not None]
    if not runs:
        return ""
    wrong = [f"{both.treatment}: {', '.join(parts)}" for both in runs if (parts := _wrong(both))]
    if not wrong:
        return (
            "The published way of sampling, run alongside, missed no child, added none that had"
            " ended, and its peak is not below ours."
        )
    return (
        "The published way of sampling, run alongside, recorded in the runs of median makespan:"
        f" {'; '.join(wrong)}."
    )


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
        wrong.append(f"a peak of {_mib(peak)} where the tree reached {_mib(true)}")
    return wrong


def _pauses(experiment: Experiment) -> str:
    runs = experiment.tables["runs"]
    kinds = runs[["emulated_interval_s", "emulated_discovery_s"]].dropna().drop_duplicates()
    texts = (
        f"main every {interval:g} s, its children discovered every {discovery:g} s"
        for interval, discovery in kinds.itertuples(index=False)
    )
    return "; or ".join(texts)


def _table(experiment: Experiment, treatments: list[str]) -> str:
    columns = ["treatment", "n", "published way: peak MiB", "false peak MiB", "children seen"]
    columns += ["discoveries", "reached by our readings, MiB", "children in all"]
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
        return ["Nothing was recorded." if ended else f"{experiment.failure_note(treatment)}."]
    texts = [describe_children(both), describe_sums(both), describe_peak(both)]
    return [text for text in (*texts, describe_false_peak(both)) if text]


def describe_children(both: BothWays) -> str:
    """Report how many of the children the published way saw."""
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
    # Rounded before it is formatted, so that the first one, just before the start, is not "-0.00".
    moments = [round(moment, 2) + 0.0 for moment in both.discoveries_s]
    when = ", ".join(f"{moment:.2f}" for moment in moments)
    listed = f" (at {when} s)" if len(moments) <= _MOST_LISTED else ""
    return f"{len(moments)} discover{'y' if len(moments) == 1 else 'ies'}{listed}"


def describe_sums(both: BothWays) -> str:
    """Compare the sums that it kept with what the children held; "" if it saw none."""
    sums, read = both.sums_mib, both.children_mib
    if not sums:
        return ""
    kept = ", ".join(map(format_number, sums)) if len(sums) <= _MOST_LISTED else _range(sums)
    swept = f"; our sweeps read {_range(list(read))} MiB" if len(read) else ""
    return f"The sums of the children's PSS that it kept between discoveries: {kept} MiB{swept}."


def _range(values: list[float]) -> str:
    return f"{format_number(min(values))} to {format_number(max(values))}"


def describe_peak(both: BothWays) -> str:
    """Split the peak of the published way into its parts and compare it with ours."""
    peak, true = both.mib("emulated_peak"), both.mib("tree_peak")
    text = f"Peak: {_mib(peak)} the published way, at {_parts(both, 'emulated_peak')}"
    if not both.known("tree_peak_bytes"):
        return f"{text}; we have no reading of the tree."
    earliest = both.seconds("tree_time_to_peak")
    text += f"; it reached {_mib(true)} by our readings, not before {earliest:.2f} s"
    text += _at_most(both)
    if both.never_held(peak):
        return f"{text}: the tree never held so much."
    difference = compare(peak, true)
    if difference == 0:
        is_known = both.known("tree_peak_upper_bytes")
        is_tight = is_known and compare(peak, both.mib("tree_peak_upper")) == 0
        return f"{text}: the same{'' if is_tight else ' as that reading'} within {100 * SAME:g} %."
    if difference > 0:
        return f"{text}: no reading proves so much."
    return f"{text}: at least {_mib(true - peak)} missed."


def _at_most(both: BothWays) -> str:
    upper = both.mib("tree_peak_upper")
    return f" (at most {_mib(upper)})" if both.known("tree_peak_upper_bytes") else ""


def _parts(both: BothWays, name: str) -> str:
    moment, main = both.seconds(f"{name}_time"), _mib(both.mib(f"{name}_main"))
    children, age = both.mib(f"{name}_children"), both.seconds(f"{name}_age")
    added = f" + {_mib(children)} of children, read {age:.2f} s earlier" if children else ""
    return f"{moment:.2f} s ({main} of main{added or ', no children'})"


def describe_false_peak(both: BothWays) -> str:
    """Report the largest total that includes children which had ended, or that there is none."""
    if not both.has_false_peak:
        counted = "it counted none" if both.seen == 0 else "all that it counted were still alive"
        return f"No false peak: no record includes children that had ended ({counted})."
    ended = int(both.run["emulated_false_peak_ended"])
    held = both.mib("emulated_false_peak_tree")
    known = both.known("emulated_false_peak_tree_bytes")
    return (
        f"**False peak: {_mib(both.mib('emulated_false_peak'))}** at"
        f" {_parts(both, 'emulated_false_peak')}. By then {ended} of these had"
        f" ended{f', and the tree held {_mib(held)}' if known else ''}.{_verdict(both)}"
    )


def _verdict(both: BothWays) -> str:
    """Report whether it is the peak of the published way, and whether the tree ever held it."""
    which = "It is the peak that the published way reports" if both.false_peak_is_the_peak else ""
    false = both.mib("emulated_false_peak")
    if both.never_held(false):
        return f" {which + ', and the' if which else 'The'} tree never held so much in this run."
    if compare(false, both.mib("tree_peak")) > 0:
        return f" {which + ', and no' if which else 'No'} reading proves so much."
    return f" {which}." if which else " It is not the largest total that it recorded."


def _mib(value: float) -> str:
    return f"{format_number(value)} MiB"


FIGURE_NAME = "both-ways"
"""File name without extension of the figure of these runs."""

SAME = 0.05
"""Two peaks that differ by less, as a share of the larger one, are reported as the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothWays:
    """One run as the published way recorded it and as our sweeps did.

    `run` is its row of the table of runs, `emulated` and `sweeps` are its rows of the tables
    `emulated` and `memory`.
    """

    run: pd.Series[float]
    emulated: pd.DataFrame
    sweeps: pd.DataFrame

    @property
    def treatment(self) -> str:
        """Id of the treatment."""
        return str(self.run["treatment"])

    @property
    def has_false_peak(self) -> bool:
        """Whether any record includes children that had ended."""
        return self.known("emulated_false_peak_bytes")

    @property
    def false_peak_is_the_peak(self) -> bool:
        """Whether the false peak is the peak that the published way reports."""
        return self.has_false_peak and self.mib("emulated_false_peak") == self.mib("emulated_peak")

    @property
    def children(self) -> int | None:
        """How many processes the census found besides main."""
        created = self.run["processes_created"]
        return int(created) - 1 if self.known("processes_created") else None

    @property
    def seen(self) -> int:
        """The most children that one discovery found."""
        return int(self.run["emulated_most_children"])

    @property
    def missed_children(self) -> bool:
        """Whether it saw none of the children, or fewer at once than a sweep did."""
        if not self.children or not self.known("most_children"):
            return False
        return self.seen == 0 or self.seen < int(self.run["most_children"])

    @property
    def discoveries_s(self) -> list[float]:
        """The moments at which children were discovered."""
        return sorted(set(self.emulated["discovered_s"]))

    @property
    def sums_mib(self) -> list[float]:
        """The sums of the children's PSS, one per discovery that found any."""
        found = self.emulated[self.emulated["children"] > 0].drop_duplicates("discovered_s")
        return list(in_mib(found, "children"))

    @property
    def children_mib(self) -> pd.Series[float]:
        """The children's PSS in every sweep that read any."""
        return in_mib(self.sweeps[self.sweeps["processes"] > 1], "children")

    def never_held(self, mib: float) -> bool:
        """Return whether a size is above the upper bound of the tree's peak, if that is known."""
        return mib > self.mib("tree_peak_upper")

    def known(self, column: str) -> bool:
        """Return whether a column of the run has a value."""
        return bool(self.run[[column]].notna().all())

    def mib(self, name: str) -> float:
        """Return the run's column `<name>_bytes` in MiB; NaN if it is missing."""
        return self._number(f"{name}_bytes") / MIB

    def seconds(self, name: str) -> float:
        """Return the run's column `<name>_s`; NaN if it is missing."""
        return self._number(f"{name}_s")

    def _number(self, column: str) -> float:
        return float(self.run[column]) if self.known(column) else math.nan


def compare(one: float, other: float) -> int:
    """Return 1, −1 or 0 for more, less, or the same; 0 also if one is missing."""
    if abs(one - other) <= SAME * max(one, other):
        return 0
    return (one > other) - (one < other)


def emulated_treatments(experiment: Experiment) -> list[str]:
    """List the treatments with runs that were also sampled the published way."""
    runs = experiment.tables["runs"]
    asked = set(runs.loc[runs["emulated_interval_s"].notna(), "treatment"])
    return [treatment for treatment in experiment.treatments if treatment in asked]


def find_both_ways(experiment: Experiment, treatment: str) -> BothWays | None:
    """Return the run of median makespan; None if no run of the treatment was ok."""
    run = experiment.shown("runs", treatment)
    emulated = experiment.shown("emulated", treatment)
    if run.empty or emulated.empty:
        return None
    sweeps = experiment.shown("sweeps", treatment)
    return BothWays(run=run.iloc[0], emulated=emulated, sweeps=sweeps)


def count_children(number: int) -> str:
    """Return "no child", "1 child", "5 children"."""
    return {0: "no child", 1: "1 child"}.get(number, f"{number} children")


def there_were(number: int) -> str:
    """Return "there was 1", "there were 5"."""
    return f"there {'was' if number == 1 else 'were'} {number or 'none'}"


def in_mib(table: pd.DataFrame, part: str) -> pd.Series[float]:
    """Return the column `<part>_pss_bytes` in MiB."""
    return numbers(table, f"{part}_pss_bytes") / MIB
