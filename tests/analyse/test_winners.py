from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from stagebench.analyse import comparisons
from stagebench.analyse.comparisons import WINNER_QUANTITIES, group_by_work
from stagebench.analyse.intervals import ratio_interval
from stagebench.analyse.pairs import Measured
from stagebench.tables.io import make_table


def runs(*values, status="ok"):
    return [Measured(block, "a", status, value) for block, value in enumerate(values, start=1)]


def rank(values, *, margin=0.0, end="least"):
    return comparisons.rank(values, "makespan_s", margin, end)


def find_winners(runs, planned, end="least"):
    found = comparisons.find_winners(runs, planned)
    return found[found["end"] == end].reset_index(drop=True)


def by_name(rows):
    return {row["treatment"]: row for row in rows}


def specification(*, tasks=20, arrival=None, transport=None, **parameters):
    stages = [{"name": "work", "handler": "h", "parameters": parameters, "workers": 1}]
    if transport is not None:
        stages[0]["transport"] = transport
    given = {} if arrival is None else {"arrival": arrival}
    return {"tasks": tasks, "stages": stages, **given}


def plan(*, same_work=False, **specifications):
    return {
        "margin": 0.05,
        "experiments": [{"name": "x", "same_work": same_work}],
        "treatments": {f"x/{name}": {"specification": one} for name, one in specifications.items()},
    }


def table(instrument="counters", /, **makespans):
    """Make a table of runs in which memory shrinks as time grows."""
    return make_table(
        "runs",
        [
            {
                "experiment": "x",
                "treatment": name,
                "block": block,
                "replicate": block,
                "campaign": "a",
                "status": "ok",
                "makespan_s": value,
                "tree_peak_bytes": round(1000 / value),
                "tree_peak_upper_bytes": round(1000 / value),
                "turnaround_p95_s": 1.0,
                "memory_instrument": instrument,
            }
            for name, values in makespans.items()
            for block, value in enumerate(values, start=1)
        ],
    )


def test_the_least_median_wins():
    rows = rank({"slow": runs(3.0, 3.0, 3.0), "fast": runs(1.0, 1.0, 9.0)})
    assert {row["winner"] for row in rows} == {"fast"}
    assert by_name(rows)["fast"]["median"] == 1


def test_the_ratio_to_the_winner_is_that_of_the_pairs_with_its_interval():
    best, other = runs(1.0, 2.0, 4.0), runs(1.5, 4.0, 7.2)
    row = by_name(rank({"other": other, "best": best}))["other"]
    expected = ratio_interval([1.5, 2.0, 1.8])
    assert (row["ratio"], row["low"], row["high"], row["n"]) == pytest.approx(expected)
    assert row["pairing"] == "blocks"


def test_what_may_be_as_good_is_alike_and_what_is_surely_more_is_not():
    rows = by_name(
        rank(
            {
                "best": runs(1.0, 1.0, 1.0),
                "near": runs(1.01, 0.99, 1.02),
                "far": runs(2.0, 2.1, 2.05),
            }
        )
    )
    assert [rows[name]["alike"] for name in ("best", "near", "far")] == [True, True, False]


def test_a_treatment_below_the_winner_in_pairs_is_alike():
    # Smaller in each shared block, but larger in the median because of unpaired runs.
    alone = [Measured(block, "a", "ok", 0.1) for block in range(4, 9)]
    rows = by_name(
        rank({"best": [*runs(1.0, 1.1, 1.2), *alone], "less": runs(0.999, 1.099, 1.199)})
    )
    assert rows["less"]["winner"] == "best"
    assert rows["less"]["high"] < 1
    assert rows["less"]["alike"]


def test_below_three_blocks_it_is_not_known_what_is_alike():
    rows = by_name(rank({"best": runs(1.0, 1.0), "other": runs(2.0, 2.0)}))
    assert rows["other"]["ratio"] == pytest.approx(2)
    assert (rows["other"]["low"], rows["other"]["alike"]) == (None, None)


def test_a_treatment_without_an_ok_run_cannot_win_and_keeps_its_row():
    rows = by_name(rank({"dead": runs(0.1, 0.1, status="crashed"), "ok": runs(1.0, 1.0)}))
    assert rows["dead"]["winner"] == "ok"
    assert (rows["dead"]["median"], rows["dead"]["n"], rows["dead"]["alike"]) == (None, 0, None)


def test_where_no_run_was_ok_nothing_wins():
    assert rank({"a": runs(1.0, status="crashed"), "b": runs(None)}) == []


def test_of_equals_the_first_of_the_plan_wins():
    assert rank({"b": runs(1.0), "a": runs(1.0)})[0]["winner"] == "b"


def test_treatments_compete_where_tasks_arrival_and_parameters_are_the_same():
    poisson = {"kind": "poisson", "rate_per_s": 5.0, "seed": 1}
    groups = group_by_work(
        plan(
            a=specification(n=1),
            b=specification(n=2),
            c=specification(n=1),
            d=specification(n=1, tasks=300),
            e=specification(n=1, arrival=poisson),
        )
    )
    assert groups == {"x": [["a", "c"], ["b"], ["d"], ["e"]]}


def test_every_kind_of_work_has_its_own_winner_by_every_quantity():
    planned = plan(
        t1=specification(n=1), t2=specification(n=1), u1=specification(n=2), u2=specification(n=2)
    )
    found = find_winners(table(t1=[2.0], t2=[1.0], u1=[5.0], u2=[9.0]), planned)
    winners = found.groupby(["work", "quantity"], sort=False)["winner"].first().to_dict()
    assert winners == {
        (1, "makespan_s"): "t2",
        (1, "tree_peak_bytes"): "t1",
        (1, "turnaround_p95_s"): "t1",
        (2, "makespan_s"): "u1",
        (2, "tree_peak_bytes"): "u2",
        (2, "turnaround_p95_s"): "u1",
    }
    assert len(found) == 4 * len(WINNER_QUANTITIES)


def test_a_treatment_without_a_rival_is_in_no_contest():
    planned = plan(t1=specification(n=1), t2=specification(n=2))
    assert find_winners(table(t1=[2.0], t2=[1.0]), planned).empty


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
def test_what_passes_results_on_outside_of_processes_competes_by_time_and_not_by_memory(transport):
    planned = plan(
        a=specification(), b=specification(transport="pickle"), c=specification(transport=transport)
    )
    found = find_winners(table(a=[2.0], b=[1.0], c=[0.5]), planned)
    # It is the fastest, and would take the least memory by what PSS sees.
    least = find_winners(table(a=[2.0], b=[1.0], c=[9.0]), planned)
    for rows, quickest in ((found, "c"), (least, "b")):
        by_quantity = dict(list(rows.groupby("quantity")))
        assert set(by_quantity["makespan_s"]["winner"]) == {quickest}
        assert set(by_quantity["turnaround_p95_s"]["treatment"]) == {"a", "b", "c"}
        assert list(by_quantity["tree_peak_bytes"]["treatment"]) == ["a", "b"]
        assert set(by_quantity["tree_peak_bytes"]["winner"]) == {"a"}


def test_shared_memory_competes_by_memory_where_a_control_group_counted_it():
    planned = plan(
        a=specification(transport="pickle"),
        b=specification(transport="shared_memory"),
        c=specification(transport="path"),
    )
    found = find_winners(table("group", a=[2.0], b=[4.0], c=[9.0]), planned)
    rows = found[found["quantity"] == "tree_peak_bytes"]
    assert list(rows["treatment"]) == ["a", "b"]
    assert set(rows["winner"]) == {"b"}


def test_one_stage_of_many_hides_results_and_the_last_that_is_seen_has_no_rival():
    hidden = specification(transport="path")
    hidden["stages"].append(specification()["stages"][0] | {"name": "after"})
    seen = specification()
    seen["stages"].append(seen["stages"][0] | {"name": "after"})
    found = find_winners(table(a=[2.0], b=[1.0]), plan(a=hidden, b=seen))
    assert set(found["quantity"]) == {"makespan_s", "turnaround_p95_s"}


def test_the_winners_row_has_no_ratio_to_itself_and_what_is_not_known_is_missing():
    planned = plan(t1=specification(), t2=specification())
    found = find_winners(table(t1=[2.0], t2=[1.0]), planned)
    rows = found[found["quantity"] == "makespan_s"].set_index("treatment")
    assert rows.loc["t2", ["ratio", "low", "n"]].isna().all()
    assert rows.loc["t2", "alike"]
    assert pd.isna(rows.loc["t1", "alike"])


def test_of_treatments_that_are_truly_equal_nearly_all_are_found_alike():
    # The winner is chosen by the same runs, so intervals miss slightly more often than one in
    # twenty.
    draw = np.random.default_rng(11)
    shares = []
    for _ in range(200):
        rows = rank({f"t{n}": runs(*draw.lognormal(0, 0.05, 5)) for n in range(4)})
        shares.append(fmean(bool(row["alike"]) for row in rows))
    assert 0.85 < fmean(shares) < 1


def test_a_treatment_that_is_truly_behind_is_found_so():
    draw = np.random.default_rng(12)
    found = 0
    for _ in range(100):
        values = {
            "best": draw.lognormal(0, 0.03, 5),
            "behind": draw.lognormal(math.log(1.3), 0.03, 5),
        }
        found += by_name(rank({k: runs(*v) for k, v in values.items()}))["behind"]["alike"] is False
    assert found > 95


SPLITS = {"one": specification(tasks=40, files=1), "four": specification(tasks=10, files=4)}


def split_runs():
    runs = table(one=[4.0, 4.1, 4.2], four=[2.0, 2.1, 2.2])
    return runs.assign(tasks=runs["treatment"].map({"one": 40, "four": 10}).astype("Int64"))


def test_treatments_that_are_stated_to_do_the_same_work_compete():
    assert group_by_work(plan(**SPLITS)) == {"x": [["one"], ["four"]]}
    assert group_by_work(plan(**SPLITS, same_work=True)) == {"x": [["one", "four"]]}
    assert find_winners(split_runs(), plan(**SPLITS)).empty
    found = find_winners(split_runs(), plan(**SPLITS, same_work=True))
    assert set(found.loc[found["quantity"] == "makespan_s", "winner"]) == {"four"}
    assert set(found["work"]) == {1}


def test_the_turnaround_of_a_task_ranks_no_treatments_that_split_the_work_differently():
    found = find_winners(split_runs(), plan(**SPLITS, same_work=True))
    assert set(found["quantity"]) == {"makespan_s", "tree_peak_bytes"}
    alike = {"a": specification(chunk=1), "b": specification(chunk=2)}
    runs = table(a=[4.0, 4.1, 4.2], b=[2.0, 2.1, 2.2]).assign(tasks=20)
    found = find_winners(runs, plan(**alike, same_work=True))
    assert set(found["quantity"]) == set(WINNER_QUANTITIES)
