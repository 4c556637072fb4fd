"""What a comparison finds, and what travels with every row."""

import math

import pytest

from stagebench.compare.findings import ALL, EFFECT, compare_sources
from stagebench.compare.sources import read_sources
from stagebench.compare.wording import describe_sources
from stagebench.errors import StoreError
from stagebench.tables.decisions import EQUIVALENT, FASTER, NOT_DECIDED, SLOWER
from stagebench.tables.schema import IN_BLOCKS
from stagebench.units import MIB

STEADY = [0.99, 1.0, 1.01, 0.995, 1.005]
RUNS = {f"{kind}{n}": [v * n for v in STEADY] for kind in "tp" for n in (1, 2)}


def times(values, factor):
    return {name: [value * factor for value in own] for name, own in values.items()}


def compare(*folders, **options):
    options = {"quantities": ["makespan_s"]} | options
    return compare_sources(read_sources(map(str, folders)), **options)


def rows(found):
    [family] = found.pairs[0].families
    return {one.label: one for one in (*family.findings, *family.effects)}


def test_a_slower_treatment_is_found_and_the_others_are_not(write_side):
    changed = RUNS | {"t1": [value * 1.1 for value in STEADY]}
    found = rows(compare(write_side(RUNS), write_side(changed)))
    assert found["t1"].word == SLOWER
    assert found["t1"].change.ratio == pytest.approx(1.1)
    assert {found[name].outcome for name in ("t2", "p1", "p2")} == {EQUIVALENT}


def test_all_treatments_together_are_a_geometric_mean(write_side):
    found = rows(compare(write_side(RUNS), write_side(times(RUNS, 0.5))))["all treatments"]
    assert found.kind == ALL
    assert found.word == FASTER
    assert found.base[0] == pytest.approx(math.sqrt(2), rel=0.01)
    assert found.change.ratio == pytest.approx(0.5)


def test_an_effect_of_a_factor_is_compared_with_the_same_one(write_side):
    changed = RUNS | {name: [value * 1.5 for value in RUNS[name]] for name in ("p1", "p2")}
    found = rows(compare(write_side(RUNS), write_side(changed)))
    effect = found["executor p / t"]
    assert effect.kind == EFFECT
    assert (effect.base[0], effect.other[0]) == pytest.approx((1, 1.5))
    assert effect.change.ratio == pytest.approx(1.5)
    assert found["workers 2 / 1"].change.ratio == pytest.approx(1)


def test_levels_of_one_study_are_paired_by_block(write_side):
    found = compare(write_side(RUNS), by="executor")
    assert {one.change.pairing for one in rows(found).values()} == {IN_BLOCKS}
    assert found.pairs[0].note == ""


def test_every_side_is_compared_with_the_first(write_side):
    found = compare(write_side(RUNS), write_side(RUNS), write_side(RUNS))
    assert [(one.base, one.other) for one in found.pairs] == [
        ("study0", "study1"),
        ("study0", "study2"),
    ]


@pytest.mark.parametrize(
    ("run", "warning"),
    [
        ({"makespan_s": 1.0, "noisy": "others used 9 %"}, "1 noisy"),
        ({"makespan_s": 1.0, "swapped_bytes": 5}, "swapped"),
        ({"status": "failed"}, "0 + 1 failed"),
    ],
)
def test_a_warning_travels_with_its_row_only(write_side, run, warning):
    changed = RUNS | {"t1": [*STEADY, run]}
    found = rows(compare(write_side(RUNS), write_side(changed)))
    assert found["t1"].warnings == (warning,)
    assert found["t2"].warnings == ()


def test_ways_that_differ_are_said(write_side):
    peaks = {"t1": [{"tree_peak_bytes": (100 + n) * MIB} for n in range(4)]}
    first = write_side(peaks)
    second = write_side(peaks, handler="other", memory_instrument="sweeps")
    (found,) = rows(compare(first, second, quantities=["tree_peak_bytes"])).values()
    assert found.warnings == ("other handler", "other instrument", "bounds")
    assert found.outcome == NOT_DECIDED
    assert found.change.upper == math.inf


def test_a_treatment_that_fails_everywhere_has_no_ratio(write_side):
    changed = RUNS | {"t1": [{"status": "timed_out"}] * 5}
    found = rows(compare(write_side(RUNS), write_side(changed)))["t1"]
    assert found.change is None
    assert found.warnings == ("0 + 5 failed",)


def test_a_quantity_that_one_side_does_not_know_has_no_rows(write_side):
    found = compare(
        write_side(RUNS), write_side(RUNS), quantities=["makespan_s", "tree_peak_bytes"]
    )
    assert [one.quantity for one in found.pairs[0].families] == ["makespan_s"]


def test_studies_without_a_common_treatment_are_an_error_that_names_them(write_side):
    with pytest.raises(StoreError, match=r"nothing can be compared\n.*pace/t1 \(only in study0\)"):
        compare(write_side({"t1": STEADY}), write_side({"t9": STEADY}))


def test_the_note_says_whether_campaigns_are_in_the_intervals(write_side):
    folders = [write_side(RUNS) for _ in range(4)]
    assert "allow for 1 % between campaigns" in compare(*folders[:2]).pairs[0].note
    assert "not in the intervals" in compare(*folders[:2], campaigns_differ=0).pairs[0].note
    joined = f"base={','.join(map(str, folders[:3]))}"
    assert "Campaigns are compared, 3 with 1" in compare(joined, folders[3]).pairs[0].note


def test_runs_that_are_on_both_sides_are_said(write_side):
    folder = write_side(RUNS)
    found = compare(f"x={folder}", f"y={folder}")
    assert "the same on both sides" in found.pairs[0].note


def test_nodes_are_named_and_compared(write_side):
    runs = {"t1": [{"makespan_s": v, "node": f"n{n % 2}"} for n, v in enumerate(STEADY)]}
    found = compare(write_side(runs, "now", environment={}), write_side(RUNS))
    assert found.pairs[0].note == (
        "Nodes are compared, 2 with 1: intervals include how much they differ."
    )
    [(_, about), _] = describe_sources(found)
    assert about == "5 runs of 1 treatment, now on 2 nodes"
