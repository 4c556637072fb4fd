"""A look at a study: who gets more blocks, with whom, and when there are none."""

import json

import numpy as np
import pytest

from stagebench.analyse.comparisons import compare_family, judge
from stagebench.analyse.intervals import choose_alpha
from stagebench.analyse.pairs import Measured, match
from stagebench.analyse.stopping import (
    LEAST_NODES,
    Elapsed,
    count_next,
    decide_blocks,
    leave_open,
    look_at_study,
)
from stagebench.blocks import (
    AT_MOST,
    LOOKED_ALPHA,
    NOTHING,
    PRECISE,
    TIME_BUDGET,
    Blocks,
)
from stagebench.errors import StoreError
from stagebench.tables.io import make_table
from stagebench.units import ALPHA

NAMES = ("base", "noisy", "calm", "dead")
KEYS = [f"e/{name}" for name in NAMES]


def make_plan(at_most=30, budget_s=None, wanted=0.05):
    return {
        "replicates": at_most,
        "until": {
            "half_widths": {"makespan_s": wanted},
            "at_least": 5,
            "time_budget_s": budget_s,
        },
        "treatments": {key: {"baseline": key == "e/base"} for key in KEYS},
        "experiments": [{"name": "e", "baseline": "base", "treatments": list(NAMES)}],
    }


def blocks_of(**numbers):
    wanted = {f"e/{name}": tuple(range(1, numbers.get(name, 5) + 1)) for name in NAMES}
    return Blocks(wanted, {}, {})


def rows_of(**half_widths):
    """Return the comparisons of treatments by their half-widths; None: nothing to compare."""
    return make_table(
        "comparisons",
        [
            {"experiment": "e", "treatment": name, "quantity": "makespan_s", "n": 5 if width else 0}
            | {"half_width": width, "half_width_wanted": 0.05, "baseline": "base"}
            for name, width in half_widths.items()
        ],
    )


USUAL = rows_of(noisy=0.2, calm=0.03, dead=None)
RUN_S = Elapsed(60.0, dict.fromkeys(KEYS, 3.0))


def test_only_undecided_treatments_get_blocks_and_the_baseline_has_the_same():
    after = decide_blocks(make_plan(), blocks_of(), USUAL, RUN_S)
    assert after.wanted["e/noisy"] == after.wanted["e/base"] == (1, 2, 3, 4, 5, 6)
    assert after.wanted["e/calm"] == after.wanted["e/dead"] == (1, 2, 3, 4, 5)
    assert after.stopped == {"e/calm": PRECISE, "e/dead": NOTHING}


def test_what_was_precise_stays_so_until_another_precision_is_wanted():
    before = blocks_of(base=6, noisy=6)._replace(
        stopped={"e/calm": PRECISE}, until={"makespan_s": 0.05}
    )
    moved = rows_of(noisy=0.2, calm=0.051, dead=None)
    assert decide_blocks(make_plan(), before, moved, RUN_S).stopped["e/calm"] == PRECISE
    edited = decide_blocks(make_plan(wanted=0.04), before, moved, RUN_S)
    assert "e/calm" not in edited.stopped
    # Its next block is a new one for the baseline, too, so that they are measured side by side.
    assert edited.wanted["e/calm"] == (1, 2, 3, 4, 5, 7)
    assert edited.wanted["e/base"] == (1, 2, 3, 4, 5, 6, 7)


def test_after_at_most_blocks_nothing_is_wanted():
    before = blocks_of(base=8, noisy=8)
    after = decide_blocks(make_plan(at_most=8), before, USUAL, RUN_S)
    assert after.wanted == before.wanted
    assert after.stopped["e/noisy"] == AT_MOST


@pytest.mark.parametrize(("budget_s", "blocks"), [(65.0, 20), (66.0, 21), (72.0, 22)])
def test_no_block_begins_that_the_time_budget_does_not_hold(budget_s, blocks):
    before = blocks_of(base=20, noisy=20)
    after = decide_blocks(make_plan(budget_s=budget_s), before, USUAL, RUN_S)
    assert len(after.wanted["e/noisy"]) == blocks
    assert (after.stopped.get("e/noisy") == TIME_BUDGET) == (blocks == 20)


def test_a_quantity_without_any_upper_end_is_not_waited_for():
    rows = make_table(
        "comparisons",
        [
            {"experiment": "e", "treatment": name, "quantity": "makespan_s", "n": 5}
            | {"half_width": None, "half_width_wanted": 0.05, "baseline": "base"}
            for name in NAMES[1:]
        ],
    )
    after = decide_blocks(make_plan(), blocks_of(), rows, RUN_S)
    assert set(after.stopped.values()) == {NOTHING}


def test_too_few_pairs_are_waited_for():
    rows = make_table(
        "comparisons",
        [
            {"experiment": "e", "treatment": name, "quantity": "makespan_s", "n": 2}
            | {"half_width": None, "half_width_wanted": 0.05, "baseline": "base"}
            for name in NAMES[1:]
        ],
    )
    assert not decide_blocks(make_plan(), blocks_of(), rows, RUN_S).stopped


def test_looks_are_a_tenth_apart_and_at_least_a_block():
    assert [count_next(n) for n in (5, 10, 20, 39, 40)] == [1, 1, 2, 3, 4]


def runs_of(rng, spread, blocks=6):
    return [
        Measured(block, "", "ok", value)
        for block, value in enumerate(rng.lognormal(0, spread, blocks))
    ]


def test_intervals_of_a_study_that_looks_are_wider_by_its_level_alone():
    rng = np.random.default_rng(7)
    pair = ("of", "to", match(runs_of(rng, 0.1), runs_of(rng, 0.1)))
    assert choose_alpha({}) == ALPHA
    assert choose_alpha({"until": {}}) == LOOKED_ALPHA < ALPHA
    [(usual, *_)] = judge([pair], "makespan_s", 0.05)
    [(looked, *_)] = judge([pair], "makespan_s", 0.05, LOOKED_ALPHA)
    assert looked["low"] < usual["low"] < usual["ratio"] == looked["ratio"]
    assert usual["high"] < looked["high"]


def test_a_p_value_below_5_percent_goes_with_an_interval_that_excludes_1():
    rng = np.random.default_rng(11)
    common = {
        "quantity": "makespan_s",
        "baseline": "base",
        "margin": 0.05,
        "half_width_wanted": 0.05,
    }
    seen = set()
    for _ in range(30):
        values = {name: runs_of(rng, 0.1) for name in ("base", "one", "other")}
        values["one"] = [one._replace(value=1.15 * one.value) for one in values["one"]]
        for row in compare_family(values, common, None, LOOKED_ALPHA):
            excludes = row["low"] > 1 or row["high"] < 1
            seen.add(excludes)
            # The level is rounded: a p-value right at it decides nothing.
            if abs(row["p_difference_adjusted"] - ALPHA) > 0.005:
                assert excludes == (row["p_difference_adjusted"] < ALPHA)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("until", "expected"),
    [(3, "until is 3"), ({"half_widths": {}, "at_least": "5"}, "until.at_least is '5'")],
)
def test_a_damaged_plan_is_named_with_what_it_should_hold(tmp_path, until, expected):
    plan = {"study": "s", "margin": 0.05, "precision": {}, "experiments": [], "treatments": {}}
    plan |= {"runs": [], "warm_up_runs": [], "diagnoses": [], "until": until, "replicates": 5}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(StoreError, match=rf"plan\.json: .*{expected}"):
        look_at_study(tmp_path)


def test_a_few_nodes_are_never_precise_enough():
    rows = USUAL.assign(low=[0.9, 0.95, None])

    def stopped_on(nodes):
        return decide_blocks(make_plan(), blocks_of(), leave_open(rows, nodes), RUN_S).stopped

    assert stopped_on(1) == stopped_on(LEAST_NODES) == {"e/calm": PRECISE, "e/dead": NOTHING}
    assert stopped_on(2) == stopped_on(LEAST_NODES - 1) == {"e/dead": NOTHING}


def test_a_treatment_that_is_on_one_node_of_several_is_waited_for():
    alone = rows_of(noisy=0.2, calm=0.03).assign(low=[0.9, None], half_width=[0.2, None])
    found = decide_blocks(make_plan(), blocks_of(), leave_open(alone, LEAST_NODES), RUN_S)
    assert "e/calm" not in found.stopped
