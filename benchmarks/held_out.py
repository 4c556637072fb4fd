"""Coverage of families on data that played no part in choosing how their intervals are made.

    python -m benchmarks.held_out    # one minute on one core

`statistics_check` has the scenarios on which the method was chosen: of about ten variants, the one
whose coverage came nearest to 95 % at the least width. Here are other noise, grids and numbers of
blocks. If you change the method because of these numbers, find other ones to test it on.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.families import weigh_questions
from benchmarks.many_intervals import family_limits
from benchmarks.markdown import format_share, format_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Draw = Callable[[np.random.Generator, tuple[int, int, int]], Numbers]

SEED = 987_654
STUDIES = 3000
BLOCKS = (3, 4, 7)
GRIDS = {"2 × 2": (2, 2), "2 × 2 × 2": (2, 2, 2), "4 × 3": (4, 3), "5 × 5": (5, 5)}


def _normal(rng: np.random.Generator, shape: tuple[int, int, int]) -> Numbers:
    return rng.standard_normal(shape)


def _one_noisy(place: int) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Numbers:
        spread = np.full((shape[1], 1), 0.03)
        spread[place] = 0.3 if place else 0.2
        return spread * _normal(rng, shape)

    return draw


def _random_spread(rng: np.random.Generator, shape: tuple[int, int, int]) -> Numbers:
    spread: Numbers = 0.08 * np.exp(0.7 * rng.standard_normal((*shape[:2], 1)))
    return spread * _normal(rng, shape)


def _shared_luck(rng: np.random.Generator, shape: tuple[int, int, int]) -> Numbers:
    half = (np.arange(shape[1]) % 2)[:, None]
    luck: Numbers = half * 0.1 * rng.standard_normal((shape[0], 1, shape[2]))
    return 0.05 * _normal(rng, shape) + luck


NOISES: dict[str, Draw] = {
    "Student's t, 4 degrees of freedom": lambda rng, shape: 0.08 * rng.standard_t(4, shape),
    "gamma": lambda rng, shape: 0.08 * rng.gamma(1.5, 1, shape),
    "random spreads": _random_spread,
    "one treatment ten times as noisy": _one_noisy(1),
    "baseline seven times as noisy": _one_noisy(0),
    "every other treatment shares a block's luck": _shared_luck,
}


def main() -> None:
    """Print a row per noise and number of blocks: the range over all grids."""
    rng = np.random.default_rng(SEED)
    rows = []
    for noise, draw in NOISES.items():
        for blocks in BLOCKS:
            shares: dict[str, list[float]] = {"ratios": [], "factors": []}
            for levels in GRIDS.values():
                for family, share in _cover(rng, draw, levels, blocks).items():
                    shares[family].append(share)
            spans = (f"{format_share(min(x))} to {format_share(max(x))}" for x in shares.values())
            rows.append([noise, str(blocks), *spans])
    print(format_table(["noise", "blocks", "ratios to the baseline", "effects of factors"], rows))


def _cover(
    rng: np.random.Generator, draw: Draw, levels: tuple[int, ...], blocks: int
) -> dict[str, float]:
    """Return the share of studies in which all intervals of each family include the truth."""
    cells = {
        str(place): {f"f{n}": str(level) for n, level in enumerate(cell)}
        for place, cell in enumerate(product(*map(range, levels)))
    }
    values = draw(rng, (STUDIES, len(cells), blocks))
    others = len(cells) - 1
    families = {
        "ratios": np.hstack([-np.ones((others, 1)), np.eye(others)]),
        "factors": weigh_questions(cells),
    }
    shares = {}
    for family, weights in families.items():
        low, high = family_limits(values, weights)
        shares[family] = float(((low <= 1) & (high >= 1)).all(axis=-1).mean())
    return shares


if __name__ == "__main__":
    main()
