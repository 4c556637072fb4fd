"""The cost of the runner is a median of ratios, each within one round."""

import random
from pathlib import Path

import pytest
from benchmarks.runner import (
    MIB,
    Bar,
    Program,
    Table,
    excess_mib,
    format_bars,
    format_measured,
    judge,
    plan_tables,
    ratio,
    run_rounds,
)
from benchmarks.runner_subjects import SUBJECTS, passages, read_high_water

from stagebench.records import TaskRecord

TIME = Bar("time", "ours", "other", "s_per_task", ratio, 1.5)


def rounds_of(*pairs):
    return [{"ours": {"s_per_task": a}, "other": {"s_per_task": b}} for a, b in pairs]


def test_a_bar_is_judged_by_the_median_of_the_ratios_of_single_rounds():
    assert judge(TIME, rounds_of((1, 1), (9, 3), (20, 10))) == 2


def test_a_missed_bar_is_marked():
    assert "| 1.50 | ≤ 1.50 | reached |" in format_bars([TIME], rounds_of((3, 2)))
    assert "| 1.60 | ≤ 1.50 | MISSED |" in format_bars([TIME], rounds_of((3.2, 2)))


def test_memory_is_compared_by_its_excess():
    bar = Bar("memory", "ours", "other", "peak_bytes", excess_mib, 2.0, " MiB")
    rounds = [{"ours": {"peak_bytes": 5 * MIB}, "other": {"peak_bytes": 2 * MIB}}]
    assert judge(bar, rounds) == 3
    assert "3.00 MiB" in format_bars([bar], rounds)


def test_every_program_runs_once_in_every_round_in_another_order():
    programs = {name: Program(name, {}) for name in "abcdef"}
    order = []

    def run(program):
        order.append(program.subject)
        return {"s_per_task": float(len(order))}

    rounds = run_rounds(Table(3, programs, []), random.Random(1), run)
    assert [sorted(order[i : i + 6]) for i in (0, 6, 12)] == [list("abcdef")] * 3
    assert order[:6] != order[6:12]
    assert [list(made) for made in rounds] == [list("abcdef")] * 3


@pytest.mark.parametrize("quick", [True, False])
def test_every_bar_is_about_programs_of_its_table(quick):
    for table in plan_tables(quick=quick):
        for bar in table.bars:
            assert {bar.ours, bar.other} <= set(table.programs)
        assert {one.subject for one in table.programs.values()} <= {*SUBJECTS, "peer"}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("s_per_task", 12.34e-6, "12.3 µs"),
        ("s_per_result", 0.0714, "71 ms"),
        ("peak_bytes", 2.5 * MIB, "2.5 MiB"),
    ],
)
def test_values_have_their_units(key, value, text):
    assert format_measured(key, value) == text


@pytest.mark.parametrize(
    ("subject", "parameters"),
    [
        ("bare", {"kind": "thread", "tasks": 20}),
        ("stage", {"kind": "thread", "tasks": 20}),
        ("bare", {"kind": "process", "tasks": 20}),
        ("stage", {"kind": "process", "tasks": 20}),
        ("three_stages", {"sink": "file", "tasks": 20}),
        ("three_stages", {"sink": "file", "tasks": 20, "all_wait": True}),
        ("three_stages", {"sink": "null", "tasks": 20, "queue_size": 2}),
        ("results", {"transport": "path", "form": "bytes", "size": 100_000, "tasks": 2}),
        ("results", {"transport": "shared_memory", "form": "array", "size": 100_000, "tasks": 2}),
    ],
)
def test_every_program_runs_and_returns_its_costs(subject, parameters):
    made = Program(subject, parameters).run(Path("no peer"))
    assert made
    assert all(value > 0 for value in made.values())


def test_the_way_of_a_result_begins_when_it_is_made_and_the_first_does_not_count():
    ends = {(0, "make"): 0, (0, "take"): 9, (1, "make"): 5, (1, "take"): 7}
    nothing = dict.fromkeys(TaskRecord.__slots__)
    records = [
        TaskRecord(**{**nothing, "task": task, "stage": stage, "status": "ok", "finished_ns": end})
        for (task, stage), end in ends.items()
    ]
    assert passages(records) == [2e-9]


def test_the_largest_rss_does_not_go_down():
    before = read_high_water()
    block = bytearray(b"x") * (8 * MIB)
    assert read_high_water() >= before
    del block
    assert read_high_water() >= before > MIB
