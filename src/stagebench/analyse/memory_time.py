"""Memory times time: what a workflow kept from others, and for how long."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.analyse.memory import SweepTotal
    from stagebench.units import Nanoseconds

LEAST_SWEEPS = 10
"""Below it the sum of what fell between the sweeps is a guess."""

LONGEST_GAP = 0.5
"""Share of the time that may pass without a sweep."""


def memory_time(
    totals: Sequence[SweepTotal], start_ns: Nanoseconds, end_ns: Nanoseconds | None
) -> float | None:
    """Integrate the tree's PSS from the workflow's start to its last result, in byte seconds.

    Sweeps are joined by straight lines, torn ones, too: that their sums are of moments some
    milliseconds apart matters to a peak, and not to an area. Missing where they are too few or too
    far apart.
    """
    known = [(total.ended_ns, total.tree) for total in totals]
    if end_ns is None or end_ns <= start_ns:
        return None
    inside = [at_ns for at_ns, _ in known if start_ns < at_ns < end_ns]
    moments = [start_ns, *inside, end_ns]
    longest = max(later - earlier for earlier, later in pairwise(moments))
    if len(inside) < LEAST_SWEEPS or longest > LONGEST_GAP * (end_ns - start_ns):
        return None
    times = [to_seconds(at_ns - start_ns) for at_ns in moments]
    at_ns, tree = zip(*known, strict=True)
    # Beyond the first and the last sweep their values go on.
    sizes = np.interp(times, [to_seconds(at - start_ns) for at in at_ns], tree)
    return float(np.trapezoid(sizes, times))
