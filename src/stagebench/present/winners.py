"""Which treatment wins: the fastest, the one of least memory, ties, and what the winners share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.effects import describe_ratio, ratio_cell
from stagebench.present.flow import is_open, list_unseen, name_places, name_treatments
from stagebench.present.markdown import count_noun, escape, format_quantity
from stagebench.present.treatments import format_level
from stagebench.tables.quantities import QUANTITIES, UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.experiment import Experiment


_KINDS = {"thread": "Threads", "process": "Processes", "asyncio": "Coroutines"}
_LEADS = {
    "makespan_s": "has the shortest makespan",
    "tree_peak_bytes": "takes the least memory at the tree's peak",
    "turnaround_p95_s": "has the shortest turnaround (95th percentile)",
}
_DIRECTIONS = {
    "makespan_s": ("faster", "slower"),
    "tree_peak_bytes": ("less", "more"),
    "turnaround_p95_s": ("shorter", "longer"),
}
"""Quantity → words for less and more of it."""
_MOST_RATIOS = 4
"""With more ties than this, only their names are readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Who wins one kind of work, with a few sentences on time and memory.

    `brief` is one line: who is first, by how much, and what is tied with it.
    """

    headline: str
    brief: str
    reasons: Sequence[str]
    caution: str


def describe_winners(experiment: Experiment) -> list[Verdict]:
    """Return a verdict for each kind of work in which treatments compete."""
    table = experiment.tables["winners"]
    works = list(dict.fromkeys(table["work"]))
    judged = [
        _judge(list_contests(experiment, table[table["work"] == work]), several=len(works) > 1)
        for work in works
    ]
    return [verdict for verdict in judged if verdict is not None]


def _judge(contests: dict[str, Contest], *, several: bool) -> Verdict | None:
    time = contests.get("makespan_s")
    if time is None:
        return None
    among = time.experiment.treatments
    work = _levels(time, time.names, among=among) if several else ""
    reasons = [
        (_lead(time), _rivals(time), _common(time)),
        _turnaround(contests.get("turnaround_p95_s")),
        _memory(time, contests.get("tree_peak_bytes")),
    ]
    texts = [" ".join(sentence for sentence in some if sentence) for some in reasons]
    return Verdict(
        headline=f"{_headline(time)}{f' with {work}' if work else ''}",
        brief=_brief(time),
        reasons=[text for text in texts if text],
        caution=_caution(time),
    )


def _headline(contest: Contest) -> str:
    """Name the kind of worker that all winners share, if it varies, or else the winner."""
    alike = contest.alike
    kinds = {_kind(contest, name) for name in alike}
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    if kind:
        return f"{_KINDS[kind]} {'win' if contest.is_judged else 'are ahead'}"
    if len(alike) == 1:
        return f"`{contest.winner}` {'wins' if contest.is_judged else 'is ahead'}"
    if len(alike) == len(contest.ranked):
        return "No treatment wins"
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
    runs = contest.experiment.runs(winner, only_ok=False)
    failed = int((runs["status"] != "ok").sum())
    silent = len(contest.names) - len(contest.ranked)
    text = f"`{winner}` {_LEADS[contest.quantity]} of {of}: {contest.size(winner)} in the median"
    text += _to_baseline(contest)
    if failed:
        text += f"; {failed} of its {count_noun(len(runs), 'run')} failed"
    if silent:
        text += f"; {silent} more had no successful run"
    return f"{text}."


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


def _brief(contest: Contest) -> str:
    """Return "p2, 3.9 [3.7–4.2] × faster than t1; tied: p5 (makespan 3.10 s; slowest: t1, 12.0 s)".

    A winner that the headline names is not named again.
    """
    winner, slowest = contest.winner, max(contest.ranked, key=contest.median)
    baseline = contest.experiment.baseline
    change = _baseline_change(contest, to=baseline)
    lead = change or ("the baseline" if winner == baseline else "")
    name = "" if f"`{winner}`" in _headline(contest) and lead else winner
    text = ", ".join(part for part in (name, lead) if part)
    if rivals := [name for name in contest.alike if name != winner]:
        few = len(rivals) <= _MOST_RATIOS
        text += f"; tied: {', '.join(rivals) if few else f'{len(rivals)} others'}"
    if winner == slowest:
        return f"{text} (makespan {contest.size(winner)})."
    return f"{text} (makespan {contest.size(winner)}; slowest: {slowest}, {contest.size(slowest)})."


def _rivals(contest: Contest) -> str:
    """Report which treatments are tied with the winner, or which comes next."""
    others = [name for name in contest.ranked if name != contest.winner]
    if not others:
        return ""
    if not contest.is_judged:
        blocks = count_noun(int(contest.rows["n"].fillna(0).max()), "block")
        nearest = _describe_nearest(contest, others)
        return f"{nearest} With {blocks} there is no interval: it may be first by chance."
    alike = [name for name in contest.alike if name != contest.winner]
    return " ".join([*_describe_alike(contest, alike), *_describe_rest(contest, others, alike)])


def _describe_alike(contest: Contest, alike: Sequence[str]) -> list[str]:
    if not alike:
        return []
    with_ratios = len(alike) <= _MOST_RATIOS
    ties = [f"`{name}`" + f", {contest.ratio(name)} ×" * with_ratios for name in alike]
    return [f"Statistically tied with it (the 95 % interval includes 1): {'; '.join(ties)}."]


def _describe_rest(contest: Contest, others: Sequence[str], alike: Sequence[str]) -> list[str]:
    """Name what has no interval and, if nothing is tied, what comes next."""
    silent = [name for name in others if name not in contest.decided]
    behind = [name for name in others if name not in (*alike, *silent)]
    sentences = []
    if behind and not alike:
        more = "take more memory" if contest.is_memory else "are slower"
        sentences += [f"By their 95 % intervals all others {more}."] if len(behind) > 1 else []
        sentences.append(_describe_nearest(contest, behind))
    if silent:
        sentences.append(f"Too few pairs to decide: {name_treatments(silent)}.")
    return sentences


def _describe_nearest(contest: Contest, others: Sequence[str]) -> str:
    nearest = min(others, key=contest.median)
    which = "The next" if len(others) > 1 else "The other"
    as_much = "as much" if contest.is_memory else "as long"
    return f"{which}, `{nearest}`, takes {contest.ratio(nearest)} × {as_much}."


def _common(contest: Contest) -> str:
    """Report which levels the winners share, of the factors that vary among those that compete."""
    shared = _levels(contest, contest.alike, among=contest.names)
    if not shared:
        return "The winner and its ties share no level." if len(contest.alike) > 1 else ""
    who = "The winner has" if len(contest.alike) == 1 else "The winner and its ties share"
    return f"{who} {shared}."


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
    fastest = time.winner
    if fastest not in memory.names:
        return "The fastest is one of these, so how much it takes is unknown."
    if fastest == memory.winner:
        return "The fastest also takes the least memory."
    if memory.rows[["ratio"]].isna().loc[fastest].any():
        return ""
    price = f"{memory.size(fastest)}, {memory.ratio(fastest)} × the least"
    if fastest in memory.alike:
        return f"The fastest is tied with it: {price}."
    return f"The fastest takes {price}."


def _caution(contest: Contest) -> str:
    if not contest.is_judged:
        return ""
    of = len(contest.ranked)
    return (
        f"The winner was chosen among {of} by the same runs that judge it, so chance favours it:"
        " its lead is likely overstated, and no interval is adjusted for that."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Treatments that do the same work, ranked by one quantity; `rows` is indexed by treatment."""

    experiment: Experiment
    quantity: str
    rows: pd.DataFrame

    @property
    def winner(self) -> str:
        """The treatment with the least median."""
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
        """The winner and what is statistically tied with it."""
        return list(self.rows.index[self.rows["alike"].fillna(value=False).astype(bool)])

    @property
    def is_memory(self) -> bool:
        """Whether the quantity is memory."""
        return QUANTITIES[self.quantity].unit == "bytes"

    @property
    def is_judged(self) -> bool:
        """Whether any other treatment has an interval."""
        return bool(self.rows["low"].notna().any())

    @property
    def decided(self) -> list[str]:
        """The treatments for which it is known whether they are tied with the winner."""
        return list(self.rows.index[self.rows["alike"].notna()])

    def median(self, treatment: str) -> float:
        """Return a treatment's median."""
        return float(str(self.rows.loc[treatment, "median"]))

    def ratio(self, treatment: str) -> str:
        """Return the ratio to the winner: "1.09 [1.02–1.17]"."""
        return ratio_cell(self.rows[self.rows.index == treatment].iloc[0])

    def size(self, treatment: str) -> str:
        """Return a treatment's median with its unit."""
        word = UNITS[QUANTITIES[self.quantity].unit].word
        return f"{format_quantity(self.median(treatment), self.quantity)} {word}"


def list_contests(experiment: Experiment, rows: pd.DataFrame) -> dict[str, Contest]:
    """Return the ranking of one kind of work by quantity; `rows` are from the table of winners."""
    return {
        str(quantity): Contest(
            experiment=experiment, quantity=str(quantity), rows=own.set_index("treatment")
        )
        for quantity, own in rows.groupby("quantity", sort=False)
    }
