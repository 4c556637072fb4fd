"""Which runs are compared with each other, and the ratio of two treatments in one quantity.

Runs of the same block, campaign and node are pairs. Without any pair, all runs of shared campaigns
are compared, or else all runs. Runs of different nodes are never compared.
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

import pandas as pd

from stagebench.analyse.conditions import count_nodes
from stagebench.analyse.intervals import Effect, log_effect, unpaired_effect
from stagebench.tables.quantities import is_lower_end, upper_of
from stagebench.tables.schema import IN_BLOCKS, OTHER_CAMPAIGN, UNPAIRED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.analyse.intervals import Node, Nodes


T = TypeVar("T")

Place: TypeAlias = "tuple[int, str, Node]"
"""Block, campaign and node of a run; a treatment has one run in each place."""


class Chosen(NamedTuple, Generic[T]):
    """The runs to compare: pairs if `pairing` is IN_BLOCKS; none if it is empty.

    `nodes` are those of the runs of both sides.
    """

    pairing: str
    of: Sequence[T]
    to: Sequence[T]
    nodes: Nodes = ((), ())


def choose(own: Mapping[Place, T], base: Mapping[Place, T]) -> Chosen[T]:
    """Choose the runs of two treatments to compare: their pairs, if there are any."""
    places = [place for place in own if place in base]
    if places:
        of, to = ({place: some[place] for place in places} for some in (own, base))
        return _list_chosen(IN_BLOCKS, of, to)
    campaigns = {campaign for _, campaign, _ in own} & {campaign for _, campaign, _ in base}
    within: list[Mapping[Place, T]] = [
        {place: one for place, one in some.items() if place[1] in campaigns} for some in (own, base)
    ]
    for pairing, sides in ((UNPAIRED, within), (OTHER_CAMPAIGN, [own, base])):
        shared = _keep_shared_nodes(*sides)
        if all(shared):
            return _list_chosen(pairing, *shared)
    return Chosen("", (), ())


def _list_chosen(pairing: str, of: Mapping[Place, T], to: Mapping[Place, T]) -> Chosen[T]:
    nodes = [node for _, _, node in of], [node for _, _, node in to]
    return Chosen(pairing, [*of.values()], [*to.values()], nodes)


def _keep_shared_nodes(
    own: Mapping[Place, T], base: Mapping[Place, T]
) -> tuple[Mapping[Place, T], Mapping[Place, T]]:
    """Return the runs of both sides on the nodes that both have."""
    nodes = [{node for _, _, node in some} for some in (own, base)]
    if count_nodes(nodes[0] | nodes[1]) == 1:
        return own, base
    shared = nodes[0] & nodes[1]
    of, to = ({place: some[place] for place in some if place[2] in shared} for some in (own, base))
    return of, to


PER_TASK = ("throughput_per_s", "turnaround_p95_s")
"""Quantities in tasks: they compare nothing if the same work is split into more tasks, or fewer."""


def list_same_work(plan: Mapping[str, Any]) -> set[str]:
    """Return the experiments of which the config states that all treatments do the same work."""
    return {one["name"] for one in plan.get("experiments", ()) if one.get("same_work")}


def list_splits(runs: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return into how many tasks each treatment splits the work.

    Only of experiments whose treatments are stated to do the same work, and split it differently.
    """
    found = {}
    for experiment in sorted(list_same_work(plan)):
        own = runs[runs["experiment"] == experiment].drop_duplicates("treatment")
        tasks = {str(n): int(t) for n, t in zip(own["treatment"], own["tasks"], strict=True)}
        if len(set(tasks.values())) > 1:
            found[experiment] = tasks
    return found


SMALLEST, LARGEST = "smallest", "largest"
"""The two ratios that the brackets of two values leave room for; equal if both are exact."""


class Measured(NamedTuple):
    """One quantity of one run; `value` is None if it is unknown.

    If the value is a lower end, the true one is at most `reach` times as large: 1 if it is exact,
    infinite if no upper end is known.
    """

    block: int
    campaign: str
    status: str
    value: float | None
    reach: float = 1.0
    node: Node = ""

    @property
    def is_usable(self) -> bool:
        """Whether the value can be part of a ratio."""
        return self.status == "ok" and self.value is not None and self.value > 0


class Matched(Chosen[Measured]):
    """The runs of a treatment and of its baseline to compare, as ratios."""

    __slots__ = ()

    @property
    def is_exact(self) -> bool:
        """Whether all values are exact, so that the smallest ratios are the largest ones, too."""
        return all(one.reach == 1 for one in (*self.of, *self.to))

    def effect(self, end: str = SMALLEST) -> Effect:
        """Estimate the smallest or the largest ratio that the values leave room for."""
        if self.pairing == IN_BLOCKS:
            return log_effect([_log(ratio) for _, ratio in self.ratios(end)], self.nodes[0])
        of, to = self._sides(end)
        if math.inf in (*of, *to):
            endless = math.inf if math.inf in of else -math.inf
            nodes = count_nodes(self.nodes[0])
            return Effect(endless, 0.0, math.inf, min(len(of), len(to)), nodes)
        return unpaired_effect(of, to, self.nodes)

    def ratios(self, end: str = SMALLEST) -> list[tuple[int, float]]:
        """Return block and ratio of each pair, or of each run to the baseline's geometric mean.

        On several nodes, that is the mean of the node.
        """
        of, to = self._sides(end)
        if to and self.pairing != IN_BLOCKS:
            is_one = count_nodes([*self.nodes[0], *self.nodes[1]]) == 1
            to = [
                math.exp(
                    fmean(
                        math.log(value)
                        for value, other in zip(to, self.nodes[1], strict=True)
                        if is_one or other == node
                    )
                )
                for node in self.nodes[0]
            ]
        blocks = [one.block for one in self.of]
        return [(block, one / base) for block, one, base in zip(blocks, of, to, strict=True)]

    def _sides(self, end: str) -> tuple[list[float], list[float]]:
        if end == SMALLEST:
            return _values(self.of), _uppers(self.to)
        return _uppers(self.of), _values(self.to)


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def match(own: Sequence[Measured], base: Sequence[Measured]) -> Matched:
    """Choose the usable runs of a treatment and its baseline to compare."""
    return Matched(*choose(_usable(own), _usable(base)))


def describe_gaps(own: Sequence[Measured], base: Sequence[Measured]) -> list[str]:
    """List the blocks without a pair, and why: "blocks 1, 3: baseline timed_out"."""
    if not base:
        return ["the baseline has no such stage"]
    failures = [_failures("no ok run", own), _failures("the baseline failed in every block", base)]
    if any(failures):
        return [text for text in failures if text]
    bases = {one.block: one for one in base}
    blocks: dict[str, list[int]] = {}
    for one in own:
        blocks.setdefault(_gap(one, bases.get(one.block)), []).append(one.block)
    return [
        f"block{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}: {reason}"
        for reason, found in blocks.items()
        if reason
    ]


def _failures(title: str, runs: Sequence[Measured]) -> str:
    ended = Counter(one.status for one in runs)
    if ended["ok"]:
        return ""
    return f"{title} ({', '.join(f'{status} × {n}' for status, n in ended.items())})"


def _gap(one: Measured, base: Measured | None) -> str:
    if base is None:
        return "no baseline run"
    if reason := _unusable(one):
        return reason
    if reason := _unusable(base):
        return f"baseline {reason}"
    if one.campaign != base.campaign:
        return "baseline of another campaign"
    return "" if one.node == base.node else f"baseline on node {base.node or 'unknown'}"


def _unusable(one: Measured) -> str:
    if one.status != "ok":
        return one.status
    if one.value is None:
        return "unknown"
    return "" if one.value > 0 else f"{one.value:g}, which has no ratio"


def _usable(runs: Sequence[Measured]) -> dict[Place, Measured]:
    return {(one.block, one.campaign, one.node): one for one in runs if one.is_usable}


def _values(some: Iterable[Measured]) -> list[float]:
    return [one.value for one in some if one.value is not None]


def _uppers(some: Iterable[Measured]) -> list[float]:
    return [one.value * one.reach for one in some if one.value is not None]


Row = dict[str, Any]
Values = dict[str, dict[str, list[Measured]]]
"""Experiment → treatment → its runs."""

_COLUMNS = ["experiment", "treatment", "block", "campaign", "node", "status"]


def collect_measured(runs: pd.DataFrame, quantity: str) -> Values:
    """Return one quantity of every run, in the order of the table of runs."""
    found: Values = {}
    uppers = list_uppers(runs, quantity)
    rows = runs[[*_COLUMNS, quantity]].itertuples(index=False, name=None)
    for (*place, value), upper in zip(rows, uppers, strict=True):
        experiment, treatment, block, campaign, node, status = place
        own = found.setdefault(experiment, {}).setdefault(treatment, [])
        where = int(block), str(campaign), str(node)
        own.append(measure(where, str(status), (value, upper)))
    return found


def list_uppers(rows: pd.DataFrame, quantity: str) -> list[float]:
    """Return the upper end of a quantity in every row: the value itself if it is exact."""
    if not is_lower_end(quantity):
        return list(rows[quantity].astype("float64"))
    upper = upper_of(quantity)
    unknown = upper is None or upper not in rows.columns
    return [math.nan] * len(rows) if unknown else list(rows[upper].astype("float64"))


def measure(place: Place, status: str, ends: tuple[Any, float]) -> Measured:
    """Make the value of a run from its lower and its upper end, either of them missing."""
    block, campaign, node = place
    if pd.isna(ends[0]):
        return Measured(block, campaign, status, None, node=node)
    value, upper = float(ends[0]), ends[1]
    reach = math.inf if math.isnan(upper) else max(1.0, upper / value) if value > 0 else 1.0
    return Measured(block, campaign, status, value, reach, node)


def find_median(values: Sequence[Measured]) -> float | None:
    """Return the median over the ok runs whose value is known; None if there are none."""
    known = [one.value for one in values if one.status == "ok" and one.value is not None]
    return median(known) if known else None


def find_upper_median(values: Sequence[Measured]) -> float | None:
    """Return the median of the upper ends; None if there is none, infinite if one is unknown."""
    ok = [one for one in values if one.status == "ok"]
    known = _uppers(ok)
    if not known:
        return None
    return math.inf if math.inf in known else median(known)
