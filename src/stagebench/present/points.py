"""What the first screen says about an experiment, sentence by sentence.

A sentence is plain text in which names of treatments and stages stand in backquotes. The most
important sentences of a point come first, so that a narrow screen may leave out the others.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.alike import FAILED, UNKNOWN, clean_name, find_medians, join_names
from stagebench.present.effects import outcome_of
from stagebench.present.flow import is_open, list_unseen
from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_about,
    format_bracket,
    format_interval,
    format_number,
)
from stagebench.present.trust import count_run_nodes
from stagebench.present.winners import list_works
from stagebench.tables.decisions import (
    EQUIVALENT,
    LEAST,
    NO_INTERVAL,
    NOT_DECIDED,
    WORDS_OF_ORDER,
)
from stagebench.tables.io import find_failed, list_rows
from stagebench.tables.quantities import HIGHER, LOWER
from stagebench.tables.schema import IN_BLOCKS
from stagebench.units import MIB, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.alike import Alike, LevelWords
    from stagebench.present.experiment import Experiment
    from stagebench.present.winners import Contest

Row = dict[str, Any]

TIME, PEAK = "makespan_s", "tree_peak_bytes"

_PEAK_UPPER = "tree_peak_upper_bytes"

USE_VERB = "use "
"""What a sentence begins with that makes a choice."""

_ORDER = (
    *("GIL", "cores", "node", "network", "workers", "in flight", "arrivals"),
    "path of a task",
)
"""Resources: of several that limit all members of a group, the first is named."""

_LEAST_REST = 0.05
"""A part of the time that is lost is named from this share of the makespan on."""

_ENOUGH_BLOCKS = 3
"""An interval needs so many blocks."""

_SMALL = 1.1
"""A ratio below this is written with three digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about the treatments of one kind of work.

    `groups`: those that are alike. `block_s`: how long one more block of the study takes.
    `is_work_stated`: that their work is the same is known from the config alone.
    """

    experiment: Experiment
    names: Sequence[str]
    words: LevelWords
    groups: Sequence[Alike]
    block_s: float
    is_work_stated: bool
    numbers: Numbers

    @property
    def advice(self) -> Row:
        """The row of advice; empty if there is none."""
        rows = self.numbers.advice
        return next((row for row in rows if row["treatment"] in self.names), {})

    @property
    def chosen(self) -> str:
        """The treatment that is advised; "" without advice."""
        return str(self.advice.get("treatment", ""))

    @property
    def is_judged(self) -> bool:
        """Whether there are intervals, or no rival that would need one."""
        contest = self.contest(TIME)
        return contest is None or contest.is_judged or len(contest.ranked) == 1

    @property
    def tied(self) -> list[str]:
        """Treatments that are not told apart from the one that is advised."""
        tied = set(str(self.advice.get("tied", "")).split(", "))
        return [name for name in self.names if name in tied]

    def contest(self, quantity: str) -> Contest | None:
        """Return the ranking by a quantity; None without a rival."""
        found = self.numbers.contests.get((self.names[0], quantity))
        return found if found is not None and set(found.names) <= set(self.names) else None

    def label(self, names: Sequence[str]) -> str:
        """Return the levels by which treatments differ from others of the same work."""
        return self.words.describe(names, self.names) or ", ".join(map(clean_name, names[:2]))

    def name(self, treatment: str) -> str:
        """Return "native, 1 thread (`t1`)"."""
        label = self.words.describe([treatment], self.names)
        tag = f"`{clean_name(treatment)}`"
        return f"{label} ({tag})" if label and label != treatment else tag


class Numbers:
    """The medians of an experiment's treatments, and the rows that compare them."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.unseen = set(list_unseen(experiment))
        self.makespans = find_medians(experiment, TIME)
        self.advice = list_rows(experiment.tables["advice"])
        self.contests = {
            (name, quantity): contest
            for work in list_works(experiment)
            for (quantity, end), contest in work.items()
            if end == LEAST
            for name in contest.names
        }

    @cached_property
    def _peaks(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Treatment and end of the peak → its median and the number of runs."""
        rows = self.experiment.tables["treatments"]
        rows = rows[rows["quantity"].isin([PEAK, _PEAK_UPPER]) & rows["median"].notna()]
        return {
            (row["treatment"], row["quantity"]): (float(row["median"]), float(row["n"]))
            for row in list_rows(rows)
        }

    @cached_property
    def limits(self) -> dict[str, Row]:
        """Treatment → its row of limits."""
        return {row["treatment"]: row for row in list_rows(self.experiment.tables["limits"])}

    @cached_property
    def comparisons(self) -> dict[tuple[str, str], pd.Series[float]]:
        """Treatment and quantity → the row that compares it with the baseline."""
        rows = self.experiment.tables["comparisons"]
        rows = rows[rows["quantity"].isin([TIME, PEAK])]
        return {(row["treatment"], row["quantity"]): row for _, row in rows.iterrows()}

    @cached_property
    def shares(self) -> dict[tuple[str, str], tuple[float, str]]:
        """Treatment and resource → its highest floor as a share of the makespan, and its stage."""
        shown = {name: row["replicate"] for name, row in self.limits.items()}
        found: dict[tuple[str, str], tuple[float, str]] = {}
        for row in list_rows(self.experiment.tables["floors"]):
            key = row["treatment"], row["resource"]
            if shown.get(row["treatment"]) != row["replicate"] or pd.isna(row["above"]):
                continue
            found[key] = max(found.get(key, (0.0, "")), (1 / (1 + row["above"]), row["stage"]))
        return found

    def peak(self, treatment: str) -> tuple[float, float]:
        """Return the ends between which the median peak lies; infinite or NaN if unknown."""
        low, runs = self._peaks.get((treatment, PEAK), (math.nan, 0.0))
        high, known = self._peaks.get((treatment, _PEAK_UPPER), (math.inf, 0.0))
        # Where the upper end of one run is not known, that of the median is not either.
        return low, high if known == runs and treatment not in self.unseen else math.inf


def format_factor(ratio: float) -> str:
    """Return a ratio with two digits, near 1 with three: "11", "1.8", "1.04"."""
    if ratio < _SMALL:
        return format_number(ratio)
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"  # which would round to 10.0


def compare(row: pd.Series[float], to: str) -> str:
    """Return "11.3 × faster than `t1` [10.6–12.1]", or that no difference was found."""
    outcome = outcome_of(row)
    if outcome == EQUIVALENT:
        return f"as fast as {to} within {100 * float(row['margin']):g} %"
    if outcome == NOT_DECIDED:
        return f"no difference found from {to}"
    if outcome == NO_INTERVAL:
        return f"too few runs to compare it with {to}"
    ratio, low, high = (float(row[name]) for name in ("ratio", "low", "high"))
    if outcome == LOWER:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    apart = "" if str(row["pairing"]) == IN_BLOCKS else f" ({row['pairing']})"
    word = "faster" if outcome == LOWER else "slower"
    return f"{format_number(ratio)} × {word} than {to} {format_interval(low, high)}{apart}"


def format_size(ends: tuple[float, float]) -> str:
    """Return "799–807 MiB", "≥ 799 MiB" or "unknown"."""
    if pd.isna(ends[0]):
        return "unknown"
    return f"{format_bracket(ends, scale=1 / MIB).replace(' – ', '–')} MiB"


def say_use(facts: Facts) -> list[str]:
    """Say what to use, how fast it is, what memory it takes, and what may be as good."""
    chosen, numbers = facts.chosen, facts.numbers
    if not chosen:
        return _say_no_choice(facts)
    if not facts.is_judged:
        return _say_undecided(facts)
    time = format_seconds(numbers.makespans[chosen])
    peak = f"{format_size(numbers.peak(chosen))} at the peak"
    if sum(name in numbers.makespans for name in facts.names) == 1:
        why = "nothing else succeeded" if len(facts.names) > 1 else "nothing else was measured"
        return [f"nothing to choose, as {why}. {facts.name(chosen)}: {time}, {peak}."]
    lead = f"{USE_VERB}{facts.name(chosen)}: {time}{_against(facts, chosen)}, {peak}."
    return [
        lead,
        *_say_failed(facts, chosen),
        *_say_turnaround(facts),
        *_say_memory(facts, chosen),
        *_say_tied(facts),
    ]


def _say_failed(facts: Facts, chosen: str) -> list[str]:
    """Name the first treatment of a shorter median that is not chosen because runs of it failed."""
    makespans = facts.numbers.makespans
    shorter = [name for name in facts.names if makespans.get(name, math.inf) < makespans[chosen]]
    for name in sorted(shorter, key=makespans.__getitem__):
        runs = facts.experiment.runs(name, only_ok=False)
        if failed := len(find_failed(runs)):
            time, of = format_seconds(makespans[name]), count_noun(len(runs), "run")
            text = f"{facts.name(name)} had a median of {time}, but {failed} of its {of} failed."
            return [text]
    return []


def name_choice(facts: Facts) -> str:
    """Return the choice and its makespan in a few words: "5 threads (`t5`), 431 ms"."""
    time = facts.numbers.makespans.get(facts.chosen)
    if time is None or not facts.is_judged:
        return "not decided"
    return f"{USE_VERB}{facts.name(facts.chosen)}, {format_seconds(time)}"


def _say_no_choice(facts: Facts) -> list[str]:
    known = [name for name in facts.names if name in facts.numbers.makespans]
    if not known:
        return ["nothing to choose: no run succeeded."]
    return [f"not decided. {_list_medians(facts, known)}"]


def _say_undecided(facts: Facts) -> list[str]:
    known = [name for name in facts.names if name in facts.numbers.makespans]
    return [f"not decided, for lack of blocks. {_list_medians(facts, known)}"]


def _list_medians(facts: Facts, names: Sequence[str]) -> str:
    """Return medians and peaks in the order of the medians, which is none of the treatments."""
    makespans, peak = facts.numbers.makespans, facts.numbers.peak
    texts = [
        f"{facts.name(name)} {format_seconds(makespans[name])}, {format_size(peak(name))}"
        for name in sorted(names, key=makespans.__getitem__)
    ]
    return f"Medians: {name_some(texts, '; ')}."


def _against(facts: Facts, chosen: str) -> str:
    """Return how the choice compares with the baseline or, without one, with the slowest."""
    baseline = facts.experiment.baseline
    if chosen == baseline:
        return ", the baseline"
    if baseline in facts.names:
        if baseline not in facts.numbers.makespans:
            return f" (nothing to compare: the baseline {facts.name(baseline)} failed)"
        row = facts.numbers.comparisons.get((chosen, TIME))
        return "" if row is None else f", {compare(row, facts.name(baseline))}"
    contest = facts.contest(TIME)
    if contest is None or contest.winner != chosen:
        return ""
    slowest = max(contest.ranked, key=contest.median)
    to_slowest = contest.rows[contest.rows.index == slowest].iloc[0]
    if slowest == chosen or outcome_of(to_slowest) != HIGHER:
        return ""
    text = compare(to_slowest, facts.name(slowest))
    return f", {text.replace(' slower than ', ' faster than ', 1)}"


def _say_memory(facts: Facts, chosen: str) -> list[str]:
    """Say how the memory of the choice compares with that of the others."""
    numbers, baseline = facts.numbers, facts.experiment.baseline
    if chosen in numbers.unseen:
        return ["Results that wait outside any process are not in its peak."]
    contest = facts.contest(PEAK)
    least = contest.winner if contest is not None and contest.is_sole else ""
    if contest is not None and least == chosen:
        return [f"It surely takes less memory than {_others(contest, len(facts.names))}."]
    row = numbers.comparisons.get((chosen, PEAK))
    texts = []
    if row is not None and baseline in facts.names and outcome_of(row) in WORDS_OF_ORDER:
        word = "less" if outcome_of(row) == LOWER else "more"
        ends = format_size(numbers.peak(baseline))
        texts.append(f"It takes {word} memory than `{clean_name(baseline)}` ({ends})")
    if least and least == baseline and texts:
        texts[0] += ", which surely takes the least"
    elif least:
        ends = format_size(numbers.peak(least))
        texts.append(f"{facts.name(least)} surely takes the least ({ends})")
    return [f"{'; '.join(texts)}."] if texts else []


def _say_turnaround(facts: Facts) -> list[str]:
    """Say which treatment has the shortest turnaround, where tasks arrive one by one."""
    if not is_open(facts.experiment):
        return []
    contest = facts.contest("turnaround_p95_s")
    if contest is None or not contest.is_decided:
        return ["Tasks arrive one by one; turnarounds are not decided."]
    several = "" if contest.is_sole else "one of "
    names = name_some([f"`{clean_name(name)}`" for name in contest.possible])
    return [f"Tasks arrive one by one; shortest turnaround (95th percentile): {several}{names}."]


def _others(contest: Contest, of: int) -> str:
    """Return "the 17 others", of which some may have no successful run."""
    count = len(contest.ranked) - 1
    some = "the other one" if count == 1 else f"the {count} others"
    return some if len(contest.ranked) == of else f"{some} that can be compared"


def _say_tied(facts: Facts) -> list[str]:
    """Say what may be as fast, and whether it surely takes more memory."""
    tied = facts.tied
    if not tied:
        return []
    text = f"{_name_tied(facts, tied)} may be as fast"
    # The sentence of the advice ends with what is known about the memory of those.
    choice = str(facts.advice["choice"])
    found = re.search(r"; (\d+) of them surely takes? more memory\.$", choice)
    if choice.endswith(("all take more memory.", "takes more memory.")) and not found:
        return [f"{text}, but surely take{'s' * (len(tied) == 1)} more memory."]
    if found:
        takes = "takes" if found[1] == "1" else "take"
        return [f"{text}; {found[1]} of them surely {takes} more memory."]
    return [f"{text}."]


def _name_tied(facts: Facts, tied: Sequence[str]) -> str:
    """Return "`t2` and `t5`", or "the 8 others with numpy" if these are all with this level."""
    everyone = [facts.chosen, *tied]
    if len(tied) > 1 and facts.words.are_all(everyone, facts.names):
        label = facts.words.describe(everyone, facts.names)
        return f"The {len(tied)} others{f' with {label}' * (len(everyone) < len(facts.names))}"
    if len(tied) <= _MOST_TIED:
        return join_names([f"`{clean_name(name)}`" for name in tied])
    return f"{len(tied)} others"


_MOST_TIED = 4


def say_what_matters(facts: Facts) -> list[str]:
    """Say what the levels of factors do to the makespan, in clauses, the largest effect first."""
    rows = facts.experiment.tables["factor_effects"]
    rows = rows[(rows["quantity"] == TIME) & rows["shown"].astype(bool)]
    rows = rows[rows["by"] == ""]
    by_factor: dict[str, list[pd.Series[float]]] = {}
    for _, row in rows.iterrows():
        if outcome_of(row) != NO_INTERVAL:
            by_factor.setdefault(str(row["factor"]), []).append(row)
    found = [_say_factor(facts.words, factor, own) for factor, own in by_factor.items()]
    decided = sorted((one for one in found if one[0] > 0), key=lambda one: -one[0])
    none = [text for size, text in found if size == 0]
    same = [f"no difference found between {', or between '.join(none)}"] if none else []
    return [*(text for _, text in decided), *same]


def _say_factor(
    words: LevelWords, factor: str, rows: Sequence[pd.Series[float]]
) -> tuple[float, str]:
    """Return the size of a factor's largest effect that is decided, and a clause about it.

    The size is 0 and the text only a name if none is decided.
    """
    decided = [row for row in rows if outcome_of(row) in WORDS_OF_ORDER]
    if not decided:
        return 0.0, words.name_factor(factor)
    largest = max(decided, key=_size)
    pair = str(largest["level"]), str(largest["to_level"])
    own = [row for row in rows if (str(row["level"]), str(row["to_level"])) == pair]
    own.sort(key=lambda row: -_size(row))
    effects = [_say_effect(words, row) for row in own if outcome_of(row) in WORDS_OF_ORDER]
    others = [_say_within(words, row) for row in own if outcome_of(row) not in WORDS_OF_ORDER]
    rest = f" (no difference found{' or'.join(others)})" if others else ""
    return _size(largest), f"{words.contrast(factor, *pair)}: {', '.join(effects)}{rest}"


def _size(row: pd.Series[float]) -> float:
    return abs(math.log(float(row["ratio"]))) if row["ratio"] else 0.0


def _say_within(words: LevelWords, row: pd.Series[float]) -> str:
    """Return " with native and 2/5 workers"; "" for an effect at all levels."""
    within: dict[str, list[str]] = json.loads(str(row["within"]))
    text = words.phrase(within, " and ")
    return f" with {text}" if text else ""


def _say_effect(words: LevelWords, row: pd.Series[float]) -> str:
    ratio, low, high = (float(row[name]) for name in ("ratio", "low", "high"))
    is_lower = outcome_of(row) == LOWER
    if is_lower:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    word = "faster" if is_lower else "slower"
    limits = format_interval(low, high)
    return f"{format_number(ratio)} × {word}{_say_within(words, row)} {limits}"


def say_why(facts: Facts) -> list[str]:
    """Say what limits the choice, then the baseline, then the others, in clauses."""
    first = [facts.chosen, facts.experiment.baseline]

    def place(group: Alike) -> tuple[int, int]:
        held = [number for number, name in enumerate(first) if name in group.treatments]
        kinds = [_ORDER.index(kind) for kind in group.limits if kind in _ORDER]
        return min(held, default=len(first)), min(kinds, default=len(_ORDER))

    groups = sorted(facts.groups, key=place)
    sentences = [text for group in groups if (text := _explain(facts, group))]
    return list(dict.fromkeys(sentences))


ALL, SOME, NONE = "all", "some", "none"
"""For which members of a group a resource is full."""


def find_limit(facts: Facts, group: Alike) -> tuple[str, list[str], str]:
    """Return the resource that limits a group, its stages, and for which members it is full.

    The resource is "" if it is not known.
    """
    kinds = [kind for kind in _ORDER if kind in group.limits]
    rows = _limits_of(facts, group)
    if not kinds or not rows:
        return "", [], NONE
    main = {row["resource"] for row in rows}
    kind = next(iter(main)) if len(main) == 1 and "GIL" not in kinds else kinds[0]
    stages = [facts.numbers.shares.get((name, kind), (0.0, ""))[1] for name in group.treatments]
    # What is not the highest floor is among the limits only if it is full.
    full = [bool(row["is_full"]) or row["resource"] != kind for row in rows]
    return kind, sorted({*stages} - {""}), ALL if all(full) else SOME if any(full) else NONE


def _limits_of(facts: Facts, group: Alike) -> list[Row]:
    limits = facts.numbers.limits
    return [limits[name] for name in group.treatments if name in limits]


def limit_cell_of(facts: Facts, group: Alike) -> str:
    """Return what limits a group: "the GIL (94–96 %)", "nothing, or 5 workers (82–88 %)"."""
    if FAILED in group.limits:
        return "no run succeeded"
    kind, stages, full_for = find_limit(facts, group)
    if not kind:
        return "unknown" if UNKNOWN in group.limits else MISSING
    name = _name_limit(facts, group, kind, stages)
    name += " or the GIL" * (kind != "GIL" and _may_be_gil(facts, group))
    share = _share(facts, group, kind)
    if full_for == NONE:
        return f"nothing ({name} {share})"
    # Of some members it is no limit, and the word must hold for each.
    return f"nothing, or {name} ({share})" if full_for == SOME else f"{name} ({share})"


def _may_be_gil(facts: Facts, group: Alike) -> bool:
    return any(bool(row["may_be_gil"]) for row in _limits_of(facts, group))


def _share(facts: Facts, group: Alike, kind: str) -> str:
    shares = facts.numbers.shares
    known = [shares[name, kind][0] for name in group.treatments if (name, kind) in shares]
    return _percents(known) if known else MISSING


def _percents(shares: Sequence[float]) -> str:
    """Return the range of some shares: "77–86 %"."""
    ends = dict.fromkeys(f"{100 * end:.0f}" for end in (min(shares), max(shares)))
    return f"{'–'.join(ends)} %"


_OTHER_LIMITS = {
    "GIL": "the GIL",
    "node": "the cores of one node",
    "network": "the network between nodes",
    "in flight": "the limit of tasks in flight",
    "arrivals": "the arrival of tasks",
    "path of a task": "the path of one task",
}


def _name_limit(facts: Facts, group: Alike, kind: str, stages: Sequence[str]) -> str:
    """Return the words for a resource: "2 cores", "5 workers of `resize`"."""
    if kind == "cores":
        cores = {row["cores"] for row in _limits_of(facts, group)}
        known = [int(number) for number in cores if not pd.isna(number)]
        return f"{known[0]} cores" if len(known) == len(cores) == 1 else "the cores"
    if kind != "workers":
        return _OTHER_LIMITS[kind]
    workers = _count_workers(facts, group, stages)
    if len(facts.experiment.stages) == 1:
        return _ITS_WORKER if workers == 1 else "its workers"
    noun = "workers" if workers is None else count_noun(workers, "worker")
    names = [f"`{clean_name(stage)}`" for stage in stages]
    return f"{noun} of {join_names(names, 'or')}"


def _count_workers(facts: Facts, group: Alike, stages: Sequence[str]) -> int | None:
    """Return the number of workers of a stage, if it is the same in all of a group."""
    table = facts.experiment.tables["stages"]
    own = table["treatment"].isin(group.treatments) & table["stage"].isin(stages)
    numbers = set(table.loc[own, "workers"].dropna())
    return int(next(iter(numbers))) if len(numbers) == 1 else None


def _explain(facts: Facts, group: Alike) -> str:
    """Return a clause on what limits a group."""
    kind, stages, full_for = find_limit(facts, group)
    if not kind:
        return ""
    nearly = " or nearly so" if full_for == SOME else ""
    name, share = _name_limit(facts, group, kind, stages), _share(facts, group, kind)
    if _may_be_gil(facts, group):
        text = f"{name} or the GIL ({_say_doubt(facts, group)})"
    elif full_for == NONE:
        text = f"nothing is full ({_say_need(facts, group, name, share)})"
    elif kind == "GIL":
        text = f"{_cores_used(facts, group)}: threads share the GIL, which is full{nearly}"
    elif kind == "cores":
        text = f"{_cores_used(facts, group)}: the cores are full{nearly}"
    else:
        text = _say_need(facts, group, name, share)
    if len(group.treatments) == len(facts.names):
        return text
    return f"{facts.label(group.treatments)}: {text}"


def _say_doubt(facts: Facts, group: Alike) -> str:
    """Say why it is not known whether the GIL is full."""
    if any(row["calibrated"] for row in _limits_of(facts, group)):
        return "which of them is not known"
    return "which of them was not diagnosed"


def _say_need(facts: Facts, group: Alike, name: str, share: str) -> str:
    """Return "its workers have work for 66 % of the time, hand-over takes 31 %".

    Parts of different tasks may overlap; then only the larger one is named.
    """
    rows = _limits_of(facts, group)
    needed = [row["floor_s"] / row["makespan_s"] for row in rows]
    part, lost = _find_lost(rows)
    rest = ""
    if part and max(map(sum, zip(needed, lost, strict=True))) <= 1:
        rest = f", {part} takes {_percents(lost)}"
    elif part and min(lost) > max(needed):
        return f"{part} takes {_percents(lost)} of the time"
    if name == _OTHER_LIMITS["GIL"]:
        verb = "is held for"
    elif name in _OTHER_LIMITS.values():
        verb = "takes"
    else:
        is_one = name == _ITS_WORKER or name.startswith("1 worker")
        verb = "has work for" if is_one else "have work for"
    return f"{name} {verb} {share} of the time{rest}"


_ITS_WORKER = "its worker"


def _cores_used(facts: Facts, group: Alike) -> str:
    """Return "0.96–0.98 of 2 cores in use"."""
    rows = _limits_of(facts, group)
    used = [row["cores_used"] for row in rows if not pd.isna(row["cores_used"])]
    if not used:
        return "cores in use unknown"
    ends = "–".join(dict.fromkeys(f"{end:.2f}" for end in (min(used), max(used))))
    cores = {row["cores"] for row in rows if not pd.isna(row["cores"])}
    of = f" of {next(iter(cores))}" if len(cores) == 1 else ""
    return f"{ends}{of} cores in use"


def _find_lost(rows: Sequence[Row]) -> tuple[str, list[float]]:
    """Return the part in which most other time is lost, and its shares of the makespans.

    It is "" if it is another one for some rows, or small.
    """
    parts = {str(row["largest_part"]) for row in rows}
    shares = [float(row["largest_part_s"] / row["makespan_s"]) for row in rows]
    if len(parts) != 1 or not min(shares) >= _LEAST_REST:
        return "", []
    part = next(iter(parts))
    return _LOST.get(part, part), shares


_LOST = {
    "start of a worker": "starting workers",
    "first task of a worker": "the first task of each worker",
    "held back": "waiting to be let in",
    "arrival": "waiting for the arrival of tasks",
    "other": "something else",
}
"""Parts of the time, where another word reads better."""


_CHANGE = re.compile(r"(?P<stage>.+)\.(?P<key>workers|batch)=(?P<value>\d+)")


def say_next(facts: Facts) -> list[str]:
    """Say which other settings promise most, by prediction, and how sure that is."""
    advice = facts.advice
    if not advice:
        return []
    if not facts.is_judged:
        more = max(1, _ENOUGH_BLOCKS - _count_blocks(facts))
        return [f"{_name_blocks(more)}{_how_long(facts, more)}, for intervals."]
    changes = [text for text in str(advice["next_changes"]).split(", ") if text]
    if not changes:
        text = str(advice["next"])
        if text.startswith("No prediction"):
            return [text]
        return ["no other number of workers or size of batches is predicted to save time."]
    predicted, low, high = (
        float(advice[f"next_{name}_s"]) for name in ("predicted", "low", "high")
    )
    ends = (
        "error unknown" if math.isnan(high) else f"{format_seconds(low)} to {format_seconds(high)}"
    )
    if high > _VAGUE * predicted:
        text = "may save time, but the model's errors here are too large to say how much."
        return [f"measure {_name_changes(changes)}: that {text}"]
    lead = f"{_name_changes(changes)}: {format_seconds(predicted)} predicted ({ends})."
    sentences = [lead]
    if not high < float(advice["makespan_s"]):
        sentences.append("It is not sure that this saves time.")
    if any(_is_beyond(facts, change) for change in changes):
        sentences.append("No run had so many workers: measure it before you rely on it.")
    return sentences


_VAGUE = 2.0
"""A prediction that may be off by more than this factor is not worth its numbers."""


def _name_changes(texts: Sequence[str]) -> str:
    """Return "10 workers for `download` and 10 for `upload`"."""
    found = [_CHANGE.fullmatch(text) for text in texts]
    parts: list[str] = []
    last = ""
    for match, text in zip(found, texts, strict=True):
        if match is None:
            parts.append(f"`{clean_name(text)}`")
            continue
        stage = f"`{clean_name(match['stage'])}`"
        number, key = match["value"], match["key"]
        workers = "1 worker" if number == "1" else f"{number} workers"
        what = number if key == last else workers if key == "workers" else ""
        parts.append(f"{what or f'batches of {number}'} for {stage}")
        last = key
    return join_names(parts)


def _is_beyond(facts: Facts, text: str) -> bool:
    """Return whether no run of the experiment had so many workers."""
    found = _CHANGE.fullmatch(text)
    if not found or found["key"] != "workers":
        return False
    stages = facts.experiment.tables["stages"]
    most = stages.loc[stages["stage"] == found["stage"], "workers"].max()
    return not pd.isna(most) and int(found["value"]) > int(most)


def say_how_sure(facts: Facts) -> list[str]:
    """Say how sure the choice is, what disturbed the runs, and what more blocks would decide."""
    runs = facts.experiment.tables["runs"]
    runs = runs[runs["treatment"].isin(facts.names)]
    own = runs[runs["treatment"] == facts.chosen]
    failed = len(find_failed(own))
    noisy, of = int((runs["noisy"] != "").sum()), count_noun(len(runs), "run")
    sentences = [_say_sure(facts), *_say_more(facts)]
    silent = [name for name in facts.names if name not in facts.numbers.makespans]
    if silent and facts.chosen:
        named = name_some([f"`{clean_name(name)}`" for name in silent])
        sentences.append(f"No run succeeded of {named}.")
    if failed:
        sentences.append(f"{failed} of its {count_noun(len(own), 'run')} failed.")
    if facts.is_work_stated:
        sentences.append("That all do the same work is stated in the config, not checked.")
    if noisy:
        were = "was" if noisy == 1 else "were"
        sentences.append(f"{noisy} of {of} {were} disturbed by other activity.")
    return sentences


def _count_blocks(facts: Facts) -> int:
    runs = facts.experiment.tables["runs"]
    runs = runs[runs["treatment"].isin(facts.names)]
    return int(runs.groupby("treatment")["replicate"].count().max())


def _say_sure(facts: Facts) -> str:
    """Say how many of the others are surely slower than the choice."""
    number = count_noun(_count_blocks(facts), "block")
    nodes = count_run_nodes(facts.experiment.tables["runs"])
    where = f" on {nodes} nodes" if nodes > 1 else ""
    contest = facts.contest(TIME)
    if contest is None or not facts.chosen or len(contest.ranked) < 2:
        return f"{number}{where}."
    if not facts.is_judged:
        gives = "gives" if number == "1 block" else "give"
        return f"not at all: {number}{where} {gives} no interval."
    others, slower = len(contest.ranked) - 1, len(contest.ranked) - len(contest.possible)
    if facts.chosen not in contest.possible:
        return f"{number}{where}{_say_sure_of_safe(facts)}."
    if not slower:
        return f"{number}{where}; no difference in time found."
    if slower == others:
        rest = _others(contest, len(facts.names))
        return f"{number}{where}; it is surely faster than {rest} (95 %)."
    return f"{number}{where}; {slower} of the {others} others are surely not the fastest (95 %)."


def _say_sure_of_safe(facts: Facts) -> str:
    """Say the same where others are faster, but runs of them failed.

    The advice knows among how many the choice was made.
    """
    others = int(facts.advice["of"]) - 1
    slower = others - len(facts.tied)
    if not slower:
        return ""
    rest = "the other one" if others == 1 else f"the {others} others"
    some = rest if slower == others else f"{slower} of {rest}"
    return f"; it is surely faster than {some} of which no run failed (95 %)"


def _say_more(facts: Facts) -> list[str]:
    """Say how many more blocks would tell the choice from one that is tied, and their time."""
    found = re.match(r"(\d+) more blocks?( on further nodes)?", str(facts.advice.get("more", "")))
    if not found:
        return []
    blocks = int(found[1])
    apart = re.findall(r"`([^`]*)`", str(facts.advice["more"]))
    other = f"`{clean_name(apart[-1])}`" if apart else "the nearest"
    lead = f"{_name_blocks(blocks)}{_how_long(facts, blocks)}{found[2] or ''}"
    lead = lead[0].upper() + lead[1:]
    return [f"{lead} would tell it from {other}, if they differ as much as now."]


def _name_blocks(number: int) -> str:
    return "another block" if number == 1 else f"another {number} blocks"


def _how_long(facts: Facts, blocks: int) -> str:
    seconds = facts.block_s * blocks
    return f" (about {format_about(seconds)})" if seconds > 0 else ""


def name_some(texts: Sequence[str], joint: str = ", ", most: int = 3) -> str:
    """Return the first of some texts, and how many others there are."""
    others = len(texts) - most
    rest = f"{joint}and {others} others" if others > 1 else f"{joint}and another" * others
    return joint.join(texts[:most]) + (rest if others > 0 else "")
