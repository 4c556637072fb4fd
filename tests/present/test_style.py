from __future__ import annotations

import math
from itertools import chain

import pytest

from stagebench.present.style import (
    PART_COLOURS,
    is_wide,
    make_figure,
    pale,
    set_sizes_axis,
    shorten,
    split_scales,
    stage_colours,
)


def test_stages_have_colours_of_their_own_and_none_of_a_part_of_memory():
    colours = stage_colours([f"stage-{n}" for n in range(6)])
    assert len(set(colours.values())) == 6
    assert not set(colours.values()) & set(PART_COLOURS.values())


def test_any_number_of_stages_has_colours():
    assert len(stage_colours([f"stage-{n}" for n in range(25)])) == 25


def test_a_pale_colour_is_lighter_and_still_a_colour():
    assert pale((0.0, 0.5, 1.0)) == (0.7, 0.85, 1.0)


def test_sizes_that_differ_by_ten_are_wide_and_unknown_ones_do_not_count():
    assert is_wide([1, 10])
    assert not is_wide([1, 9.9])
    assert not is_wide([0, math.nan, 5])


def test_names_whose_sizes_differ_by_ten_part_at_the_widest_gap_and_keep_their_order():
    sizes = {"a": 0.9, "b": 9.0, "c": 1.1, "d": 5.0}
    assert split_scales(sizes) == [["b", "d"], ["a", "c"]]
    assert split_scales({"a": 1.0, "b": 9.0}) == [["a", "b"]]
    assert sorted(chain(*split_scales({"a": math.nan, "b": 1.0, "c": 50.0}))) == ["a", "b", "c"]


def test_every_group_that_shares_an_axis_is_narrow():
    sizes = {str(n): 1.3**n for n in range(40)}
    groups = split_scales(sizes)
    assert sorted(chain(*groups), key=int) == list(sizes)
    assert not any(is_wide(sizes[name] for name in group) for group in groups)


@pytest.mark.parametrize(("sizes", "scale"), [([1, 5], "linear"), ([1, 50], "log"), ([], "linear")])
def test_an_axis_of_sizes_holds_them_all_and_starts_at_0_unless_it_is_logarithmic(sizes, scale):
    axes = make_figure(2, 2).add_subplot()
    set_sizes_axis(axes.yaxis, sizes)
    low, high = axes.get_ylim()
    assert axes.get_yscale() == scale
    assert bool(low == 0) == (scale == "linear")
    assert all(low < size < high for size in sizes)


def test_a_long_name_keeps_both_ends_and_an_unshowable_one_is_shown():
    assert shorten("p2-fork") == "p2-fork"
    short = shorten("begin-" + 50 * "x" + "-end")
    assert len(short) == 30
    assert short.startswith("begin-")
    assert short.endswith("-end")
    assert shorten("a\x1b[31m\nb") == "a\N{REPLACEMENT CHARACTER}[31m b"
