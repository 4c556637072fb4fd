"""The values of a checked claims file, and the amounts in it.

Amounts are written as "10 MiB" or "25 %"; they set the allowed range of a test, and show how a
published number was rounded.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stagebench.tables.quantities import COUNT, QUANTITIES, RUN, STAGE, UNITS, list_level

if TYPE_CHECKING:
    from collections.abc import Mapping


FIGURE = "figure"
RATIO, DIFFERENCE = "ratio", "difference"

STATED, LOGGED, WORDS, CHOSEN = "stated", "logged", "words", "chosen"
"""Where the number of a test comes from: a publication's statement or log, what the words of the
statement mean ("longer" is above 1), or the choice of those who wrote the claims file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a claim allows, and its words for them.

    The ends are included unless the range is `open` ("above 1" excludes 1); an end may be infinite.
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    text: str

    def holds(self, low: float, high: float) -> bool:
        """Whether all values from `low` to `high` are allowed."""
        if self.open:  # an end that is infinite includes what is unbounded
            return self.low < low and (high < self.high or self.high == math.inf)
        return self.low <= low and high <= self.high

    def misses(self, low: float, high: float) -> bool:
        """Whether no value from `low` to `high` is allowed."""
        if self.open:
            return high <= self.low or self.high <= low
        return high < self.low or self.high < low


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The published statement and log of a value, with units; "" if there is none.

    `contradiction` describes the gap between statement and log if rounding does not explain it.
    """

    stated: str = ""
    logged: str = ""
    contradiction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What to measure of a run: a quantity, minus another one, times and divided by others.

    `stage` is "" for a quantity of the whole run; `minus`, `times` and `over` are "" if unused.
    `unit` is that of the result.
    """

    quantity: str
    stage: str = ""
    minus: str = ""
    times: str = ""
    over: str = ""
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where the limits of a test come from, and what it would allow with other ones.

    `source` is one of the four above, `chosen` what the claims file chose of it, as written: a
    tolerance, or a number of its own; "" if nothing is. `half` and `twice` are the ranges with half
    and twice of that.
    """

    source: str = ""
    chosen: str = ""
    half: Range | None = None
    twice: Range | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTest:
    """One test of a claim: a measure of a treatment, by itself or against another treatment.

    `to` and `by` are "" if the value itself is tested; `unit` is that of the result. Without an
    `allowed` range the value is shown but not judged.
    """

    experiment: str
    treatment: str
    to: str = ""
    by: str = ""
    measure: Measure
    unit: str
    allowed: Range | None
    limit: Limit = Limit()
    published: Published = Published()

    @property
    def is_order(self) -> bool:
        """Whether the test says no more than which of two treatments has more."""
        if self.by != RATIO or self.allowed is None:
            return False
        return (self.allowed.low, self.allowed.high) in ((1, math.inf), (-math.inf, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a claim needs of machine and study to be judged."""

    cores: int = 0
    full_scale: bool = False


def read_needs(entry: Mapping[str, Any], *, scale: str = "any") -> Needs:
    """Read the needs of an entry of a claims file; `scale` is the default."""
    needs = entry.get("needs", {})
    return Needs(cores=needs.get("cores", 0), full_scale=needs.get("scale", scale) == "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One published statement in our words, with its tests, all of which must hold.

    `controls` are the ids of claims that must hold for its experiment to decide anything.
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
    """What claims may name in an experiment: treatments with their factors, stages, baseline.

    `config` is the file that defines the experiment, as named in the claims file.
    """

    config: str
    treatments: Mapping[str, Mapping[str, object]]
    stages: tuple[str, ...]
    baseline: str


_AMOUNT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(\D*)")

RUN_MEASURES = tuple(list_level(RUN))
STAGE_MEASURES = tuple(list_level(STAGE))
"""Quantities that a claim may name: those of a run, and of a stage."""


class AmountError(ValueError):
    """A text that is not an amount in the expected unit; says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number as written, with the size of its unit."""

    number: Decimal
    word: str
    size: float

    @property
    def value(self) -> float:
        """The amount in the unit of the quantity."""
        # By decimals, so that 110 % is exactly 1.1.
        return float(self.number * Decimal(str(self.size)))

    @property
    def text(self) -> str:
        """The amount as it was written."""
        return f"{self.number:f} {self.word}".rstrip()


def measure_unit(quantity: str) -> str:
    """Return the unit of a quantity's values."""
    return QUANTITIES[quantity].unit


def is_count(quantity: str) -> bool:
    """Return whether a quantity counts things, so that one value can be expected exactly."""
    known = QUANTITIES[quantity]
    return known.unit == "1" and known.kind == COUNT


def parse_amount(value: str | float, unit: str) -> Amount:
    """Read an amount in a unit; raises AmountError."""
    match = _AMOUNT.fullmatch(str(value))
    words = UNITS[unit].words
    if match is None or match[2].strip() not in words:
        raise AmountError(f"'{value}' is not allowed; allowed: {_describe(words)}")
    word = match[2].strip()
    return Amount(number=Decimal(match[1]), word=word, size=words[word])


def parse_tolerance(value: str | float, unit: str, expected: float) -> tuple[float, str]:
    """Return what a tolerance allows on each side of a value, and its text; raises AmountError."""
    words = {word: size for word, size in UNITS[unit].words.items() if word not in ("", "%")}
    match = _AMOUNT.fullmatch(str(value))
    word = match[2].strip() if match else ""
    if match is None or (word != "%" and word not in words) or Decimal(match[1]) < 0:
        allowed = _describe({"%": 0.01} | words)
        raise AmountError(f"'{value}' is not allowed; allowed: {allowed} (% of the expected value)")
    number = float(match[1])
    width = abs(expected) * number / 100 if word == "%" else number * words[word]
    return width, f"{match[1]} {word}"


def around(
    expected: float, text: str, tolerance: str | float | None, unit: str, *, stretch: float = 1
) -> Range:
    """Return the range of a value within a tolerance; without one, the value alone."""
    if tolerance is None:
        return Range(low=expected, high=expected, text=text)
    width, words = parse_tolerance(tolerance, unit, expected)
    width *= stretch
    return Range(low=expected - width, high=expected + width, text=f"{text} ± {words}")


def parse_range(expect: dict[str, Any], unit: str, *, stretch: float = 1) -> Range:
    """Read the range that a test expects, in one of its four forms; raises AmountError.

    With `stretch`, a tolerance is so many times as wide, and any other limit so many times as far
    from having no effect.
    """
    if "between" in expect:
        low, high = (parse_amount(end, unit) for end in expect["between"])
        if low.value > high.value:
            raise AmountError(f"'{low.text}' is above '{high.text}'; allowed: the lower end first")
        ends = _stretch_ends(low.value, high.value, unit, stretch)
        return Range(low=ends[0], high=ends[1], text=f"{low.text} to {high.text}")
    form = next(form for form in ("equal", "above", "below") if form in expect)
    amount = parse_amount(expect[form], unit)
    if form == "equal":
        tolerance = expect.get("tolerance")
        return around(amount.value, amount.text, tolerance, unit, stretch=stretch)
    end = _stretch_end(amount.value, unit, stretch)
    text = f"{form} {amount.text}"
    if form == "above":
        return Range(low=end, open=True, text=text)
    return Range(high=end, open=True, text=text)


def parse_limit(expect: dict[str, Any], unit: str, source: str) -> Limit:
    """Return where the limits of an expected range come from; raises AmountError.

    A tolerance is chosen, even around a number that is not.
    """
    if "equal" in expect:
        chosen = str(expect.get("tolerance", ""))
    else:
        chosen = parse_range(expect, unit).text if source == CHOSEN else ""
    if not chosen:
        return Limit(source=source)
    half, twice = (parse_range(expect, unit, stretch=stretch) for stretch in (0.5, 2))
    return Limit(source=source, chosen=chosen, half=half, twice=twice)


def _stretch_end(value: float, unit: str, stretch: float) -> float:
    """Move a limit away from no effect: 1 for a ratio, 0 or all for a share, else 0."""
    if unit == "ratio" and value > 0:
        return float(value**stretch)
    if unit == "share" and 0.5 < value <= 1:
        return 1 - (1 - value) * stretch
    return value * stretch


def _stretch_ends(low: float, high: float, unit: str, stretch: float) -> tuple[float, float]:
    """Move the ends of a range: those of ratios away from 1, all others from their middle."""
    if unit == "ratio" and low > 0:
        return float(low**stretch), float(high**stretch)
    middle, width = (low + high) / 2, (high - low) / 2 * stretch
    return middle - width, middle + width


def publish(stated: Amount | None, logged: Amount | None, nearest: Amount | None) -> Published:
    """Combine a statement and its log; they contradict if rounding does not explain the gap."""
    texts = {"stated": stated.text if stated else "", "logged": logged.text if logged else ""}
    if stated is None or logged is None:
        return Published(**texts)
    step = _exact(nearest) if nearest else rounding(stated.number) * Decimal(str(stated.size))
    gap = abs(_exact(stated) - _exact(logged))
    if gap <= step / 2:
        return Published(**texts)
    return Published(
        **texts, contradiction=f"the document states {stated.text}, its log says {logged.text}"
    )


def rounding(number: Decimal) -> Decimal:
    """Guess the step that a written number was rounded to.

    It is the place of the last digit that is not 0, times five if that digit is a 5: 20 is rounded
    to the nearest 10, 25 to the nearest 5, 12 to the nearest 1, 50 to the nearest 50.
    """
    _, digits, exponent = number.normalize().as_tuple()
    step = Decimal(1).scaleb(int(exponent))
    return step * 5 if digits[-1] == 5 else step


def from_reference(value: float, word: str, unit: str) -> Amount | None:
    """Make an amount from a number in a file of published values; None if it is missing.

    `word` is the unit in that file, `unit` that of the quantity; a share is written in percent.
    """
    if math.isnan(value):
        return None
    number = Decimal(repr(value))
    if unit == "share":
        return Amount(number=(number * 100).normalize(), word="%", size=0.01)
    if word == "1":
        return Amount(number=number.normalize(), word="", size=1)
    return Amount(number=number.normalize(), word=word, size=UNITS[unit].size)


def _exact(amount: Amount) -> Decimal:
    return amount.number * Decimal(str(amount.size))


def _describe(words: Mapping[str, float]) -> str:
    named = [word for word in words if word]
    if not named:
        return "a number without a unit"
    bare = "a number, alone or with" if "" in words else "a number with"
    return f"{bare} one of {', '.join(named)}, such as '10 {named[0]}'"
