"""A comparison in words and numbers: the same for a terminal, a page and JSON."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from stagebench.compare.findings import ALL, EFFECT
from stagebench.present.effects import bracket_cell
from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_bracket,
    format_interval,
)
from stagebench.tables.decisions import EQUIVALENT, NO_INTERVAL, NOT_DECIDED
from stagebench.tables.quantities import LOWER, QUANTITIES
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.compare.findings import (
        Ends,
        Finding,
        FindingFamily,
        SideBySide,
        StudyComparison,
    )
    from stagebench.compare.sources import StudySource

NO_DIFFERENCE = "~"
"""No difference was found: 1 lies within the limits of an exact ratio."""

CANNOT_SAY = "too few runs"

SHORT_S = 0.001
"""A shorter time has a unit of its own in its cell, where seconds would have no digits."""


class Cells(NamedTuple):
    """A finding as texts: both sides, what changed, its interval, the numbers of runs."""

    label: str
    base: str
    other: str
    change: str
    interval: str
    runs: str
    warnings: str


def write_cells(finding: Finding, quantity: str) -> Cells:
    """Return the texts of a finding."""
    change = finding.change
    if change is None:
        says, interval, runs = MISSING, "", ""
    else:
        says, interval = say_change(finding), _say_interval(finding)
        other_runs, base_runs = change.counts
        runs = f"{base_runs}" if base_runs == other_runs else f"{base_runs}+{other_runs}"
    base, other = (_say_ends(ends, finding, quantity) for ends in (finding.base, finding.other))
    return Cells(finding.label, base, other, says, interval, runs, ", ".join(finding.warnings))


def _say_ends(ends: Ends, finding: Finding, quantity: str) -> str:
    if ends[0] is None:
        return MISSING
    if finding.kind == EFFECT:
        return f"{format_bracket((ends[0], ends[1]))} ×"
    if QUANTITIES[quantity].unit == "s" and 0 < ends[0] < SHORT_S:
        return format_seconds(ends[0])
    return bracket_cell((ends[0], math.nan if ends[1] is None else ends[1]), quantity)


def say_change(finding: Finding) -> str:
    """Return what changed in a few words: "1.10 × slower", "~"."""
    change = finding.change
    if change is None or finding.outcome == NO_INTERVAL:
        return CANNOT_SAY if change is not None else MISSING
    if finding.outcome == EQUIVALENT:
        return EQUIVALENT
    if finding.outcome == NOT_DECIDED:
        return NO_DIFFERENCE if change.is_exact else NOT_DECIDED
    ends = change.ratio, change.upper
    if finding.outcome == LOWER:
        ends = _invert(change.upper), _invert(change.ratio)
    return f"{format_bracket(ends)} × {finding.word}"


def _say_interval(finding: Finding) -> str:
    """Return the limits, inverted if what changed is said as "1.10 × faster"."""
    change = finding.change
    if change is None or change.low is None or change.high is None:
        return ""
    if finding.outcome == LOWER:
        return format_interval(_invert(change.high), _invert(change.low))
    return format_interval(change.low, change.high)


def _invert(value: float) -> float:
    return 1 / value if value else math.inf


def summarise(family: FindingFamily) -> str:
    """Say how many treatments changed, with an example: "2 slower (such as t1, 1.10 ×)"."""
    rows = [one for one in family.findings if one.kind != ALL]
    texts = []
    for word in sorted({one.word for one in rows if is_different(one)}):
        own = [one for one in rows if one.word == word]
        example = max(own, key=_size)
        ratio = say_change(example).removesuffix(f" {word}")
        texts.append(f"{len(own)} {word} (such as {example.label}, {ratio})")
    counts = Counter(_name_rest(one) for one in rows if not is_different(one))
    texts += [f"{number} {text}" for text, number in counts.items()]
    label = QUANTITIES[family.quantity].label
    treatments = count_noun(len(rows), "treatment")
    return f"{family.experiment}, {label} of {treatments}: {'; '.join(texts)}"


def _name_rest(finding: Finding) -> str:
    if finding.change is None:
        reasons = [one for one in finding.warnings if not one.endswith("noisy")]
        return f"not compared ({next(iter(reasons), 'no values')})"
    if finding.outcome == NO_INTERVAL:
        return CANNOT_SAY
    is_open = finding.outcome == NOT_DECIDED and finding.change.is_exact
    return "no difference found" if is_open else finding.outcome


def is_different(finding: Finding) -> bool:
    """Return whether a difference was found."""
    return finding.outcome not in (EQUIVALENT, NOT_DECIDED, NO_INTERVAL)


def _size(finding: Finding) -> float:
    """Return how far what is known at least is from 1."""
    change = finding.change
    if change is None:
        return 0.0
    return max(change.ratio, _invert(change.upper))


def describe_differences(comparison: StudyComparison) -> list[tuple[str, str]]:
    """Return labels and values of what differs: "3.11.7 → 3.13.1"."""
    return [(one.label, " → ".join(one.values)) for one in comparison.differences]


def describe_unknown(comparison: StudyComparison) -> str:
    """Name the sources of whose machine nothing is recorded; "" if there are none."""
    names = [one.name for one in comparison.sources if one.environment.empty]
    return f"Nothing is recorded of machine and software of {', '.join(names)}." if names else ""


def describe_alone(pair: SideBySide, most: int) -> str:
    """Name the treatments that only one side has, the first ones by name; "" if there are none."""
    if not pair.alone:
        return ""
    more = len(pair.alone) - most
    rest = f" and {more} more" if more > 0 else ""
    return f"Not compared: {', '.join(pair.alone[:most])}{rest}."


def describe_sources(comparison: StudyComparison) -> list[tuple[str, str]]:
    """Return the name of each source with how many runs of how many treatments it has, and when."""
    return [(one.name, _describe_source(one)) for one in comparison.sources]


def _describe_source(source: StudySource) -> str:
    treatments = len(source.runs.drop_duplicates(["experiment", "treatment"]))
    campaigns = source.campaigns
    when = campaigns[0] if len(campaigns) == 1 else count_noun(len(campaigns), "campaign")
    if source.nodes > 1:
        names = sorted(set(source.runs["campaign"]))
        when = names[0] if len(names) == 1 else count_noun(len(names), "campaign")
        when += f" on {source.nodes} nodes"
    runs = count_noun(len(source.runs), "run")
    return f"{runs} of {count_noun(treatments, 'treatment')}, {when}"


def say_margin(margin: float) -> str:
    """Explain the signs of a table once."""
    return (
        f"{NO_DIFFERENCE}: no difference found; {EQUIVALENT}: within {100 * margin:g} % either way."
        " The 95 % intervals of a table hold together."
    )


def is_compared(family: FindingFamily) -> bool:
    """Return whether anything of a family is compared."""
    return any(one.change is not None for one in family.findings)


def list_titles(pair: SideBySide) -> Sequence[str]:
    """Return the titles of the columns after the first one; of two levels, the levels alone."""
    levels = [name.rpartition("=")[2] for name in (pair.base, pair.other)]
    sides = levels if levels[0] != levels[1] else (pair.base, pair.other)
    return (*sides, "change", "95 %", "runs")
