"""One value that lies apart from all others, and the interval of a median, which it cannot move.

An accident in one of five blocks (a sweep that fell into other work, a machine that was busy for a
second) makes a mean that no run had, and an interval too wide to say anything. Nothing is dropped:
the median counts every value, by its rank.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from stagebench.analyse.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

_CRITICAL = {5: 0.821, 6: 0.740, 7: 0.680, 8: 0.634, 9: 0.598, 10: 0.568}
"""Dixon's Q at 99 % by the number of values (Rorabacher 1991, r10, two-sided)."""

LEAST_COVERAGE = 0.93
"""What the interval of a median must cover; from the least to the largest of five: 93.75 %."""


def find_apart(values: Sequence[float], *, in_logs: bool = False) -> float | None:
    """Return the value that Dixon's test at 99 % takes for an outlier; None below five values."""
    if len(values) < min(_CRITICAL) or not all(map(math.isfinite, values)):
        return None
    if in_logs and min(values) <= 0:
        return None
    first, *rest, last = sorted(values)
    low, next_low, next_high, high = (
        math.log(value) if in_logs else value for value in (first, rest[0], rest[-1], last)
    )
    if low == high:
        return None
    below, above = next_low - low, high - next_high
    critical = _CRITICAL[min(len(values), max(_CRITICAL))]
    if max(below, above) / (high - low) <= critical:
        return None
    return first if below > above else last


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median of at least five values, and the closest two of them that cover it."""
    ordered, n = sorted(values), len(values)
    # The true median is below the k-th smallest value if fewer than k values are below it.
    below = [math.comb(n, k) / 2**n for k in range(n + 1)]
    place = 0
    while 1 - 2 * sum(below[: place + 2]) >= LEAST_COVERAGE:
        place += 1
    return Interval(median(ordered), ordered[place], ordered[-1 - place], n)
