"""Effects of factors: what one level does in place of another, over all treatments that allow it.

Two levels of a factor are compared over *pairs*: treatments with the one level and with the other,
all other factors equal. A factor that only one of the levels has, as processes have a start method
and threads have none, is averaged over. Each block gives one value, the mean of the pairs'
differences of logarithms, so an effect has an interval over blocks as a ratio to the baseline has.

Where an effect differs between levels of another factor, so that the interval of the quotient
excludes 1, it is shown within those levels, else for all of them together. All effects among which
this choice is made, and the quotients, are one family: their intervals hold together.

Where the config states that all treatments do the same work, a factor may decide into how many
tasks it is split. Such a factor has no effect on quantities in tasks.
"""

from __future__ import annotations

import json
import math
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from stagebench.analyse.families import Member, estimate_family, explain_no_interval
from stagebench.analyse.intervals import LEAST_BLOCKS, choose_alpha, log_effect
from stagebench.analyse.pairs import PER_TASK, collect_measured, list_splits
from stagebench.tables.decisions import WORDS_OF_ORDER, name_outcome
from stagebench.tables.io import make_table
from stagebench.tables.quantities import QUANTITIES, hides_results, unit_of
from stagebench.tables.schema import IN_BLOCKS
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from stagebench.analyse.families import RatioEstimate
    from stagebench.analyse.pairs import Measured, Place

Row = dict[str, Any]
Cell: TypeAlias = "Mapping[str, str]"
"""Factors of a treatment, with their levels as text."""

Within: TypeAlias = "tuple[tuple[str, tuple[str, ...]], ...]"
"""Levels of other factors that an effect is restricted to, in the order of the factors."""

Shares: TypeAlias = "dict[int, float]"
"""A comparison of cells: positive shares for one side, negative ones for the other."""

FACTOR_QUANTITIES = ("makespan_s", "turnaround_p95_s", "cpu_s", "tree_peak_bytes")

EFFECT, QUOTIENT = "effect", "quotient"
"""Kinds of rows: an effect; how many times as large it is within one level as within another."""

_ALL_PAIRS = 4
"""Of a factor with more levels, each is compared with the first one only."""

_MOST_QUESTIONS = 250
"""A larger family takes long, and has intervals that say little: it is looked at less closely."""

_LEVELS_OF_DETAIL = ((2, True), (2, False), (1, False), (0, False))
"""By how many other factors an effect may be restricted, and whether to several of their levels."""

_DECIMALS = 12


class Question(NamedTuple):
    """The effect of `level` in place of `to` of a factor, within some levels of other factors.

    With `by`, the quotient of that effect within `by_level` and within `by_to`.
    """

    factor: str
    level: str
    to: str
    within: Within = ()
    by: str = ""
    by_level: str = ""
    by_to: str = ""


class Values(NamedTuple):
    """Logarithms of one quantity, cells × places: lower and upper ends, NaN if unknown."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    places: Sequence[Place]


class Compared(NamedTuple):
    """The contrast that answers a question, and how many pairs it has of how many."""

    member: Member
    pairs: int
    of: int


class Answer(NamedTuple):
    """The contrast that answers a question, with its estimate."""

    contrast: Compared
    estimate: RatioEstimate


def find_factor_effects(
    runs: pd.DataFrame, stages: pd.DataFrame, plan: Mapping[str, Any]
) -> pd.DataFrame:
    """Make the table `factor_effects` from the tables `runs` and `stages`, largest effects first.

    Treatments whose results wait unseen are left out for memory.
    """
    measured = {quantity: collect_measured(runs, quantity) for quantity in FACTOR_QUANTITIES}
    uses = zip(stages["experiment"], stages["treatment"], stages["transport"], strict=True)
    hidden = {(experiment, name) for experiment, name, to in uses if hides_results(to)}
    splits = list_splits(runs, plan)
    rows: list[Row] = []
    for experiment, own in runs.groupby("experiment", sort=False):
        grids = _read_grids(own, {name for key, name in hidden if key == experiment})
        for quantity in FACTOR_QUANTITIES:
            grid = grids[QUANTITIES[quantity].unit == "bytes"]
            common = {"experiment": experiment, "quantity": quantity, "unit": unit_of(quantity)}
            common["margin"] = plan["margin"]
            tasks = splits.get(str(experiment), {}) if quantity in PER_TASK else {}
            values = measured[quantity].get(str(experiment), {})
            rows += estimate_effects(grid, values, common, tasks, choose_alpha(plan))
    return make_table("factor_effects", rows)


def _read_grids(runs: pd.DataFrame, hidden: set[str]) -> tuple[FactorGrid, FactorGrid]:
    """Return the grid of an experiment, and that without hidden treatments."""
    named = runs.drop_duplicates("treatment")
    cells = {
        str(name): {factor: name_level(level) for factor, level in json.loads(text).items()}
        for name, text in zip(named["treatment"], named["factors"], strict=True)
    }
    whole = FactorGrid(cells)
    if not hidden:
        return whole, whole
    return whole, FactorGrid({name: cell for name, cell in cells.items() if name not in hidden})


def name_level(level: object) -> str:
    """Return a level as text; texts are compared, because 1 == True."""
    if level is None:
        return "unset"
    return str(level).lower() if isinstance(level, bool) else str(level)


def estimate_effects(
    grid: FactorGrid,
    measured: Mapping[str, Sequence[Measured]],
    common: Row,
    tasks: Mapping[str, int],
    alpha: float = ALPHA,
) -> list[Row]:
    """Estimate the effects of all factors on one quantity, with the rows' `common` columns.

    Treatments with different numbers of `tasks` are not compared.
    """
    values = _tabulate(grid.names, measured)
    if np.isnan(values.low).all():
        return []
    answers = _estimate(
        {
            question: _make_contrast(pairs, values, grid.names)
            for question, pairs in grid.questions.items()
            if not tasks or all(_is_like_for_like(shares, grid.names, tasks) for shares in pairs)
        },
        alpha,
    )
    chosen = [
        part
        for question in answers
        if not question.within and not question.by
        for part in grid.split(question, answers, common["margin"])
    ]
    rows = [
        common | _describe(question, answer, common) | {"shown": question in chosen}
        for question, answer in answers.items()
        if question in chosen or not question.within
    ]
    return sorted(rows, key=_rank)


def _estimate(made: Mapping[Question, Compared], alpha: float) -> dict[Question, Answer]:
    """Add the estimates; questions that are answered by the same contrast count as one."""
    identities = {question: _identify(contrast.member) for question, contrast in made.items()}
    distinct = {identity: made[question].member for question, identity in identities.items()}
    estimates = dict(zip(distinct, estimate_family(list(distinct.values()), alpha), strict=True))
    return {
        question: Answer(contrast, estimate)
        for question, contrast in made.items()
        if (estimate := estimates[identities[question]]) is not None
    }


def _identify(member: Member) -> tuple[object, ...]:
    weights = {name: round(weight, _DECIMALS) for name, weight in member.weights.items()}
    return tuple(sorted(pair for pair in weights.items() if pair[1])), tuple(member.places)


def _rank(row: Row) -> tuple[bool, bool, float]:
    """Put shown effects first, then the others, then quotients; each by size, largest first."""
    low, high = row["ratio"], row["ratio_upper"] or row["ratio"]
    nearest = 1.0 if low <= 1 <= high else max(low, 1 / high)
    return not row["shown"], row["kind"] == QUOTIENT, -nearest


class FactorGrid:
    """The treatments of an experiment by their factors, and the questions that they can answer."""

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self.names = list(cells)
        self._cells = list(cells.values())
        levels: dict[str, dict[str, None]] = {}
        for cell in self._cells:
            for factor, level in cell.items():
                levels.setdefault(factor, {})[level] = None
        self._levels = {factor: tuple(own) for factor, own in levels.items() if len(own) > 1}
        self.questions = self._list_questions()

    def _list_questions(self) -> dict[Question, list[Shares]]:
        """Return questions with their pairs, in as much detail as leaves a family of good size."""
        found: dict[Question, list[Shares]] = {}
        for depth, with_ranges in _LEVELS_OF_DETAIL:
            questions = self._ask(depth, with_ranges=with_ranges)
            found = dict(islice(questions, _MOST_QUESTIONS + 1))
            if len(found) <= _MOST_QUESTIONS:
                break
        return found

    def _ask(self, depth: int, *, with_ranges: bool) -> Iterator[tuple[Question, list[Shares]]]:
        for factor, levels in self._levels.items():
            for to, level in _list_pairs(levels):
                base = Question(factor, level, to)
                for question in dict.fromkeys(self._restrict(base, depth, with_ranges=with_ranges)):
                    if pairs := self._pair_cells(question):
                        yield question, list(pairs.values())
                        if len(question.within) < max(depth, 1):
                            yield from self._ask_quotients(question)

    def _ask_quotients(self, question: Question) -> Iterator[tuple[Question, list[Shares]]]:
        for by in self._list_others(question):
            for by_to, by_level in _list_pairs(self._levels[by]):
                sides = [
                    self._pair_cells(self._within(question, by, (one,)), without=by)
                    for one in (by_level, by_to)
                ]
                pairs = [
                    shares | {cell: -share for cell, share in sides[1][key].items()}
                    for key, shares in sides[0].items()
                    if key in sides[1]
                ]
                if pairs:
                    yield question._replace(by=by, by_level=by_level, by_to=by_to), pairs

    def _restrict(self, question: Question, depth: int, *, with_ranges: bool) -> Iterator[Question]:
        """Yield a question, then all restrictions of it."""
        yield question
        if depth == 0:
            return
        for factor in self._list_others(question):
            for levels in _list_ranges(self._levels[factor], with_ranges=with_ranges):
                narrower = self._within(question, factor, levels)
                yield from self._restrict(narrower, depth - 1, with_ranges=with_ranges)

    def _within(self, question: Question, factor: str, levels: tuple[str, ...]) -> Question:
        order = list(self._levels)
        within = sorted((*question.within, (factor, levels)), key=lambda one: order.index(one[0]))
        return question._replace(within=tuple(within))

    def _list_others(self, question: Question) -> list[str]:
        """Return the factors by which all pairs of a question can be told apart."""
        pairs = self._pair_cells(question)
        cells = [self._cells[index] for shares in pairs.values() for index in shares]
        apart = {question.factor, *self._list_nested(question)}
        apart |= {factor for factor, _ in question.within}
        return [
            factor
            for factor in self._levels
            if factor not in apart and all(factor in cell for cell in cells)
        ]

    def _list_nested(self, question: Question) -> set[str]:
        """Return the factors that no treatment with the one level has, and some with the other."""
        sides = [
            {name for cell in self._cells if cell.get(question.factor) == level for name in cell}
            for level in (question.level, question.to)
        ]
        return sides[0] ^ sides[1]

    def _pair_cells(self, question: Question, without: str = "") -> dict[object, Shares]:
        """Return the pairs of a question by the levels of all factors that they have in common."""
        factor, levels = question.factor, (question.to, question.level)
        apart = {factor, without, *self._list_nested(question)}
        sides: dict[object, tuple[list[int], list[int]]] = {}
        for index, cell in enumerate(self._cells):
            is_within = all(cell.get(other) in some for other, some in question.within)
            if cell.get(factor) in levels and is_within:
                key = frozenset(pair for pair in cell.items() if pair[0] not in apart)
                sides.setdefault(key, ([], []))[cell[factor] == question.level].append(index)
        return {
            key: dict.fromkeys(own, 1 / len(own)) | dict.fromkeys(base, -1 / len(base))
            for key, (base, own) in sides.items()
            if own and base
        }

    def split(
        self, question: Question, answers: Mapping[Question, Answer], margin: float
    ) -> Iterator[Question]:
        """Yield a question, or the parts of it if its answer depends on another factor."""
        differing = {
            one: answer.estimate
            for one, answer in answers.items()
            if one.by
            and one[:4] == question[:4]
            and answer.estimate.outcome(margin) in WORDS_OF_ORDER
        }
        parts: list[Question] = []
        if differing:
            by = max(differing, key=lambda one: _distance(differing[one])).by
            apart = {frozenset((one.by_level, one.by_to)) for one in differing if one.by == by}
            for levels in _cluster(self._levels[by], apart):
                joined = self._within(question, by, levels)
                each = [self._within(question, by, (level,)) for level in levels]
                parts += [
                    one for one in ([joined] if joined in answers else each) if one in answers
                ]
        if not parts:
            yield question
        for part in parts:
            yield from self.split(part, answers, margin)


def _list_pairs(levels: Sequence[str]) -> list[tuple[str, str]]:
    pairs = list(combinations(levels, 2))
    return pairs if len(levels) <= _ALL_PAIRS else pairs[: len(levels) - 1]


def _list_ranges(levels: tuple[str, ...], *, with_ranges: bool) -> list[tuple[str, ...]]:
    """Return every level and, if wanted, neighbouring ones together, but not all of them."""
    most = len(levels) - 1 if with_ranges and len(levels) <= _ALL_PAIRS else 1
    return [
        levels[first : first + count]
        for count in range(1, most + 1)
        for first in range(len(levels) - count + 1)
    ]


def _cluster(levels: Sequence[str], apart: set[frozenset[str]]) -> list[tuple[str, ...]]:
    """Join neighbouring levels between which no difference was found."""
    clusters: list[tuple[str, ...]] = []
    for level in levels:
        if clusters and not any(frozenset((level, one)) in apart for one in clusters[-1]):
            clusters[-1] += (level,)
        else:
            clusters.append((level,))
    return clusters


def _distance(estimate: RatioEstimate) -> float:
    """Return how far the nearer limit is from 1, as a factor."""
    low, high = estimate.low or 0.0, estimate.high or math.inf
    return max(low, 1 / high)


def _tabulate(names: Sequence[str], measured: Mapping[str, Sequence[Measured]]) -> Values:
    places = sorted(
        {(one.block, one.campaign, one.node) for own in measured.values() for one in own}
    )
    columns = {place: column for column, place in enumerate(places)}
    low = np.full((len(names), len(places)), math.nan)
    high = low.copy()
    for row, name in enumerate(names):
        for one in measured.get(name, ()):
            if one.is_usable and one.value is not None:
                column = columns[one.block, one.campaign, one.node]
                low[row, column] = math.log(one.value)
                high[row, column] = low[row, column] + math.log(one.reach)
    return Values(low, high, places)


def _is_like_for_like(shares: Shares, names: Sequence[str], tasks: Mapping[str, int]) -> bool:
    """Report whether treatments are only compared with others of as many tasks."""
    sums: dict[int | None, float] = {}
    for cell, share in shares.items():
        number = tasks.get(names[cell])
        sums[number] = sums.get(number, 0.0) + share
    return all(math.isclose(one, 0.0, abs_tol=1e-9) for one in sums.values())


def _make_contrast(pairs: Sequence[Shares], values: Values, names: Sequence[str]) -> Compared:
    """Make the contrast of the pairs that have enough blocks in common."""
    chosen, blocks = _choose(pairs, ~np.isnan(values.low))
    weights: dict[int, float] = {}
    for shares in chosen:
        for cell, share in shares.items():
            weights[cell] = weights.get(cell, 0.0) + share / len(chosen)
    named = {names[cell]: weight for cell, weight in weights.items()}
    places = [values.places[block] for block in blocks]
    nodes = [node for _, _, node in places]
    ends = [
        log_effect([_weigh(weights, first[:, block], second[:, block]) for block in blocks], nodes)
        for first, second in ((values.low, values.high), (values.high, values.low))
    ]
    member = Member(named, (ends[0], ends[1]), places, IN_BLOCKS if blocks else "")
    return Compared(member, len(chosen), len(pairs))


def _weigh(
    weights: Mapping[int, float], positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> float:
    return math.fsum(
        weight * (positive if weight > 0 else negative)[cell] for cell, weight in weights.items()
    )


def _choose(pairs: Sequence[Shares], present: NDArray[np.bool_]) -> tuple[list[Shares], list[int]]:
    """Choose pairs, and the blocks that have all of their runs.

    The pairs that lack most blocks are left out until half of the blocks remain that any pair has,
    and enough for an interval.
    """
    complete = [(one, present[list(one)].all(axis=0)) for one in pairs]
    complete = [(one, blocks) for one, blocks in complete if blocks.any()]
    if not complete:
        return [], []
    complete.sort(key=lambda pair: -int(pair[1].sum()))
    most = int(complete[0][1].sum())
    wanted = max(min(most, LEAST_BLOCKS), math.ceil(most / 2))
    while True:
        common = np.logical_and.reduce([blocks for _, blocks in complete])
        if common.sum() >= wanted or len(complete) == 1:
            return [one for one, _ in complete], np.flatnonzero(common).tolist()
        complete.pop()


def _describe(question: Question, answer: Answer, common: Row) -> Row:
    (member, pairs, of), estimate = answer
    outcome = estimate.outcome(common["margin"])
    notes = []
    if pairs < of:
        notes.append(f"{of - pairs} of {of} pairs left out, because runs are missing")
    if estimate.low is None:
        notes.append(explain_no_interval(member.n))
    return {
        "kind": QUOTIENT if question.by else EFFECT,
        "factor": question.factor,
        "level": question.level,
        "to_level": question.to,
        "within": json.dumps(dict(question.within)),
        "by": question.by,
        "by_level": question.by_level,
        "by_to_level": question.by_to,
        "pairs": pairs,
        "ratio": estimate.ratio,
        "ratio_upper": estimate.bracket_end,
        "low": estimate.low,
        "high": estimate.high,
        "n": member.n,
        "pairing": member.pairing,
        "word": outcome if question.by else name_outcome(outcome, common["quantity"]),
        "note": "; ".join(notes),
    }
