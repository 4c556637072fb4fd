"""The words of one family of tests, from the values of its runs: as the analysis finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from stagebench.analyse.intervals import ALPHA, holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EQUIVALENT, DIFFERENT, INCONCLUSIVE = "equivalent", "different", "inconclusive"


def find_words(values: NDArray[np.float64], margin: float) -> list[str]:
    """Give the word of every treatment but the first, the baseline; `values`: treatment x block."""
    logs = np.log(values[1:] / values[0])
    limit = np.log1p(margin)
    difference = stats.ttest_1samp(logs, 0, axis=-1).pvalue
    above = stats.ttest_1samp(logs, -limit, axis=-1, alternative="greater").pvalue
    below = stats.ttest_1samp(logs, limit, axis=-1, alternative="less").pvalue
    return _choose_words(difference.tolist(), np.maximum(above, below).tolist())


def _choose_words(difference: Sequence[float], equivalence: Sequence[float]) -> list[str]:
    pairs = zip(holm(difference), holm(equivalence), strict=True)
    return [_choose_word(*pair) for pair in pairs]


def _choose_word(difference: float | None, equivalence: float | None) -> str:
    if equivalence is not None and equivalence < ALPHA:
        return EQUIVALENT
    return DIFFERENT if difference is not None and difference < ALPHA else INCONCLUSIVE
