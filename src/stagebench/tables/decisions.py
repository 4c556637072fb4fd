"""The one rule by which anything is called lower, higher, equivalent, least or most.

Whatever is compared is a ratio that is known to lie between two limits. They are those of an
interval that holds together with all others of its family, widened by the brackets of the values: a
peak of memory is known between a lower and an upper end, an exact value has both ends equal. All
between the limits must lie on one side of 1, or within the margin of what counts as equal in
practice; else nothing is decided, and readers see the limits. An unknown limit is 0 or infinite, so
that it supports no word that needs it.

Every sentence, table, figure, winner and claim takes its words from here.
"""

from __future__ import annotations

import math

from stagebench.tables.quantities import HIGHER, LOWER, QUANTITIES

EQUIVALENT, NOT_DECIDED = "equivalent", "not decided"
NO_INTERVAL = ""
"""There are too few blocks for an interval, so there is no word."""

USUAL_MARGIN = 0.05
"""What counts as equal in practice where a study says nothing else."""

LEAST, MOST = "least", "most"
"""The two ends of a ranking."""

FASTER, SLOWER = "faster", "slower"
PACES = ("makespan_s", "throughput_per_s")
"""Quantities of which one side is called faster; of all others, lower."""

WORDS_OF_ORDER = (LOWER, HIGHER, FASTER, SLOWER)


def decide(low: float | None, high: float | None, margin: float) -> str:
    """Return what the limits of a ratio say: LOWER, HIGHER, EQUIVALENT or NOT_DECIDED.

    `margin` is the same in both directions: 0.05 stands for 1/1.05 to 1.05. Without limits (missing
    or NaN) it is NO_INTERVAL.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NO_INTERVAL
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return EQUIVALENT
    if high < 1:
        return LOWER
    return HIGHER if low > 1 else NOT_DECIDED


def name_outcome(outcome: str, quantity: str) -> str:
    """Return the word for an outcome of a quantity: LOWER is "faster" for a makespan."""
    if quantity not in PACES or outcome not in (LOWER, HIGHER):
        return outcome
    return FASTER if outcome == QUANTITIES[quantity].better else SLOWER


def may_be_first(outcome: str, end: str) -> bool | None:
    """Return whether a treatment may be the least (or most), by its ratio to the one that leads.

    None without an interval.
    """
    if outcome == NO_INTERVAL:
        return None
    return outcome != (HIGHER if end == LEAST else LOWER)
