"""Why a study stopped to measure: sentences and a table of one that ends when it is precise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.blocks import AT_MOST, LOOKED_ALPHA, NOTHING, PRECISE, TIME_BUDGET
from stagebench.present.alike import clean_name, join_names
from stagebench.present.markdown import count_noun, format_percent, format_table
from stagebench.units import ALPHA, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

NOT_LOOKED = ""
"""Nobody has looked yet: plain `snakemake` measures `at_least` blocks."""

_WORDS = {
    PRECISE: "precise enough",
    AT_MOST: "ended by `at_most`",
    TIME_BUDGET: "ended by `time_budget`",
    NOTHING: "with nothing to compare",
    NOT_LOOKED: "not judged yet (`stagebench run` does)",
}


class Stop(NamedTuple):
    """A treatment that is compared: how many blocks it has, and why no more."""

    experiment: str
    treatment: str
    blocks: int
    reason: str


def list_stops(runs: pd.DataFrame, plan: Mapping[str, Any]) -> list[Stop]:
    """Return all treatments but baselines, in the order of the plan; none if blocks are fixed."""
    if "until" not in plan:
        return []
    blocks = runs.groupby(["experiment", "treatment"])["block"].nunique()
    return [
        Stop(
            str(experiment),
            str(treatment),
            int(number),
            plan.get("stopped", {}).get(f"{experiment}/{treatment}", NOT_LOOKED),
        )
        for (experiment, treatment), number in ((key, blocks[key]) for key in blocks.index)
        if not plan["treatments"][f"{experiment}/{treatment}"]["baseline"]
    ]


def describe_blocks(runs: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """Return one clause for the first screen: "5 to 12 blocks, all precise enough"."""
    blocks = runs.groupby(["experiment", "treatment"])["replicate"].count()
    text = name_blocks([int(number) for number in blocks])
    stops = list_stops(runs, plan)
    if not stops:
        return text
    narrow = sum(one.reason == PRECISE for one in stops)
    if narrow == len(stops):
        return f"{text}, {'all ' if len(stops) > 1 else ''}precise enough"
    others = Counter(one.reason for one in stops if one.reason != PRECISE)
    reasons = join_names([f"{number} {_WORDS[why]}" for why, number in others.items()])
    return f"{text}, {narrow} of {len(stops)} precise enough, {reasons}"


def name_blocks(numbers: Sequence[int]) -> str:
    """Return "1 block", "3 blocks" or "5 to 12 blocks"."""
    if not numbers:
        return "0 blocks"
    low, high = min(numbers), max(numbers)
    return count_noun(high, "block") if low == high else f"{low} to {high} blocks"


def stops_text(runs: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """Say why each experiment stopped, and how much that saved; "" if blocks are fixed."""
    if "until" not in plan:
        return ""
    sentences = [*_say_reasons(list_stops(runs, plan))]
    made, most = len(runs), plan["replicates"] * len(plan["treatments"])
    saved = (
        f"{made} runs were made, {format_percent(1 - made / most)} fewer than the {most} of"
        f" `at_most` ({count_noun(int(plan['replicates']), 'block')})."
        if made < most
        else f"All {most} runs of `at_most` were made."
    )
    budget_s = plan["until"]["time_budget_s"]
    within = f" The time budget is {format_seconds(budget_s)}." if budget_s else ""
    return f"{' '.join(sentences)} {saved}{within}".strip()


def _say_reasons(stops: Sequence[Stop]) -> Iterator[str]:
    for experiment in dict.fromkeys(one.experiment for one in stops):
        own = [one for one in stops if one.experiment == experiment]
        reasons = dict.fromkeys(one.reason for one in own)
        parts = []
        for reason in sorted(reasons, key=list(_WORDS).index):
            blocks = [one.blocks for one in own if one.reason == reason]
            parts.append(
                f"{count_noun(len(blocks), 'treatment')} {_WORDS[reason]} after"
                f" {name_blocks(blocks)}"
            )
        yield f"`{clean_name(experiment)}`: {join_names(parts)}."


def stops_table(runs: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """Return the treatments by their number of blocks and the reason to stop; "" if fixed."""
    groups: dict[tuple[str, int, str], list[str]] = {}
    for one in list_stops(runs, plan):
        groups.setdefault((one.experiment, one.blocks, one.reason), []).append(one.treatment)
    rows = [
        [experiment, _WORDS[reason].replace("`", ""), ", ".join(names), str(blocks)]
        for (experiment, blocks, reason), names in sorted(groups.items())
    ]
    columns = ["experiment", "why no more", "treatments", "blocks"]
    return format_table(columns, rows, texts=3) if rows else ""


def level_text(plan: Mapping[str, Any]) -> str:
    """Say how the intervals were made of a study that looks at them; "" for others."""
    if "until" not in plan:
        return ""
    return (
        "The width of intervals decided how many blocks there are. A study that stops when its"
        " intervals are narrow stops more often while runs happen to vary little, so each interval"
        f" is made for {format_percent(1 - LOOKED_ALPHA)} instead of {format_percent(1 - ALPHA)}:"
        f" after the looks, {format_percent(1 - ALPHA)} are left."
    )
