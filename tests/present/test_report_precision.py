from __future__ import annotations

import pytest

from stagebench.present.report_precision import precision_table, precision_text
from stagebench.tables import make_table

ASKED = {"precision": {"makespan_s": 0.1}, "replicates": 3}
UNASKED = {"precision": {}, "replicates": 3}


def comparisons(*pairs, wanted=0.1, quantity="makespan_s"):
    """Make rows of a half-width reached and of blocks that are lacking."""
    return make_table(
        "comparisons",
        [
            {
                "experiment": "x",
                "treatment": f"t{n}",
                "quantity": quantity,
                "half_width": width,
                "half_width_wanted": wanted,
                "more_blocks": more,
            }
            for n, (width, more) in enumerate(pairs)
        ],
    )


def test_the_blocks_that_are_lacking_are_those_of_the_widest_interval():
    text = precision_text(comparisons((0.05, 0), (0.3, 12), (0.2, 4)), ASKED)
    assert "1 of 3 intervals are as narrow." in text
    assert "about 12 more blocks" in text
    assert "`replicates: 15`" in text


def test_what_is_reached_needs_no_more_blocks():
    text = precision_text(comparisons((0.05, 0), (0.1, 0)), ASKED)
    assert text.endswith("All 2 intervals are as narrow.")


def test_comparisons_without_an_interval_are_told_apart():
    assert "1 comparison had no interval" in precision_text(
        comparisons((0.05, 0), (None, None)), ASKED
    )
    assert "they take three blocks" in precision_text(comparisons((None, None)), ASKED)


def test_the_table_has_the_spread_of_half_widths():
    line = precision_table(comparisons((0.05, 0), (0.3, 12), (0.2, 4)), ASKED).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    assert cells == ["x", "makespan_s", "± 10 %", "5.0 %", "20 %", "30 %", "1 of 3", "12"]


@pytest.mark.parametrize(("plan", "word"), [(ASKED, "is the `precision`"), (UNASKED, "its margin")])
def test_it_is_said_what_is_wanted(plan, word):
    assert word in precision_text(comparisons((0.05, 0)), plan)


def test_quantities_that_were_not_asked_for_are_left_out():
    found = comparisons((0.05, 0), quantity="throughput_per_s")
    assert precision_table(found, ASKED) == ""
    assert precision_text(found, ASKED) == "Nothing was compared."
