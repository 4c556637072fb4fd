"""What to choose, why, and what to try next: from runs, floors and predictions, as sentences.

A treatment is off the front of makespan and peak memory only if another one is surely faster and
surely takes less: both ends of both support it. Of the fastest and those that may be as fast, the
one that takes least memory is chosen. A treatment of which runs failed is not chosen while there is
one of which none did: its other runs say how fast it is, but not that it can be relied on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.comparisons import Contests, group_by_work, judge, rank
from stagebench.analyse.limits import choose_median
from stagebench.analyse.pairs import find_median, find_upper_median, match
from stagebench.analyse.predictions import ask, list_changes
from stagebench.errors import ModelError
from stagebench.model.floors import find_floors, may_be_gil
from stagebench.model.measured import group_runs
from stagebench.model.path import OWN, add_segments, follow_path
from stagebench.model.predict import describe_run
from stagebench.model.resources import CORES, GIL, IN_FLIGHT, WORKERS, find_limit
from stagebench.model.whatif import Change
from stagebench.records import NOT_FAILED
from stagebench.tables.io import make_table
from stagebench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from stagebench.analyse.pairs import Measured
    from stagebench.analyse.predictions import Knowledge, Predicted
    from stagebench.model.measured import MeasuredRun
    from stagebench.model.resources import Floor
    from stagebench.units import Bytes, Seconds

Row = dict[str, Any]

WORTH = 0.97
"""A change is worth a try if it promises at most this share of the makespan."""

MOST_STEPS = 3
"""So many changes are combined, each the best after those before."""

MOST_BLOCKS = 100
"""More blocks than this are not advised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A treatment with all its ok runs, its makespan in the median, and both ends of its peak.

    `most_bytes` is the highest upper end of any run. Ends are None where the peak is not known.
    `alpha` is the level at which it is compared.
    """

    name: str
    runs: Sequence[MeasuredRun]
    times: Sequence[Measured]
    peaks: Sequence[Measured]
    makespan_s: Seconds
    peak_bytes: Bytes | None
    peak_upper_bytes: Bytes | None
    most_bytes: Bytes | None
    alpha: float
    predicted: Predicted | None = None

    @property
    def has_failed(self) -> bool:
        """Whether any of its runs failed."""
        return any(one.status not in NOT_FAILED for one in self.times)

    @property
    def time_s(self) -> Seconds:
        """The makespan that counts: the predicted one, if the machine is another."""
        return self.makespan_s if self.predicted is None else self.predicted.makespan_s


class Wishes(NamedTuple):
    """What a choice must keep to: the most memory, and the cores of the machine."""

    memory_bytes: Bytes | None = None
    cores: int | None = None


def make_advice_table(
    knowledge: Knowledge,
    runs: pd.DataFrame,
    plan: Mapping[str, Any],
    wishes: Wishes | None = None,
) -> pd.DataFrame:
    """Make the table `advice`: one row for each kind of work in each experiment."""
    contests = Contests(runs, plan)
    rows = [
        {"experiment": experiment, "work": number} | row
        for experiment, works in group_by_work(plan).items()
        for number, names in enumerate(works, start=1)
        if (known := _list_candidates(knowledge, contests, experiment, names))
        for row in [_advise(knowledge, known, plan["margin"], wishes or Wishes())]
    ]
    return make_table("advice", rows)


def _advise(knowledge: Knowledge, known: Sequence[Candidate], margin: float, wishes: Wishes) -> Row:
    fitting = [one for one in known if _fits(one, wishes.memory_bytes)]
    if not fitting:
        least = min((one.most_bytes for one in known if one.most_bytes), default=None)
        reason = (
            "no upper end of a peak is known"
            if least is None
            else f"the lowest upper end of a peak is {format_bytes(least)}"
        )
        wanted = format_bytes(wishes.memory_bytes or 0)
        return {"of": 0, "why": f"No treatment surely fits into {wanted}: {reason}."}
    failed = [one.name for one in fitting if one.has_failed]
    if len(failed) == len(fitting):
        failed = []
    fitting = [one for one in fitting if one.name not in failed]
    if wishes.cores is not None:
        cores = wishes.cores
        change = Change(f"cores={cores}", lambda one: replace(one, cores=cores))
        fitting = [
            replace(one, predicted=ask(knowledge, one.runs, [change]))
            for one in fitting
            if not one.runs[0].engine
        ]
    tied = _find_tied(fitting, margin)
    chosen = min(tied, key=lambda one: (_or_endless(one.peak_upper_bytes), one.time_s))
    # The fastest come first: what is dominated at all is mostly dominated by one of them.
    by_time = sorted(fitting, key=lambda one: one.time_s)
    front = [one for one in by_time if not any(_dominates(other, one) for other in by_time)]
    row = {
        "treatment": chosen.name,
        "makespan_s": chosen.makespan_s,
        "peak_bytes": chosen.peak_bytes,
        "peak_upper_bytes": chosen.peak_upper_bytes,
        "of": len(fitting),
        "tied": ", ".join(one.name for one in tied if one is not chosen),
        "front": ", ".join(one.name for one in front),
        "choice": _explain_choice(chosen, tied, fitting, wishes, margin, failed),
        "why": _explain_limit(chosen),
        "more": _explain_more(chosen, tied),
    }
    if chosen.predicted is not None:
        row |= _predicted_columns("", chosen.predicted)
    return row | _find_next(knowledge, chosen, wishes)


def _list_candidates(
    knowledge: Knowledge, contests: Contests, experiment: str, names: Sequence[str]
) -> list[Candidate]:
    measured = group_runs(knowledge.of(experiment))
    times = contests.collect(experiment, names, TIME)
    peaks = contests.collect(experiment, names, PEAK)
    found = []
    for name in names:
        runs = measured.get((experiment, name))
        median_s = find_median(times.get(name, ()))
        if runs is None or median_s is None:
            continue
        own = peaks.get(name, ())
        low, high = find_median(own), find_upper_median(own)
        known = [one.value * one.reach for one in own if one.value is not None]
        found.append(
            Candidate(
                name=name,
                runs=runs,
                times=times[name],
                peaks=own,
                makespan_s=median_s,
                peak_bytes=None if low is None else int(low),
                peak_upper_bytes=None if high is None else _round_known(high),
                most_bytes=_round_known(max(known, default=math.inf))
                if len(known) == len(own)
                else None,
                alpha=contests.alpha,
            )
        )
    return found


def _round_known(size: float) -> Bytes | None:
    """Return a size; None if it is infinite, because an upper end is not known."""
    return None if math.isinf(size) else round(size)


TIME, PEAK = "makespan_s", "tree_peak_bytes"


def _fits(one: Candidate, memory_bytes: Bytes | None) -> bool:
    return memory_bytes is None or (one.most_bytes is not None and one.most_bytes <= memory_bytes)


def _or_endless(size: Bytes | None) -> float:
    return math.inf if size is None else size


def _find_tied(ones: Sequence[Candidate], margin: float) -> list[Candidate]:
    """Return the fastest and all that may be as fast, as the table `winners` has it."""
    if any(one.predicted is not None for one in ones):
        fastest = min(ones, key=lambda one: one.time_s)
        return [one for one in ones if one is fastest or not _is_faster(fastest, one)]
    rows = rank({one.name: one.times for one in ones}, TIME, margin, alpha=ones[0].alpha)
    alike = {row["treatment"] for row in rows if row["alike"] is not False}
    return [one for one in ones if one.name in alike]


def _is_faster(one: Candidate, other: Candidate) -> bool:
    """Return whether one is surely faster: by the interval of their ratio, or of predictions."""
    if one.predicted is not None and other.predicted is not None:
        return one.predicted.high_s < other.predicted.low_s
    return _is_surely_more(other.times, one.times, TIME, one.alpha)


def _takes_less(one: Candidate, other: Candidate) -> bool:
    return _is_surely_more(other.peaks, one.peaks, PEAK, one.alpha)


def _is_surely_more(
    of: Sequence[Measured], to: Sequence[Measured], quantity: str, alpha: float
) -> bool:
    [(row, *_)] = judge([("of", "to", match(of, to))], quantity, 0.0, alpha)
    low = row.get("low")
    return low is not None and low > 1


def _dominates(one: Candidate, other: Candidate) -> bool:
    return one is not other and _is_faster(one, other) and _takes_less(one, other)


def _explain_choice(
    chosen: Candidate,
    tied: Sequence[Candidate],
    of: Sequence[Candidate],
    wishes: Wishes,
    margin: float,
    failed: Sequence[str],
) -> str:
    time = f"{format_seconds(chosen.time_s)} in the median"
    if chosen.predicted is not None:
        time = (
            f"{format_seconds(chosen.time_s)} predicted for {wishes.cores} cores"
            f" ({_range(chosen.predicted)})"
        )
    text = f"`{chosen.name}`: {time}{_describe_peak(chosen)}."
    if failed:
        some = f"`{failed[0]}`" if len(failed) == 1 else f"{len(failed)} treatments"
        text += f" Runs of {some} failed, which therefore cannot be chosen."
    others = [one for one in tied if one is not chosen]
    if not others:
        return f"{text} It is the fastest of {len(of)}." if len(of) > 1 else text
    peaks = {one.name: one.peaks for one in tied if one.peaks}
    ranked = rank(peaks, PEAK, margin, alpha=chosen.alpha)
    more = [row for row in ranked if row["alike"] is False]
    some = f"{len(others)} others" if len(others) > 1 else f"`{others[0].name}`"
    text += f" {some} may be as fast"
    if len(more) == len(others):
        return f"{text}, but {'all take' if len(others) > 1 else 'takes'} more memory."
    if more:
        surely = f"{len(more)} of them surely take{'s' * (len(more) == 1)} more memory"
        return f"{text}; {surely}."
    return f"{text}, and no difference in memory was found." if chosen.peaks else f"{text}."


def _describe_peak(one: Candidate) -> str:
    if one.peak_bytes is None:
        return ", peak memory unknown"
    if one.peak_upper_bytes is None:
        return f", peak memory at least {format_bytes(one.peak_bytes)}"
    low, high = format_bytes(one.peak_bytes), format_bytes(one.peak_upper_bytes)
    return f", peak memory {low}" if low == high else f", peak memory {low} to {high}"


def _find_full(run: MeasuredRun) -> set[str]:
    """Return the kinds of all resources that are full."""
    floors = find_floors(run)
    return {floor.resource for floor in floors if find_limit([floor], run.makespan_s)}


def _explain_limit(one: Candidate) -> str:
    """Name what limits a treatment, with its floor, or where the time goes if nothing is full."""
    run = choose_median(one.runs)
    floors = find_floors(run)
    limit = find_limit(floors, run.makespan_s)
    if limit is None:
        return _explain_rest(run, floors[0])
    floor = f"floor {format_seconds(limit.floor_s)} of {format_seconds(run.makespan_s)}"
    return f"{_explain_full(run, limit)} ({floor})."


def _explain_full(run: MeasuredRun, limit: Floor) -> str:
    kinds = _find_full(run)
    used = sum(each.cpu_s or 0.0 for stage in run.stages for each in stage.served) / run.makespan_s
    of = f" of {run.cores}" if run.cores else ""
    cores = f"{used:.2f}{of} cores are in use"
    if CORES in kinds:
        return f"{cores}: the cores are full, and more workers cannot help"
    if may_be_gil(run):
        return (
            f"{cores}: its threads work or wait for the GIL; for how long they hold it is unknown"
        )
    if GIL in kinds:
        return f"{cores}: the threads share one GIL, and more of them cannot help"
    if limit.resource == IN_FLIGHT and run.in_flight == 1:
        return "One task, the most allowed, is in flight almost all the time"
    if limit.resource != WORKERS:
        return LIMITS[limit.resource].format(in_flight=run.in_flight)
    workers = next(s.conditions.workers for s in run.stages if s.name == limit.stage)
    some = f"All {workers} workers of `{limit.stage}` are" if workers > 1 else ""
    return f"{some or f'The only worker of `{limit.stage}` is'} busy almost all the time"


LIMITS = {
    "node": "The cores of one node are full",
    "network": "The network between nodes carries data almost all the time",
    IN_FLIGHT: "{in_flight} tasks, the most allowed, are in flight almost all the time",
    "arrivals": "It waits for the arrival of tasks",
    "path of a task": "One task alone takes almost all the time",
}


def _explain_rest(run: MeasuredRun, highest: Floor) -> str:
    # A path is followed by the rules of the runner.
    path = {} if run.engine else add_segments(follow_path(run))
    parts: dict[str, Seconds] = {}
    for (_, part), seconds in path.items():
        parts[part] = parts.get(part, 0.0) + seconds
    lost = sorted(
        ((seconds, part) for part, seconds in parts.items() if part not in OWN), reverse=True
    )
    rest_s = run.makespan_s - highest.floor_s
    named = [
        f"{format_seconds(seconds)} {part}" for seconds, part in lost if seconds >= rest_s / 10
    ]
    text = (
        f"Nothing is full: {describe_resource(highest)} would allow"
        f" {format_seconds(highest.floor_s)} of {format_seconds(run.makespan_s)}."
    )
    if named:
        text += f" On the critical path: {_join(named)}."
    uneven_s = sum(parts.get(part, 0.0) for part in OWN) - highest.floor_s
    if uneven_s >= rest_s / 10:
        text += f" Tasks queue behind each other for {format_seconds(uneven_s)}."
    if may_be_gil(run):
        text += " The GIL may be full: for how long handlers hold it is not known well enough."
    return text


def describe_resource(floor: Floor) -> str:
    """Return a resource in the words of the report."""
    words = {
        "workers": f"the workers of `{floor.stage}`",
        "cores": "the cores",
        "node": "the cores of one node",
        "network": "the network between nodes",
        "GIL": "the GIL",
        "arrivals": "the arrival of tasks",
        "in flight": "the limit of tasks in flight",
        "path of a task": "the path of one task",
    }
    return words[floor.resource]


def _join(texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _find_next(knowledge: Knowledge, chosen: Candidate, wishes: Wishes) -> Row:
    """Find the changes of settings that promise most, one after another."""
    run = choose_median(chosen.runs)
    # Where cores or the GIL are full, more workers cannot help; other cores may not be full.
    helps_more = wishes.cores is not None or not _find_full(run) & {CORES, GIL}
    taken: list[Change] = []
    if wishes.cores is not None:
        cores = wishes.cores
        taken = [Change(f"cores={cores}", lambda one: replace(one, cores=cores))]
    fixed = len(taken)
    try:
        best = ask(knowledge, chosen.runs, taken)
        start_s = best.makespan_s
        for _ in range(MOST_STEPS):
            scenario = describe_run(chosen.runs[0])
            for change in taken:
                scenario = change.apply(scenario)
            tries = [
                (ask(knowledge, chosen.runs, [*taken, change]), change)
                for change in list_changes(scenario, chosen.runs)
                if change.text.partition("=")[0].endswith((".workers", ".batch", "in_flight"))
                and (helps_more or not _is_more(change, chosen))
            ]
            if not tries:
                break
            found, change = min(tries, key=lambda pair: pair[0].makespan_s)
            pair = _find_pair(knowledge, chosen, taken, tries)
            if pair is not None and pair[0].makespan_s < WORTH * found.makespan_s:
                found, more = pair
            else:
                more = [change]
            if found.makespan_s > WORTH * best.makespan_s:
                break
            best, taken = found, [*taken, *more]
    except ModelError as error:
        return {"next": f"No prediction: {error}."}
    # A later change of the same setting replaces the one before.
    changes = [*{change.text.partition("=")[0]: change for change in taken[fixed:]}.values()]
    if not changes:
        limit = ", no other limit in flight" if run.in_flight is not None else ""
        return {
            "next": f"No other number of workers{limit} and no batch is predicted to save"
            f" {round(100 * (1 - WORTH))} %."
        }
    texts = _join([change.text for change in changes])
    beyond = f" ({'; '.join(best.beyond)})" if best.beyond else ""
    return {
        "next": f"Next: try {texts}: {format_seconds(best.makespan_s)} predicted"
        f" ({_range(best)}), {format_seconds(start_s)} now{beyond}.",
        **_predicted_columns("next_", best),
        "next_changes": ", ".join(change.text for change in changes),
    }


def _find_pair(
    knowledge: Knowledge,
    chosen: Candidate,
    taken: Sequence[Change],
    tries: Sequence[tuple[Predicted, Change]],
) -> tuple[Predicted, list[Change]] | None:
    """Try two changes at once: where two stages are equally full, one alone does nothing."""
    more = [change for _, change in tries if _is_more(change, chosen)]
    pairs = [
        (ask(knowledge, chosen.runs, [*taken, one, other]), [one, other])
        for number, one in enumerate(more)
        for other in more[number + 1 :]
        if one.text.partition(".")[0] != other.text.partition(".")[0]
    ]
    return min(pairs, key=lambda pair: pair[0].makespan_s, default=None)


def _is_more(change: Change, chosen: Candidate) -> bool:
    """Return whether a change adds workers."""
    name, _, value = change.text.partition("=")
    stage, _, key = name.partition(".")
    workers = {each.name: each.conditions.workers for each in chosen.runs[0].stages}
    return key == "workers" and int(value) > workers[stage]


def _predicted_columns(prefix: str, found: Predicted) -> Row:
    return {
        f"{prefix}predicted_s": found.makespan_s,
        f"{prefix}low_s": found.low_s,
        f"{prefix}high_s": found.high_s if math.isfinite(found.high_s) else None,
    }


def _range(found: Predicted) -> str:
    if not math.isfinite(found.high_s):
        return "its error is unknown"
    return f"{format_seconds(found.low_s)} to {format_seconds(found.high_s)}"


def _explain_more(chosen: Candidate, tied: Sequence[Candidate]) -> str:
    """Name how many more blocks would tell the choice apart from the nearest that is not."""
    found = []
    for other in tied:
        if other is chosen:
            continue
        [(row, _, estimate)] = judge(
            [(other.name, chosen.name, match(other.times, chosen.times))], TIME, 0.0, chosen.alpha
        )
        if estimate is None or not row["ratio"]:
            continue
        blocks = estimate.more_blocks(abs(row["ratio"] - 1)) if row["ratio"] != 1 else None
        if blocks and blocks <= MOST_BLOCKS:
            where = " on further nodes" if estimate.ends[0].nodes > 1 else ""
            found.append((blocks, other.name, where))
    if not found:
        return ""
    blocks, name, where = min(found)
    return (
        f"{blocks} more block{'s' if blocks != 1 else ''}{where} would tell `{chosen.name}` and"
        f" `{name}` apart, if they differ as much as now."
    )
