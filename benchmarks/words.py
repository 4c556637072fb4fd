"""The words of one family of tests, by the functions of the analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.analyse.comparisons import compare_family
from stagebench.analyse.pairs import Measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BASELINE = "0"


def find_words(values: NDArray[np.float64], margin: float) -> list[str]:
    """Return the word of every treatment but the first (baseline); `values`: treatment x block."""
    family = {
        str(treatment): [Measured(block, "", "ok", value) for block, value in enumerate(own, 1)]
        for treatment, own in enumerate(values.tolist())
    }
    common = {
        "quantity": "makespan_s",
        "baseline": BASELINE,
        "margin": margin,
        "half_width_wanted": margin,
    }
    return [str(row["word"]) for row in compare_family(family, common)]
