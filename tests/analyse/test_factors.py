"""Effects of factors on studies whose effects are known."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from stagebench.analyse.factors import FACTOR_QUANTITIES, FactorGrid, find_factor_effects
from stagebench.tables.io import make_table

NOISE = 0.01


def cells(**factors):
    """Return the factors of every treatment of a full grid, without start methods for threads."""
    found = [{}]
    for name, levels in factors.items():
        found = [cell | {name: level} for cell in found for level in levels]
    kept = [
        {k: v for k, v in cell.items() if k != "start_method" or cell.get("executor") == "process"}
        for cell in found
    ]
    return [cell for n, cell in enumerate(kept) if cell not in kept[:n]]


GRID = cells(
    executor=["thread", "process"],
    start_method=["fork", "spawn"],
    workers=[1, 2, 5],
    logic=["native", "numpy"],
)


def study(grid, seconds, *, blocks=5, seed=1, **columns):
    """Make runs of a grid: `seconds(cell)` times a little noise, the same noise for a block."""
    draw = np.random.default_rng(seed)
    rows = []
    for block in range(1, blocks + 1):
        luck = math.exp(0.2 * draw.standard_normal())
        for n, cell in enumerate(grid):
            value = seconds(cell) * luck * math.exp(NOISE * draw.standard_normal())
            row = {
                "experiment": "x",
                "treatment": f"t{n}",
                "replicate": block,
                "block": block,
                "campaign": "a",
                "status": "ok",
                "baseline": n == 0,
                "factors": json.dumps(cell),
                "makespan_s": value,
            }
            rows.append(row | {name: make(cell) for name, make in columns.items()})
    return rows


def effects(rows, quantity="makespan_s", *, transports=None, same_work=False):
    runs = make_table("runs", rows)
    stages = make_table(
        "stages",
        [
            {"experiment": "x", "treatment": name, "replicate": 1, "stage": "s", "transport": to}
            for name, to in (transports or {}).items()
        ],
    )
    plan = {"margin": 0.05, "experiments": [{"name": "x", "same_work": same_work}]}
    found = find_factor_effects(runs, stages, plan)
    return found[found["quantity"] == quantity]


def shown(found):
    """Return what the report shows: factor, levels, restriction → ratio and word."""
    return {
        (row["factor"], row["level"], row["to_level"], row["within"]): (row["ratio"], row["word"])
        for _, row in found[found["shown"]].iterrows()
    }


def test_an_effect_that_is_the_same_everywhere_is_pooled_over_all_pairs():
    def seconds(cell):
        return 10 / cell["workers"] * (0.5 if cell["logic"] == "numpy" else 1)

    found = effects(study(GRID, seconds))
    known = shown(found)
    assert known["logic", "numpy", "native", "{}"] == (pytest.approx(0.5, rel=0.02), "faster")
    assert known["workers", "5", "1", "{}"] == (pytest.approx(0.2, rel=0.02), "faster")
    assert known["executor", "process", "thread", "{}"][1] == "equivalent"
    assert known["start_method", "spawn", "fork", "{}"][1] == "equivalent"
    assert len(known) == 6
    pairs = found[found["shown"]].set_index("factor")["pairs"]
    # A thread is compared with the mean of a forked and a spawned process.
    assert (pairs["executor"], pairs["start_method"], pairs["logic"]) == (6, 6, 9)


def test_an_effect_that_depends_on_other_factors_is_shown_within_their_levels():
    def seconds(cell):
        is_faster = cell["executor"] == "process" and cell["logic"] == "native"
        return 10 / (1.7 if is_faster and cell["workers"] > 1 else 1)

    known = shown(effects(study(GRID, seconds)))
    within = '{"workers": ["2", "5"], "logic": ["native"]}'
    ratio, word = known["executor", "process", "thread", within]
    assert (ratio, word) == (pytest.approx(1 / 1.7, rel=0.02), "faster")
    others = [key[3] for key in known if key[0] == "executor" and key[3] != within]
    assert '{"workers": ["1"]}' in others or '{"logic": ["numpy"]}' in others
    assert all(known["executor", "process", "thread", key][1] == "equivalent" for key in others)
    assert known["start_method", "spawn", "fork", "{}"][1] == "equivalent"


def test_the_quotient_of_two_effects_is_a_row_that_says_how_they_differ():
    grid = cells(logic=["native", "numpy"], workers=[1, 2])

    def seconds(cell):
        return 3.0 if cell == {"logic": "numpy", "workers": 2} else 1.0

    found = effects(study(grid, seconds))
    quotients = found[found["kind"] == "quotient"]
    row = quotients[quotients["factor"] == "logic"].iloc[0]
    assert (row["by"], row["by_level"], row["by_to_level"]) == ("workers", "2", "1")
    assert row["ratio"] == pytest.approx(3, rel=0.05)
    assert row["word"] == "higher"


def test_the_largest_effects_come_first():
    grid = cells(small=[0, 1], large=[0, 1], middle=[0, 1])

    def seconds(cell):
        return 1.2 ** cell["small"] * 5 ** -cell["large"] * 2 ** cell["middle"]

    found = effects(study(grid, seconds))
    assert list(found[found["shown"]]["factor"]) == ["large", "middle", "small"]


def test_pairs_without_enough_runs_are_left_out_and_counted():
    grid = cells(logic=["native", "numpy"], workers=[1, 2, 5])
    rows = study(grid, lambda cell: 1.0 if cell["logic"] == "native" else 2.0)
    for row in rows:
        if row["treatment"] == "t5":
            row |= {"status": "crashed", "makespan_s": None}
    found = effects(rows).set_index("factor")
    row = found.loc[["logic"]].iloc[0]
    assert (row["pairs"], row["n"], row["word"]) == (2, 5, "slower")
    assert row["note"] == "1 of 3 pairs left out, because runs are missing"


def test_a_block_that_lacks_one_run_is_left_out():
    grid = cells(logic=["native", "numpy"], workers=[1, 2, 5])
    rows = study(grid, lambda cell: 1.0 if cell["logic"] == "native" else 2.0)
    lost = next(row for row in rows if (row["treatment"], row["block"]) == ("t4", 3))
    lost |= {"status": "timed_out"}
    row = effects(rows).set_index("factor").loc[["logic"]].iloc[0]
    assert (row["pairs"], row["n"], row["ratio"]) == (3, 4, pytest.approx(2, rel=0.02))


def test_a_treatment_of_a_later_campaign_is_in_no_pair_of_the_earlier_one():
    grid = cells(logic=["native", "numpy"], workers=[1, 2])
    rows = study(grid, lambda cell: 1.0 if cell["logic"] == "native" else 2.0)
    for row in rows:
        row["campaign"] = "b" if row["treatment"] == "t3" else "a"
    row = effects(rows).set_index("factor").loc[["logic"]].iloc[0]
    assert (row["pairs"], row["n"]) == (1, 5)


@pytest.mark.parametrize("blocks", [1, 2])
def test_below_three_blocks_an_effect_has_a_ratio_and_no_word(blocks):
    found = effects(study(cells(a=[0, 1], b=[0, 1]), lambda _: 1.0, blocks=blocks))
    assert found["low"].isna().all()
    assert set(found["word"]) == {""}
    assert set(found["note"]) == {f"an interval needs 3 blocks, there are {blocks}"}


def test_a_study_of_one_treatment_or_without_an_ok_run_has_no_effects():
    assert effects(study([{"a": 1}], lambda _: 1.0)).empty
    failed = [row | {"status": "crashed"} for row in study(cells(a=[0, 1]), lambda _: 1.0)]
    assert effects(failed).empty


def test_cells_that_are_not_in_the_grid_are_in_no_pair():
    grid = [cell for cell in cells(a=[0, 1], b=[0, 1, 2]) if cell != {"a": 1, "b": 2}]
    row = effects(study(grid, lambda cell: 1.0 + cell["a"])).set_index("factor").loc[["a"]].iloc[0]
    assert (row["pairs"], row["note"]) == (2, "")


PEAKS = {
    "tree_peak_bytes": lambda cell: 100 if cell["a"] else 200,
    "tree_peak_upper_bytes": lambda cell: (150 if cell["a"] else 220) + 1000 * (cell["b"] == 2),
}


def test_brackets_leave_an_effect_open_as_far_as_they_reach():
    found = effects(study(cells(a=[0, 1], b=[0, 1]), lambda _: 1.0, **PEAKS), "tree_peak_bytes")
    row = found.set_index("factor").loc[["a"]].iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((100 / 220, 150 / 200))
    assert row["word"] == "lower"
    wide = effects(study(cells(a=[0, 1], b=[0, 2]), lambda _: 1.0, **PEAKS), "tree_peak_bytes")
    assert wide.set_index("factor").loc[["a"]].iloc[0]["word"] == "not decided"


def test_results_that_wait_unseen_are_left_out_for_memory_and_not_for_time():
    rows = study(cells(a=[0, 1], b=[0, 1]), lambda _: 1.0, **PEAKS)
    hidden = {"t0": "pickle", "t3": "path"}
    memory = effects(rows, "tree_peak_bytes", transports=hidden).set_index("factor")
    assert memory.loc[["a"]].iloc[0]["pairs"] == 1
    assert effects(rows, transports=hidden).set_index("factor").loc[["a"]].iloc[0]["pairs"] == 2


def test_a_large_grid_is_looked_at_in_less_detail():
    wide, narrow = (
        FactorGrid({str(n): {k: str(v) for k, v in cell.items()} for n, cell in enumerate(grid)})
        for grid in (cells(a=range(10), b=range(10)), GRID)
    )
    assert 18 <= len(wide.questions) <= 250
    assert any(len(question.within) == 2 for question in narrow.questions)


def test_where_nothing_differs_hardly_any_study_finds_an_effect():
    grid = cells(a=[0, 1], b=[0, 1], c=[0, 1])
    studies, false = 60, 0
    for seed in range(studies):
        found = effects(study(grid, lambda _: 1.0, blocks=3, seed=seed))
        false += found["word"].isin(["faster", "slower", "lower", "higher"]).any()
    # The limit is three standard errors above 5 %.
    assert false <= studies * 0.05 + 3 * math.sqrt(studies * 0.05 * 0.95)


SPLIT = cells(files=[1, 4], workers=[1, 2, 5])


@pytest.mark.parametrize("same_work", [True, False])
def test_how_the_same_work_is_split_has_an_effect_on_its_time_but_not_on_that_of_a_task(same_work):
    rows = study(
        SPLIT,
        lambda cell: 10.0 / cell["workers"] / (1 + (cell["files"] == 4)),
        tasks=lambda cell: 40 // cell["files"],
        turnaround_p95_s=lambda cell: 3.0 / cell["workers"],
    )
    time = effects(rows, same_work=same_work)
    assert set(time["factor"]) == {"files", "workers"}
    turnaround = effects(rows, "turnaround_p95_s", same_work=same_work)
    of = turnaround[turnaround["kind"] == "effect"]
    assert set(of["factor"]) == ({"workers"} if same_work else {"files", "workers"})
    assert ((of["factor"] == "workers") & (of["word"] == "lower")).any()


def test_every_quantity_has_its_own_effects():
    rows = [row | {"cpu_s": 5.0} for row in study(cells(a=[0, 1], b=[0, 1]), lambda _: 1.0)]
    assert set(FACTOR_QUANTITIES) >= {"makespan_s", "cpu_s", "tree_peak_bytes"}
    found = effects(rows, "cpu_s")
    assert set(found["word"]) == {"equivalent"}
    assert isinstance(found, pd.DataFrame)


def test_effects_over_nodes_are_wider_and_say_so_in_no_other_way():
    rows = study(GRID, lambda cell: 1.5 if cell["logic"] == "native" else 1.0, blocks=6)
    spread = [row | {"node": f"n{row['block'] % 3}"} for row in rows]
    one, several = effects(rows), effects(spread)
    assert several["n"].tolist()[0] == 6
    chosen = one["factor"] == "logic"
    narrow = np.log(one.loc[chosen, "high"] / one.loc[chosen, "low"]).min()
    wide = np.log(several["high"] / several["low"]).dropna()
    assert (wide > narrow).all()
    found = several[(several["factor"] == "logic") & (several["kind"] == "effect")].iloc[0]
    assert found["low"] < found["ratio"] < found["high"]
    assert min(found["ratio"], 1 / found["ratio"]) == pytest.approx(1 / 1.5, rel=0.05)
