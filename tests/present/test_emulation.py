from __future__ import annotations

import math

import pytest

from stagebench.present.emulation import (
    compare,
    count_children,
    emulated_treatments,
    find_both_ways,
    there_were,
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(100, 100, 0), (100, 95, 0), (100, 94, 1), (94, 100, -1), (0, 0, 0), (math.nan, 1, 0)],
)
def test_peaks_within_five_percent_are_the_same(one, other, expected):
    assert compare(one, other) == expected


def test_numbers_are_told_in_words():
    assert [count_children(n) for n in (0, 1, 5)] == ["no child", "1 child", "5 children"]
    told = ["there were none", "there was 1", "there were 5"]
    assert [there_were(n) for n in (0, 1, 5)] == told


def test_only_treatments_that_were_emulated_are_listed(present, known_run, emulated_run):
    experiment = present(known_run(), emulated_run(treatment="p5-fork", baseline=False))
    assert emulated_treatments(experiment) == ["p5-fork"]
    assert find_both_ways(experiment, "p1-fork") is None


def test_a_treatment_without_an_ok_run_is_listed_and_has_nothing_to_show(present, emulated_run):
    experiment = present(emulated_run(status="timed_out"))
    assert emulated_treatments(experiment) == ["p1-fork"]
    assert find_both_ways(experiment, "p1-fork") is None


def test_the_run_shown_is_the_one_of_median_makespan(present, emulated_run):
    runs = [emulated_run(replicate=n + 1, start=20 * n).stretched(2**n) for n in range(3)]
    both = find_both_ways(present(*runs), "p1-fork")
    assert both.run["replicate"] == 2
    assert set(both.emulated["replicate"]) == set(both.sweeps["replicate"]) == {2}


def test_a_run_knows_what_both_ways_saw(present, emulated_run):
    both = find_both_ways(present(emulated_run()), "p1-fork")
    assert (both.treatment, both.seen, both.children) == ("p1-fork", 2, 2)
    assert both.discoveries_s == [-0.25, 3.25]
    assert both.sums_mib == [20]
    assert list(both.children_mib) == [8, 20, 4]
    assert both.mib("emulated_false_peak") == 50
    assert both.has_false_peak
    assert both.false_peak_is_the_peak
    assert not both.missed_children


def test_children_are_missed_where_a_sweep_saw_more_at_once(present, emulated_run, make_reading):
    def missed(*found, **more):
        return find_both_ways(present(emulated_run(*found, **more)), "p1-fork").missed_children

    assert missed(make_reading(13.5, 16))
    assert missed(make_reading(13.5, 16, 5, 1))
    # Ten that came one after the other: no discovery can meet more than there are at once.
    assert not missed(make_reading(13.5, 16, 9, 2), created=11)
    assert not missed(make_reading(13.5, 16), created=1)
