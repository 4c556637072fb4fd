"""What must not be found: the conditions of `--fail-if`, for scripts and CI.

"makespan_s slower 10%" holds if the interval of a treatment lies beyond 10 %: even its nearer limit
does. "makespan_s may be slower 10%" holds unless the interval excludes it, so it holds where there
are too few runs for one.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from stagebench.compare.findings import TREATMENT
from stagebench.compare.wording import CANNOT_SAY, say_change
from stagebench.errors import OptionError, StagebenchError, closest
from stagebench.tables.decisions import FASTER, PACES, SLOWER, name_outcome
from stagebench.tables.quantities import HIGHER, LOWER, list_level

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stagebench.compare.findings import Finding, StudyComparison

ALLOWED = 'allowed: such as "makespan_s slower 10%" or "tree_peak_bytes may be higher 5%"'

_CONDITION = re.compile(
    r"(?P<quantity>\w+)\s+(?P<may>may\s+be\s+)?(?P<word>\w+)(?:\s+(?P<share>\d+(?:\.\d+)?)\s*%)?"
)

MOST_PERCENT = 10_000


class ForbiddenError(StagebenchError):
    """Something was found that `--fail-if` does not allow."""

    exit_code = 3


class Condition(NamedTuple):
    """`text` as it was given; `outcome` of the quantity beyond `beyond`, a ratio of 1 or more."""

    text: str
    quantity: str
    outcome: str
    beyond: float
    is_strict: bool

    def holds(self, finding: Finding) -> bool:
        """Return whether a finding is what the condition describes."""
        change = finding.change
        if change is None:
            return False
        if change.low is None or change.high is None:
            return not self.is_strict
        if self.outcome == HIGHER:
            limit = change.low if self.is_strict else change.high
        else:
            limit = _invert(change.high if self.is_strict else change.low)
        return limit > self.beyond


def _invert(value: float) -> float:
    return 1 / value if value else math.inf


def parse_condition(text: str) -> Condition:
    """Parse one condition; raises OptionError."""
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise OptionError(f"--fail-if {text!r} is not allowed; {ALLOWED}")
    quantity, word, share = found["quantity"], found["word"], float(found["share"] or 0)
    known = [name for name, one in list_level("run").items() if one.better]
    if quantity not in known:
        raise OptionError(
            f"--fail-if {text!r}: there is no quantity {quantity!r} to compare"
            f"{closest(quantity, known)}; docs/glossary.md lists them"
        )
    words = {name_outcome(outcome, quantity): outcome for outcome in (LOWER, HIGHER)}
    if word not in words:
        raise OptionError(
            f"--fail-if {text!r}: {word!r} is not allowed for {quantity}; allowed:"
            f" {', '.join((FASTER, SLOWER) if quantity in PACES else (LOWER, HIGHER))}"
        )
    if share > MOST_PERCENT:
        raise OptionError(f"--fail-if {text!r}: allowed: at most {MOST_PERCENT} %")
    return Condition(text.strip(), quantity, words[word], 1 + share / 100, not found["may"])


def check_conditions(comparison: StudyComparison, conditions: Sequence[Condition]) -> None:
    """Raise ForbiddenError if a condition holds, or if it cannot be judged because runs failed."""
    problems = [line for one in conditions for line in list_findings(comparison, one)]
    if problems:
        raise ForbiddenError("\n".join(["--fail-if found what is not allowed", *problems]))


def list_findings(comparison: StudyComparison, condition: Condition) -> Iterator[str]:
    """Yield a line for each treatment of which a condition holds, or that cannot be judged."""
    is_judged = False
    for pair in comparison.pairs:
        for family in pair.families:
            if family.quantity != condition.quantity:
                continue
            for one in family.findings:
                if one.kind != TREATMENT:
                    continue
                place = f"  {condition.text}: {family.experiment}/{one.label}, {pair.other}"
                is_judged = is_judged or one.change is not None
                if condition.holds(one):
                    yield f"{place}: {_describe(one)}"
                elif one.base[0] is not None and one.other[0] is None:
                    yield f"{place}: cannot be judged ({', '.join(one.warnings) or 'no values'})"
    if not is_judged:
        yield f"  {condition.text}: nothing was compared by {condition.quantity}"


def _describe(finding: Finding) -> str:
    change = finding.change
    if change is None or change.low is None or change.high is None:
        return CANNOT_SAY
    return f"{say_change(finding)} ({change.low:.3f} to {change.high:.3f} × as large)"
