"""What a checked claims file means: frozen values that the judging works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURE = "figure"
RATIO = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a claim allows, and how it words them.

    The ends belong to it unless it is `open` ("above 1" does not allow 1); an end may be infinite.
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    text: str

    def holds(self, low: float, high: float) -> bool:
        """Tell whether all values from `low` to `high` are allowed."""
        if self.open:
            return self.low < low and high < self.high
        return self.low <= low and high <= self.high

    def misses(self, low: float, high: float) -> bool:
        """Tell whether no value from `low` to `high` is allowed."""
        if self.open:
            return high <= self.low or self.high <= low
        return high < self.low or self.high < low


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was published of a value, with its unit; "" where nothing was.

    `contradiction` says how far the statement and its log are apart, where its rounding does not
    explain it.
    """

    stated: str = ""
    logged: str = ""
    contradiction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is taken of a run: a quantity, less another or as a multiple of another.

    `stage` is "" for a quantity of the whole run; `minus` and `over` are "" for none. `unit` is
    that of the result.
    """

    quantity: str
    stage: str = ""
    minus: str = ""
    over: str = ""
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTest:
    """One thing that a claim says: a measure of a treatment, by itself or against another one.

    `to` and `by` are "" where the value itself is looked at; `unit` is that of what comes out.
    Without an `allowed` range the value is shown and not judged.
    """

    experiment: str
    treatment: str
    to: str = ""
    by: str = ""
    measure: Measure
    unit: str
    allowed: Range | None
    published: Published = Published()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a machine and a study must have for a claim to be judged there."""

    cores: int = 0
    full_scale: bool = False


def read_needs(entry: Mapping[str, Any], *, scale: str = "any") -> Needs:
    """Read what an entry of a claims file needs; `scale` holds where it says nothing of that."""
    needs = entry.get("needs", {})
    return Needs(cores=needs.get("cores", 0), full_scale=needs.get("scale", scale) == "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One published statement in our words, and the tests that must all hold for it.

    `controls` are the ids of claims without which its experiment decides nothing.
    """

    id: str
    kind: str
    says: str
    place: str
    experiment: str
    tests: tuple[ClaimTest, ...]
    needs: Needs
    controls: tuple[str, ...] = ()
    otherwise: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What claims may name of an experiment: treatments with their factors, stages, baseline.

    `config` is the file that defines it, as the claims file calls it.
    """

    config: str
    treatments: Mapping[str, Mapping[str, object]]
    stages: tuple[str, ...]
    baseline: str
