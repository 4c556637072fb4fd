"""The blocks that a study wants: as decided, within its plan, and never half read."""

import json

import pytest

from stagebench.blocks import (
    BLOCKS_FILE,
    PRECISE,
    Blocks,
    describe_look,
    narrow_plan,
    read_blocks,
    write_blocks,
)
from stagebench.errors import StoreError

TREATMENTS = ("e/t1", "e/t2")


def make_plan(at_least=5, at_most=8):
    return {
        "replicates": at_most,
        "until": {"half_widths": {"makespan_s": 0.05}, "at_least": at_least, "time_budget_s": None},
        "treatments": {key: {"baseline": key == "e/t1"} for key in TREATMENTS},
        "experiments": [{"name": "e", "baseline": "t1", "treatments": ["t1", "t2"]}],
        "runs": [
            {"experiment": "e", "treatment": name, "block": block, "rank": 2 * block + place}
            for block in range(1, at_most + 1)
            for place, name in enumerate(("t1", "t2"))
        ],
    }


def test_without_any_decision_each_treatment_has_the_least_blocks(tmp_path):
    blocks = read_blocks(tmp_path, make_plan())
    assert blocks.wanted == dict.fromkeys(TREATMENTS, (1, 2, 3, 4, 5))
    assert not blocks.stopped


def test_what_is_written_is_read_and_the_same_is_not_written_again(tmp_path):
    plan = make_plan()
    blocks = Blocks({"e/t1": (1, 2, 3, 4, 5, 6), "e/t2": (1, 2, 3, 4, 5)}, {"e/t2": PRECISE}, {})
    write_blocks(tmp_path, blocks)
    assert read_blocks(tmp_path, plan) == blocks
    before = (tmp_path / BLOCKS_FILE).stat().st_mtime_ns
    write_blocks(tmp_path, blocks)
    assert (tmp_path / BLOCKS_FILE).stat().st_mtime_ns == before


def test_a_narrowed_plan_keeps_rank_and_block_of_the_runs_that_are_wanted(tmp_path):
    plan = make_plan()
    write_blocks(tmp_path, Blocks({"e/t1": (1, 2, 3, 4, 5, 7)}, {}, {}))
    narrow = narrow_plan(plan, tmp_path)
    assert all(run in plan["runs"] for run in narrow["runs"])
    blocks = {
        name: [r["block"] for r in narrow["runs"] if r["treatment"] == name]
        for name in ("t1", "t2")
    }
    assert blocks == {"t1": [1, 2, 3, 4, 5, 7], "t2": [1, 2, 3, 4, 5]}


def test_a_plan_with_fixed_blocks_stays_as_it_is(tmp_path):
    plan = make_plan()
    del plan["until"]
    assert narrow_plan(plan, tmp_path) == plan


def test_blocks_follow_a_config_that_was_edited(tmp_path):
    write_blocks(tmp_path, Blocks(dict.fromkeys(TREATMENTS, (1, 2, 3, 4, 5, 6, 7, 8)), {}, {}))
    fewer = read_blocks(tmp_path, make_plan(at_most=6))
    assert set(fewer.wanted.values()) == {(1, 2, 3, 4, 5, 6)}
    more = read_blocks(tmp_path, make_plan(at_least=10, at_most=12))
    assert set(more.wanted.values()) == {tuple(range(1, 11))}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"wanted": {"e/t1": [0]}, "stopped": {}, "until": {}}',
        '{"wanted": {"e/t1": 3}, "stopped": {}, "until": {}}',
        '{"wanted": {}, "stopped": {"e/t2": "bored"}, "until": {}}',
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, text):
    (tmp_path / BLOCKS_FILE).write_text(json.dumps(json.loads(text)))
    with pytest.raises(StoreError, match=r"blocks\.json: not the blocks of a study; remove it"):
        read_blocks(tmp_path, make_plan())


def test_a_look_says_how_many_treatments_get_more_blocks_and_why_others_do_not():
    wanted = {"e/t1": (1, 2, 3, 4, 5, 6), "e/t2": (1, 2, 3, 4, 5)}
    plan = make_plan()
    assert describe_look(plan, Blocks(wanted, {"e/t2": PRECISE}, {})) == (
        "treatments of e: 1 precise enough"
    )
    assert describe_look(plan, Blocks(wanted, {}, {})) == (
        "treatments of e: 1 not yet, next up to block 6 of 8"
    )
