"""The cases of the replay, at a small size, and their table."""

import pytest
from benchmarks.replay import CASES, GRAPHS, Cost, format_costs, format_ratios, run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_is_replayed_to_its_end(case):
    cost = run(case, 30)
    assert cost.seconds > 0
    assert cost.peak_mib > 0
    assert cost.makespan_s > 0.1


def test_a_service_takes_a_task_s_share_of_one_stage():
    rows = format_costs([(CASES[0], Cost(1.5, 71.6, 99.4))], 100_000).splitlines()
    assert rows[2] == "| nothing shared | 1.50 | 5.00 | 72 | 99 |"


def test_real_runs_are_shown_as_ratios_to_the_replay():
    rows = format_ratios([(GRAPHS[0], "fork", (1.5, 1.2))]).splitlines()
    assert rows[2] == "| pipeline | fork | 1.50 | 1.20 | 1.25 |"
