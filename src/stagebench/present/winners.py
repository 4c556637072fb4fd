"""Which treatment wins: the fastest, the one of least memory, ties, and what the winners share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.effects import bracket_cell, describe_ratio, ratio_cell
from stagebench.present.flow import is_open, list_unseen, name_places, name_treatments
from stagebench.present.markdown import count_noun, escape
from stagebench.present.treatments import format_level
from stagebench.tables.decisions import LEAST
from stagebench.tables.io import find_failed
from stagebench.tables.quantities import QUANTITIES, UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.experiment import Experiment


_KINDS = {
    "thread": "Threads",
    "process": "Processes",
    "interpreter": "Subinterpreters",
    "asyncio": "Coroutines",
}
_NAMES = {
    "makespan_s": "makespan",
    "tree_peak_bytes": "memory at the tree's peak",
    "turnaround_p95_s": "turnaround (95th percentile)",
}
_LEADS = {
    "makespan_s": "has the shortest makespan",
    "tree_peak_bytes": "takes the least memory at the tree's peak",
    "turnaround_p95_s": "has the shortest turnaround (95th percentile)",
}
_MAY = {
    "makespan_s": "be as fast",
    "tree_peak_bytes": "take as little",
    "turnaround_p95_s": "be as short",
}
_DIRECTIONS = {
    "makespan_s": ("faster", "slower"),
    "tree_peak_bytes": ("less", "more"),
    "turnaround_p95_s": ("shorter", "longer"),
}
"""Quantity → words for less and more of it."""

_UNDECIDED = "Not decided"
_MOST_NAMED = 4
"""Of more treatments than this, only some are named with their ratios."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Who wins one kind of work, with a few sentences on time and memory."""

    headline: str
    reasons: Sequence[str]
    caution: str


def describe_winners(experiment: Experiment) -> list[Verdict]:
    """Return a verdict for each kind of work in which treatments compete."""
    works = list_works(experiment)
    judged = [_judge(work, several=len(works) > 1) for work in works]
    return [verdict for verdict in judged if verdict is not None]


def same_work_text(experiment: Experiment) -> str:
    """Say that the treatments compete because the config states that they do the same work."""
    text = (
        "The config states that all treatments of this experiment do the same work, also where"
        " their tasks or parameters differ (`same_work`). So all of them are compared with each"
        " other; whether the statement holds was not checked."
    )
    numbers = sorted(set(experiment.tables["runs"]["tasks"]))
    if len(numbers) == 1:
        return text
    return (
        f"{text} The work is split into {' or '.join(map(str, numbers))} tasks, so a task is not"
        " the same in all treatments: tasks per second, and the turnaround of a task, are not"
        " compared between treatments with different numbers of tasks."
    )


def _judge(work: Work, *, several: bool) -> Verdict | None:
    time = work.get(("makespan_s", LEAST))
    if time is None:
        return None
    among = time.experiment.treatments
    named = _levels(time, time.names, among=among) if several else ""
    reasons = [
        (_lead(time), _rivals(time), _common(time)),
        _turnaround(work.get(("turnaround_p95_s", LEAST))),
        _memory(time, work.get(("tree_peak_bytes", LEAST))),
    ]
    texts = [" ".join(sentence for sentence in some if sentence) for some in reasons]
    return Verdict(
        headline=f"{_headline(time)}{f' with {named}' if named else ''}",
        reasons=[text for text in texts if text],
        caution=_caution(time),
    )


def _headline(contest: Contest) -> str:
    """Name the kind of worker that all possible winners share, if it varies, or else the winner."""
    if not contest.is_decided:
        return _UNDECIDED
    kinds = {_kind(contest, name) for name in contest.possible}
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    if kind:
        return f"{_KINDS[kind]} win"
    if contest.is_sole:
        return f"`{contest.winner}` wins"
    return "No model wins alone" if len(kinds) > 1 else "No treatment wins alone"


def _kind(contest: Contest, treatment: str) -> str:
    """Return the executor of a treatment's stages whose executor varies; "" unless it is one."""
    stages = contest.experiment.tables["stages"]
    stages = stages[stages["treatment"].isin(contest.names)]
    varying = {stage for stage, own in stages.groupby("stage") if len(set(own["executor"])) > 1}
    own = stages[stages["stage"].isin(varying)]
    kinds = set(own.loc[own["treatment"] == treatment, "executor"])
    return str(next(iter(kinds))) if len(kinds) == 1 else ""


def _lead(contest: Contest) -> str:
    """Report who is first, of how many, and how it compares with the baseline."""
    winner, of = contest.winner, count_noun(len(contest.ranked), "treatment")
    if not contest.is_decided:
        what = f"{_NAMES[contest.quantity]} of {of}"
        return f"{what[0].upper()}{what[1:]}: not decided which is first{_unsuccessful(contest)}."
    text = f"`{winner}` {_LEADS[contest.quantity]} of {of}"
    others = len(contest.possible) - 1
    if others:
        who = "another" if others == 1 else f"{others} others"
        text += f", though {who} may {_MAY[contest.quantity]}"
    text += f": {contest.size(winner)} in the median{_to_baseline(contest)}"
    return f"{text}{_unsuccessful(contest)}."


def _unsuccessful(contest: Contest) -> str:
    runs = contest.experiment.runs(contest.winner, only_ok=False)
    failed = len(find_failed(runs))
    silent = len(contest.names) - len(contest.ranked)
    text = ""
    if failed and contest.is_decided:
        text += f"; {failed} of its {count_noun(len(runs), 'run')} failed"
    if silent:
        text += f"; {silent} more had no successful run"
    return text


def _to_baseline(contest: Contest) -> str:
    baseline = contest.experiment.baseline
    if contest.winner == baseline:
        return "; it is the baseline"
    change = _baseline_change(contest, to=f"the baseline `{baseline}`")
    return f", {change}" if change else ""


def _baseline_change(contest: Contest, to: str) -> str:
    """Compare the winner with the baseline: "2.00 × faster than t1"; "" if that is unknown."""
    rows = contest.experiment.tables["comparisons"]
    rows = rows[(rows["treatment"] == contest.winner) & (rows["quantity"] == contest.quantity)]
    # A baseline that does other work says nothing about who does this work best.
    if contest.experiment.baseline not in contest.names or rows.empty:
        return ""
    if pd.isna(rows["ratio"].iloc[0]):
        return ""
    lower, higher = _DIRECTIONS[contest.quantity]
    return describe_ratio(rows.iloc[0], lower=lower, higher=higher, to=to)


def _rivals(contest: Contest) -> str:
    """Report which treatments may be first, too, or how far the others are behind."""
    others = [name for name in contest.ranked if name != contest.winner]
    if not others:
        return ""
    if not contest.is_judged:
        blocks = count_noun(int(contest.rows["n"].fillna(0).max()), "block")
        return f"{_sizes(contest)} With {blocks} there is no interval."
    alike = [name for name in contest.alike if name != contest.winner]
    return " ".join([*_describe_alike(contest, alike), *_describe_rest(contest, others, alike)])


def _sizes(contest: Contest) -> str:
    sizes = [f"`{name}` {contest.size(name)}" for name in contest.ranked[:_MOST_NAMED]]
    more = len(contest.ranked) - _MOST_NAMED
    return f"Medians: {'; '.join(sizes)}{f'; and {more} more' if more > 0 else ''}."


def _describe_alike(contest: Contest, alike: Sequence[str]) -> list[str]:
    """Name what may be first, too, with the ratios to the winner."""
    if not alike:
        return []
    with_ratios = len(alike) <= _MOST_NAMED
    ties = "; ".join(f"`{name}`" + f", {contest.ratio(name)} ×" * with_ratios for name in alike)
    if contest.is_decided:
        return [f"No difference from it found: {ties}."]
    relation = [f"In relation to `{contest.winner}`: {ties}."] if with_ratios else []
    return [_sizes(contest), *relation]


def _describe_rest(contest: Contest, others: Sequence[str], alike: Sequence[str]) -> list[str]:
    """Name what has no interval and, if nothing is as good, the one nearest to the winner."""
    silent = [name for name in others if name not in contest.known]
    behind = [name for name in others if name not in (*alike, *silent)]
    sentences = []
    if behind and not alike:
        more = "take more memory" if contest.is_memory else "are slower"
        all_are = len(behind) > 1 and not silent
        sentences += [f"By their 95 % intervals all others {more}."] if all_are else []
        sentences.append(_describe_nearest(contest, behind))
    if silent:
        sentences.append(f"Too few pairs to decide: {name_treatments(silent)}.")
    return sentences


def _describe_nearest(contest: Contest, others: Sequence[str]) -> str:
    nearest = min(others, key=contest.median)
    which = "The nearest median is that of" if len(others) > 1 else "The other is"
    as_much = "as much" if contest.is_memory else "as long"
    return f"{which} `{nearest}`, which takes {contest.ratio(nearest)} × {as_much}."


def _common(contest: Contest) -> str:
    """Report which levels the winners share, of the factors that vary among those that compete."""
    if not contest.is_decided:
        return ""
    shared = _levels(contest, contest.possible, among=contest.names)
    if not shared:
        return "" if contest.is_sole else "These share no level."
    return f"{'The winner has' if contest.is_sole else 'All of these have'} {shared}."


def _levels(contest: Contest, names: Sequence[str], *, among: Sequence[str]) -> str:
    """List the levels that all of `names` but not all of `among` have: "executor thread"."""
    factors = {name: _factors(contest.experiment, name) for name in among}
    first = factors[names[0]]
    shared = [
        f"{escape(factor)} {escape(format_level(level))}"
        for factor, level in first.items()
        if all(_has(factors[name], factor, level) for name in names)
        and not all(_has(own, factor, level) for own in factors.values())
    ]
    return ", ".join(shared)


def _factors(experiment: Experiment, treatment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(experiment.runs(treatment, only_ok=False)["factors"].iloc[0])
    return found


def _has(factors: dict[str, Any], factor: str, level: object) -> bool:
    # Compared as text, because 1 == True.
    return factor in factors and format_level(factors[factor]) == format_level(level)


def _turnaround(contest: Contest | None) -> tuple[str, ...]:
    """Report who has the shortest turnaround, where tasks arrive one by one."""
    if contest is None or not is_open(contest.experiment):
        return ()
    since = "Tasks arrived one by one, so no makespan can be shorter than their arrival."
    return since, _lead(contest), _rivals(contest)


def _memory(time: Contest, memory: Contest | None) -> tuple[str, ...]:
    """Report who takes the least memory, and how much the fastest takes."""
    unseen = _unseen(time)
    if memory is None:
        return (unseen,)
    return _lead(memory), _rivals(memory), unseen, _price(time, memory)


def _unseen(time: Contest) -> str:
    """Name the treatments whose memory is not judged, and why."""
    hidden = [name for name in list_unseen(time.experiment) if name in time.names]
    if not hidden:
        return ""
    places = name_places(time.experiment)
    return (
        f"Memory not judged: {name_treatments(hidden)}. Their results pass through {places}, where"
        " no process maps them while they wait, so no peak includes them."
    )


def _price(time: Contest, memory: Contest) -> str:
    """Report how much memory the fastest takes, if it is known which one that is."""
    fastest = time.winner
    if not time.is_sole:
        return ""
    if fastest not in memory.names:
        return "The fastest is one of these, so how much it takes is unknown."
    if memory.is_sole and fastest == memory.winner:
        return "The fastest also takes the least memory."
    if fastest == memory.winner or fastest not in memory.ranked:
        return ""
    price = f"The fastest takes {memory.size(fastest)}"
    is_behind = memory.is_sole and fastest not in memory.alike and fastest in memory.known
    return f"{price}, {memory.ratio(fastest)} × the least." if is_behind else f"{price}."


def _caution(contest: Contest) -> str:
    if not contest.is_decided:
        return ""
    return (
        f"The intervals of all {len(contest.ranked)} hold together: the true winner is left out in"
        " 5 % of studies at most. But the same runs chose whom the others are compared with, so"
        " chance favours it: its lead is likely overstated."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Treatments that do the same work, ranked by one quantity; `rows` is indexed by treatment.

    The winner is at the end of the ranking that the rows are about: least or most.
    """

    experiment: Experiment
    quantity: str
    rows: pd.DataFrame

    @property
    def winner(self) -> str:
        """The treatment at the end of the ranking, by its median."""
        return str(self.rows["winner"].iloc[0])

    @property
    def names(self) -> list[str]:
        """All treatments that compete, in the order of the plan."""
        return list(self.rows.index)

    @property
    def ranked(self) -> list[str]:
        """The treatments that have a median."""
        return list(self.rows.index[self.rows["median"].notna()])

    @property
    def alike(self) -> list[str]:
        """The winner and what may be first, too."""
        return list(self.rows.index[self.rows["alike"].fillna(value=False).astype(bool)])

    @property
    def known(self) -> list[str]:
        """The treatments for which it is known whether they may be first."""
        return list(self.rows.index[self.rows["alike"].notna()])

    @property
    def possible(self) -> list[str]:
        """The treatments that may be first, for all that is known: there may be too few pairs."""
        return [name for name in self.ranked if name in self.alike or name not in self.known]

    @property
    def is_memory(self) -> bool:
        """Whether the quantity is memory."""
        return QUANTITIES[self.quantity].unit == "bytes"

    @property
    def is_judged(self) -> bool:
        """Whether any other treatment has an interval."""
        return bool(self.rows["low"].notna().any())

    @property
    def is_decided(self) -> bool:
        """Whether any treatment is surely not first."""
        return len(self.known) > len(self.alike)

    @property
    def is_sole(self) -> bool:
        """Whether all others are surely not first."""
        return self.is_decided and len(self.possible) == 1

    def median(self, treatment: str) -> float:
        """Return a treatment's median."""
        return float(str(self.rows.loc[treatment, "median"]))

    def ratio(self, treatment: str) -> str:
        """Return the ratio to the winner: "1.09 [1.02–1.17]"."""
        return ratio_cell(self.rows[self.rows.index == treatment].iloc[0])

    def size(self, treatment: str) -> str:
        """Return a treatment's median with its unit."""
        upper = float(str(self.rows.loc[treatment, "median_upper"]))
        word = UNITS[QUANTITIES[self.quantity].unit].word
        return f"{bracket_cell((self.median(treatment), upper), self.quantity)} {word}"


Work = dict[tuple[str, str], Contest]
"""The rankings of one kind of work, by quantity and end."""


def list_works(experiment: Experiment) -> list[Work]:
    """Return the rankings of each kind of work."""
    return [
        {
            (str(quantity), str(end)): Contest(
                experiment=experiment, quantity=str(quantity), rows=own.set_index("treatment")
            )
            for (quantity, end), own in rows.groupby(["quantity", "end"], sort=False)
        }
        for _, rows in experiment.tables["winners"].groupby("work", sort=False)
    ]
