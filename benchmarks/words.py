"""The words of one family of tests, by the functions that the analysis makes them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.analyse.comparisons import compare_family
from stagebench.analyse.pairs import Measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BASELINE = "0"


def find_words(values: NDArray[np.float64], margin: float) -> list[str]:
    """Give the word of every treatment but the first, the baseline; `values`: treatment x block."""
    family = {
        str(treatment): [Measured(block, "", "ok", value) for block, value in enumerate(own, 1)]
        for treatment, own in enumerate(values.tolist())
    }
    told = {
        "quantity": "makespan_s",
        "baseline": BASELINE,
        "margin": margin,
        "half_width_wanted": margin,
    }
    return [str(row["word"]) for row in compare_family(family, told)]
