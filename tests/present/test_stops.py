"""What readers are told about a study that stopped when it was precise enough."""

import pandas as pd
import pytest

from stagebench.blocks import AT_MOST, PRECISE, TIME_BUDGET
from stagebench.present.stops import (
    describe_blocks,
    level_text,
    list_stops,
    stops_table,
    stops_text,
)

NAMES = ("t1", "p2", "p5")


def make_study(blocks, stopped, budget_s=None):
    """Return the runs and the plan of a study: blocks by treatment, the first the baseline."""
    rows = [
        {"experiment": "e", "treatment": name, "block": block, "replicate": block}
        for name, number in zip(NAMES, blocks, strict=True)
        for block in range(1, number + 1)
    ]
    plan = {
        "replicates": 10,
        "until": {"half_widths": {"makespan_s": 0.05}, "at_least": 5, "time_budget_s": budget_s},
        "treatments": {f"e/{name}": {"baseline": name == "t1"} for name in NAMES},
        "stopped": {f"e/{name}": why for name, why in stopped.items()},
    }
    return pd.DataFrame(rows), plan


def test_the_first_screen_says_in_a_clause_whether_all_is_precise_enough():
    both = make_study((7, 5, 7), {"p2": PRECISE, "p5": PRECISE})
    assert describe_blocks(*both) == "5 to 7 blocks, all precise enough"
    one = make_study((10, 5, 10), {"p2": PRECISE, "p5": AT_MOST})
    assert describe_blocks(*one) == ("5 to 10 blocks, 1 of 2 precise enough, 1 ended by `at_most`")


def test_a_study_that_was_not_looked_at_is_not_called_precise():
    text = describe_blocks(*make_study((5, 5, 5), {}))
    assert text.startswith("5 blocks, 0 of 2 precise enough, 2 not judged yet")


def test_reasons_blocks_and_what_was_saved_are_said():
    text = stops_text(*make_study((8, 5, 8), {"p2": PRECISE, "p5": TIME_BUDGET}, 90.0))
    assert "1 treatment precise enough after 5 blocks and" in text
    assert "1 treatment ended by `time_budget` after 8 blocks." in text
    assert "21 runs were made, 30 % fewer than the 30 of `at_most` (10 blocks)." in text
    assert "The time budget is 90 s." in text


def test_the_table_has_every_compared_treatment_once():
    runs, plan = make_study((8, 5, 8), {"p2": PRECISE, "p5": AT_MOST})
    table = stops_table(runs, plan)
    assert {one.treatment for one in list_stops(runs, plan)} == {"p2", "p5"}
    assert table.count("p2") == table.count("p5") == 1


@pytest.mark.parametrize("make", [stops_text, stops_table])
def test_a_study_with_fixed_blocks_says_nothing_of_stopping(make):
    runs, plan = make_study((5, 5, 5), {})
    del plan["until"]
    assert make(runs, plan) == ""
    assert level_text(plan) == ""
    assert describe_blocks(runs, plan) == "5 blocks"
