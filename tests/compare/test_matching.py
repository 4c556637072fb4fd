"""Treatments are compared with the same ones of equal work, or level by level."""

import json

import pytest

from stagebench.compare.matching import OTHER_WORK, make_sides, match_sides
from stagebench.compare.sources import read_sources
from stagebench.errors import OptionError

RUNS = {"t1": [1.0] * 3, "t2": [2.0] * 3, "p1": [3.0] * 3, "p2": [4.0] * 3}


def read(*folders):
    return read_sources([str(folder) for folder in folders])


def match(*folders, by=""):
    return match_sides(*make_sides(read(*folders), by)[:2], by)


def test_treatments_match_by_their_ids(write_side):
    matches, alone = match(write_side(RUNS), write_side({"t1": [1.0], "t9": [1.0]}))
    assert [one.label for one in matches] == ["t1"]
    assert matches[0].problem == ""
    assert [text.partition(" ")[0] for text in alone] == [
        "pace/t2",
        "pace/p1",
        "pace/p2",
        "pace/t9",
    ]


@pytest.mark.parametrize("changed", [{"work": '{"n":2}'}, {"tasks": 21}, {"arrival": "[1]"}])
def test_other_work_is_not_compared(write_side, changed):
    matches, _ = match(write_side(RUNS), write_side(RUNS, **changed))
    assert {one.problem for one in matches} == {OTHER_WORK}


def test_another_handler_may_do_the_same_work(write_side):
    matches, _ = match(write_side(RUNS), write_side(RUNS, handler="better"))
    assert {one.problem for one in matches} == {""}


def test_levels_of_a_factor_match_by_the_other_factors(write_side):
    folder = write_side(RUNS)
    matches, alone = match(folder, by="executor")
    assert [(one.label, one.base[0].name, one.other[0].name) for one in matches] == [
        ("workers 1", "t1", "p1"),
        ("workers 2", "t2", "p2"),
    ]
    assert alone == []


def test_levels_of_two_studies_are_sides(write_side):
    first, second = write_side({"t1": [1.0]}), write_side({"p1": [1.0]})
    sides = make_sides(read(first, second), "executor")
    assert [side.level for side in sides] == ["t", "p"]
    matches, _ = match_sides(*sides, "executor")
    assert [one.label for one in matches] == ["workers 1"]


def test_a_factor_that_one_level_lacks_is_averaged_over(write_side):
    def factors(**more):
        return {"factors": json.dumps({"workers": 1, **more}), "makespan_s": 1.0}

    folder = write_side(
        {
            "t1": [factors(executor="thread")],
            "p1": [factors(executor="process", start_method="fork")],
            "p2": [factors(executor="process", start_method="spawn")],
        }
    )
    ((found,), alone) = match(folder, by="executor")
    assert found.label == "workers 1"
    assert [one.name for one in found.other] == ["p1", "p2"]
    assert alone == []


def test_an_unknown_factor_is_an_error_with_those_there_are(write_side):
    with pytest.raises(OptionError, match=r"allowed: executor, workers; did you mean 'workers'"):
        make_sides(read(write_side(RUNS)), "worker")


def test_one_study_alone_needs_a_factor_with_levels(write_side):
    with pytest.raises(OptionError, match="at least two to compare"):
        make_sides(read(write_side(RUNS)))
    with pytest.raises(OptionError, match="at least two to compare"):
        make_sides(read(write_side({"t1": [1.0], "t2": [1.0]})), "executor")
