"""Which model wins: what is fastest, what takes least memory, and what they have in common.

Treatments that do the same work, ranked by one quantity, as the table of winners has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.effects import ratio_cell
from stagebench.present.flow import is_open, list_unseen, name_treatments, tell_places
from stagebench.present.markdown import count_noun, format_quantity
from stagebench.present.treatments import format_level
from stagebench.tables.quantities import QUANTITIES, UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.experiment import Experiment


_KINDS = {"thread": "Threads", "process": "Processes", "asyncio": "Coroutines"}
_LEADS = {
    "makespan_s": "has the least makespan",
    "tree_peak_bytes": "takes the least memory at the tree's peak",
    "turnaround_p95_s": "has the least turnaround (95th percentile)",
}
_MOST_RATIOS = 4
"""With more treatments that are alike their names alone are readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Who wins one kind of work, and a sentence or two on each of time, memory and its price.

    `brief` says in one line who is first, by how much, and what is not told apart from it.
    """

    headline: str
    brief: str
    reasons: Sequence[str]
    caution: str


def describe_winners(experiment: Experiment) -> list[Verdict]:
    """Give a verdict for each kind of work in which treatments compete."""
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
    given = _levels(time, time.names, among=among) if several else ""
    reasons = [
        (_lead(time), _rivals(time), _common(time)),
        _turnaround(contests.get("turnaround_p95_s")),
        _memory(time, contests.get("tree_peak_bytes")),
    ]
    told = [" ".join(sentence for sentence in some if sentence) for some in reasons]
    return Verdict(
        headline=f"{_headline(time)}{f' with {given}' if given else ''}",
        brief=_brief(time),
        reasons=[text for text in told if text],
        caution=_caution(time),
    )


def _headline(contest: Contest) -> str:
    """Name the kind of worker that all winners have where it varies, or else the winner."""
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
    """Give the executor of a treatment's stages whose executor varies; empty unless it is one."""
    stages = contest.experiment.tables["stages"]
    stages = stages[stages["treatment"].isin(contest.names)]
    varying = {stage for stage, own in stages.groupby("stage") if len(set(own["executor"])) > 1}
    own = stages[stages["stage"].isin(varying)]
    kinds = set(own.loc[own["treatment"] == treatment, "executor"])
    return str(next(iter(kinds))) if len(kinds) == 1 else ""


def _lead(contest: Contest) -> str:
    """Say what is first, of how many, and how it stands to the baseline."""
    winner, of = contest.winner, count_noun(len(contest.ranked), "treatment")
    runs = contest.experiment.runs(winner, only_ok=False)
    failed = int((runs["status"] != "ok").sum())
    silent = len(contest.names) - len(contest.ranked)
    text = f"`{winner}` {_LEADS[contest.quantity]} of {of}, {contest.size(winner)} in the median"
    text += _to_baseline(contest)
    if failed:
        text += f"; {failed} of its {count_noun(len(runs), 'run')} failed"
    if silent:
        text += f"; {silent} more had no run that succeeded"
    return f"{text}."


def _to_baseline(contest: Contest) -> str:
    baseline = contest.experiment.baseline
    if contest.winner == baseline:
        return ", and is the baseline"
    ratio = _baseline_ratio(contest)
    return f", {ratio} × the baseline `{baseline}`" if ratio else ""


def _baseline_ratio(contest: Contest) -> str:
    """Give the winner's ratio to the baseline, or an empty text."""
    rows = contest.experiment.tables["comparisons"]
    rows = rows[(rows["treatment"] == contest.winner) & (rows["quantity"] == contest.quantity)]
    # Another kind of work has nothing to say about who does this one best.
    if contest.experiment.baseline not in contest.names or rows.empty:
        return ""
    return "" if pd.isna(rows["ratio"].iloc[0]) else ratio_cell(rows.iloc[0])


def _brief(contest: Contest) -> str:
    """Give "p2 0.26 [0.24–0.27] × t1; not told apart: p5 (makespan 3.10 s; slowest: t1, 12.0 s)".

    What the headline has named is not named again.
    """
    winner, slowest = contest.winner, max(contest.ranked, key=contest.median)
    baseline, ratio = contest.experiment.baseline, _baseline_ratio(contest)
    lead = f"{ratio} × {baseline}" if ratio else "the baseline" if winner == baseline else ""
    name = "" if f"`{winner}`" in _headline(contest) and lead else winner
    text = (", " if lead == "the baseline" else " ").join(part for part in (name, lead) if part)
    if rivals := [name for name in contest.alike if name != winner]:
        few = len(rivals) <= _MOST_RATIOS
        text += f"; not told apart: {', '.join(rivals) if few else f'{len(rivals)} others'}"
    if winner == slowest:
        return f"{text} (makespan {contest.size(winner)})."
    return f"{text} (makespan {contest.size(winner)}; slowest: {slowest}, {contest.size(slowest)})."


def _rivals(contest: Contest) -> str:
    """Say which treatments cannot be told apart from the winner, or which comes next."""
    others = [name for name in contest.ranked if name != contest.winner]
    if not others:
        return ""
    if not contest.is_judged:
        blocks = count_noun(int(contest.rows["n"].fillna(0).max()), "block")
        nearest = _tell_nearest(contest, others)
        return f"{nearest} With {blocks} there is no interval: it may be first by chance."
    alike = [name for name in contest.alike if name != contest.winner]
    return " ".join([*_tell_alike(contest, alike), *_tell_rest(contest, others, alike)])


def _tell_alike(contest: Contest, alike: Sequence[str]) -> list[str]:
    if not alike:
        return []
    with_ratios = len(alike) <= _MOST_RATIOS
    told = [f"`{name}`" + f", {contest.ratio(name)} ×" * with_ratios for name in alike]
    return [
        (
            "Not told apart from it, the 95 % interval of their ratio to it holding 1:"
            f" {'; '.join(told)}."
        )
    ]


def _tell_rest(contest: Contest, others: Sequence[str], alike: Sequence[str]) -> list[str]:
    """Name what has no interval, and, where nothing is alike, what comes next."""
    silent = [name for name in others if name not in contest.decided]
    behind = [name for name in others if name not in (*alike, *silent)]
    told = []
    if behind and not alike:
        more = "more memory" if contest.is_memory else "longer"
        told += [f"All others surely take {more}."] if len(behind) > 1 else []
        told.append(_tell_nearest(contest, behind))
    if silent:
        told.append(f"Too few pairs to tell: {', '.join(f'`{name}`' for name in silent)}.")
    return told


def _tell_nearest(contest: Contest, others: Sequence[str]) -> str:
    nearest = min(others, key=contest.median)
    which = "The nearest" if len(others) > 1 else "The other"
    as_much = "as much" if contest.is_memory else "as long"
    return f"{which}, `{nearest}`, takes {contest.ratio(nearest)} × {as_much}."


def _common(contest: Contest) -> str:
    """Say which levels the winners share, of factors that vary among those that compete."""
    shared = _levels(contest, contest.alike, among=contest.names)
    if not shared:
        return "They have no level in common." if len(contest.alike) > 1 else ""
    alike = len(contest.alike)
    who = {1: "It has", 2: "Both have"}.get(alike, f"All {alike} of these have")
    return f"{who} {shared}."


def _levels(contest: Contest, names: Sequence[str], *, among: Sequence[str]) -> str:
    """List the levels that `names` share and not all of `among` have: "executor thread"."""
    factors = {name: _factors(contest.experiment, name) for name in among}
    first = factors[names[0]]
    shared = [
        f"{factor} {format_level(level)}"
        for factor, level in first.items()
        if all(_has(factors[name], factor, level) for name in names)
        and not all(_has(own, factor, level) for own in factors.values())
    ]
    return ", ".join(shared)


def _factors(experiment: Experiment, treatment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(experiment.runs(treatment, only_ok=False)["factors"].iloc[0])
    return found


def _has(factors: dict[str, Any], factor: str, level: object) -> bool:
    # As text, 1 and true are two levels.
    return factor in factors and format_level(factors[factor]) == format_level(level)


def _turnaround(contest: Contest | None) -> tuple[str, ...]:
    """Where tasks arrive one by one, say who is through with them soonest."""
    if contest is None or not is_open(contest.experiment):
        return ()
    since = "Tasks arrived one by one, and no makespan is shorter than that takes."
    return since, _lead(contest), _rivals(contest)


def _memory(time: Contest, memory: Contest | None) -> tuple[str, ...]:
    """Say who takes the least memory, and what the fastest costs beside it."""
    unseen = _unseen(time)
    if memory is None:
        return (unseen,)
    return _lead(memory), _rivals(memory), unseen, _price(time, memory)


def _unseen(time: Contest) -> str:
    """Name those that memory does not judge, and say why."""
    hidden = [name for name in list_unseen(time.experiment) if name in time.names]
    if not hidden:
        return ""
    places = tell_places(time.experiment)
    return (
        f"Not judged by memory: {name_treatments(hidden)}. Their results pass through {places},"
        " where no process maps them while they wait: what they take there is in no peak."
    )


def _price(time: Contest, memory: Contest) -> str:
    fastest = time.winner
    if fastest not in memory.names:
        return "The fastest is one of these: what it costs in memory is not known."
    if fastest == memory.winner:
        return "So the fastest takes the least memory, too."
    if memory.rows[["ratio"]].isna().loc[fastest].any():
        return ""
    price = f"{memory.size(fastest)}, {memory.ratio(fastest)} × the least"
    if fastest in memory.alike:
        return f"The fastest costs no more that could be told: {price}."
    return f"The price of the fastest in memory: {price}."


def _caution(contest: Contest) -> str:
    if not contest.is_judged:
        return ""
    of = len(contest.ranked)
    return (
        f"A winner is the best of {of} by the very runs that judge it, and chance helped to choose"
        " it: its lead is flattered, and no interval is adjusted for that."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Treatments that do the same work, ranked by one quantity; `rows` has them by name."""

    experiment: Experiment
    quantity: str
    rows: pd.DataFrame

    @property
    def winner(self) -> str:
        """The treatment of the least median."""
        return str(self.rows["winner"].iloc[0])

    @property
    def names(self) -> list[str]:
        """All treatments that compete, in the order of the plan."""
        return list(self.rows.index)

    @property
    def ranked(self) -> list[str]:
        """Those of them that have a median."""
        return list(self.rows.index[self.rows["median"].notna()])

    @property
    def alike(self) -> list[str]:
        """The winner, and what cannot be told apart from it."""
        return list(self.rows.index[self.rows["alike"].fillna(value=False).astype(bool)])

    @property
    def is_memory(self) -> bool:
        """Whether what is ranked is memory."""
        return QUANTITIES[self.quantity].unit == "bytes"

    @property
    def is_judged(self) -> bool:
        """Whether any other treatment has an interval."""
        return bool(self.rows["low"].notna().any())

    @property
    def decided(self) -> list[str]:
        """The treatments of which it is known whether they are alike."""
        return list(self.rows.index[self.rows["alike"].notna()])

    def median(self, treatment: str) -> float:
        """Give a treatment's median."""
        return float(str(self.rows.loc[treatment, "median"]))

    def ratio(self, treatment: str) -> str:
        """Give the ratio to the winner: "1.09 [1.02–1.17]"."""
        return ratio_cell(self.rows[self.rows.index == treatment].iloc[0])

    def size(self, treatment: str) -> str:
        """Give a treatment's median with its unit."""
        word = UNITS[QUANTITIES[self.quantity].unit].word
        return f"{format_quantity(self.median(treatment), self.quantity)} {word}"


def list_contests(experiment: Experiment, rows: pd.DataFrame) -> dict[str, Contest]:
    """Give by quantity how the treatments of one kind of work rank; `rows` are of `winners`."""
    return {
        str(quantity): Contest(
            experiment=experiment, quantity=str(quantity), rows=own.set_index("treatment")
        )
        for quantity, own in rows.groupby("quantity", sort=False)
    }
