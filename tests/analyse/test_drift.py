from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from stagebench.analyse.drift import find_drift, fit_slope
from stagebench.tables.io import make_table

START = datetime(2026, 11, 23, tzinfo=UTC)
SIZES = {"a": 1.0, "b": 3.0, "c": 10.0, "d": 30.0}


def study(makespan, blocks=4, campaign=lambda _: "a"):
    """Make runs of `makespan(place in block, share of time, block)` × the size of their treatment.

    Each block begins with the next treatment.
    """
    rows, last = [], blocks * len(SIZES) - 1
    for block in range(blocks):
        for place in range(len(SIZES)):
            treatment = list(SIZES)[(place + block) % len(SIZES)]
            rank = block * len(SIZES) + place
            factor = makespan(place / (len(SIZES) - 1), rank / last, block)
            rows.append(
                {
                    "experiment": "x",
                    "treatment": treatment,
                    "block": block + 1,
                    "campaign": campaign(block),
                    "status": "ok",
                    "started_at": (START + timedelta(seconds=10 * rank)).isoformat(),
                    "makespan_s": factor * SIZES[treatment],
                }
            )
    return rows


def drift(rows):
    found = find_drift(make_table("runs", rows))
    return found[found["quantity"] == "makespan_s"].set_index("effect")


def test_an_effect_of_the_position_is_the_last_run_of_a_block_to_its_first():
    assert drift(study(lambda place, *_: 1.2**place))["ratio"]["position"] == pytest.approx(1.2)


def test_an_effect_of_time_is_the_last_run_of_the_study_to_its_first():
    assert drift(study(lambda _, time, __: 0.7**time))["ratio"]["time"] == pytest.approx(0.7)


def test_an_effect_of_the_first_block_is_that_of_its_runs_to_the_others():
    found = drift(study(lambda _, __, block: 1.5 if block == 0 else 1.0))
    assert found["ratio"]["first block"] == pytest.approx(1.5)


def test_treatments_of_any_size_in_any_block_are_no_drift():
    found = drift(study(lambda _, __, block: 2.0**block))
    assert found["ratio"]["position"] == pytest.approx(1)
    found = drift(study(lambda *_: 1))
    assert list(found["ratio"]) == [1, 1, 1]
    assert list(found["p_adjusted"]) == [1, 1, 1]


def test_campaigns_may_differ_without_being_a_drift():
    rows = study(lambda _, __, block: 1.0 if block < 2 else 9.0, campaign=lambda b: "ab"[b > 1])
    assert list(drift(rows)["ratio"]) == pytest.approx([1, 1, 1])


def test_position_is_that_of_the_real_starts_within_a_block():
    rows = study(lambda place, *_: 1.2**place)
    assert drift(rows[::-1])["ratio"]["position"] == pytest.approx(1.2)


def test_a_failed_run_has_its_place_and_no_value():
    rows = study(lambda place, *_: 1.2**place)
    rows[0] |= {"status": "crashed", "makespan_s": None}
    found = drift(rows)
    assert found["ratio"]["position"] == pytest.approx(1.2)
    assert found["n"]["position"] == 15


def test_a_single_block_is_too_little_to_find_drift_and_says_so():
    found = drift(study(lambda *_: 1, blocks=1))
    assert found["ratio"].isna().all()
    assert set(found["note"]) == {"too few runs"}


def test_without_a_run_that_succeeded_no_drift_is_known():
    found = drift([row | {"status": "crashed", "makespan_s": None} for row in study(lambda *_: 1)])
    assert found["ratio"].isna().all()
    assert set(found["note"]) == {"too few runs"}


def test_tests_are_adjusted_over_the_whole_study():
    draw = np.random.default_rng(2)
    found = drift(study(lambda *_: draw.lognormal(0, 0.1)))
    assert found["p_adjusted"].min() == pytest.approx(min(1, 3 * found["p"].min()))


def test_a_slope_is_that_of_least_squares_with_means_for_all_groups():
    draw = np.random.default_rng(5)
    y, x = draw.normal(size=30), draw.normal(size=30)
    rows = [n % 4 for n in range(30)]
    columns = draw.integers(0, 3, 30).tolist()
    design = [x, *(np.equal(rows, n) for n in range(4)), *(np.equal(columns, n) for n in range(2))]
    matrix = np.column_stack(design).astype(float)
    expected, (rest,), *_ = np.linalg.lstsq(matrix, y)
    found = fit_slope(list(y), list(x), (rows, columns))
    assert found.estimate == pytest.approx(expected[0])
    assert found.freedom == 30 - 7
    variance = rest / 23 * np.linalg.inv(matrix.T @ matrix)[0, 0]
    assert found.error == pytest.approx(math.sqrt(variance))


def test_every_node_has_its_own_order_of_runs():
    """Two nodes that work side by side, of which one is later and three times as slow."""
    rows = study(lambda place, *_: 1.2**place)
    late = [
        row
        | {
            "node": "b",
            "block": row["block"] + 4,
            "makespan_s": 3 * row["makespan_s"],
            "started_at": (
                datetime.fromisoformat(row["started_at"]) + timedelta(seconds=5)
            ).isoformat(),
        }
        for row in rows
    ]
    both = drift([*(row | {"node": "a"} for row in rows), *late])
    assert both["ratio"]["position"] == pytest.approx(1.2)
    assert both["ratio"]["first block"] == pytest.approx(drift(rows)["ratio"]["first block"])
