"""The tables of the head-to-head, on made-up results."""

import pytest
from benchmarks.memory_tables import (
    ALONE,
    Costs,
    Result,
    describe_errors,
    describe_missed,
    format_report,
)

ABOUT = {"ours": "PSS", "theirs": "RSS; 1.0"}


def result(tool, **changes):
    values = {"setting": "10 ms", "kind": "churn", "repeat": 0, "duration_s": 1.0, "error": 0.0}
    return Result(tool=tool, **(values | changes))


def alone(**changes):
    return result(ALONE, **({"setting": ALONE, "error": None} | changes))


def rows(report, start):
    return [line for line in report.splitlines() if line.startswith(f"| {start}")]


def test_a_slowdown_is_relative_to_the_same_program_alone_in_the_same_block():
    costs = Costs([alone(repeat=0, duration_s=2.0), alone(repeat=1, duration_s=4.0)])
    assert costs.slowdown(result("ours", repeat=1, duration_s=5.0)) == pytest.approx(1.25)
    assert costs.slowdown(result("ours", repeat=2)) is None


def test_the_start_of_the_interpreter_is_no_cost_of_the_tool():
    costs = Costs([alone(other_cpu_s=0.02), alone(other_cpu_s=0.04), alone(other_cpu_s=0.03)])
    assert costs.cpu_s(result("ours", other_cpu_s=0.13)) == pytest.approx(0.1)


def test_errors_keep_their_sign_and_are_near_within_five_percent():
    assert describe_errors([-0.04, 0.01, 0.6]) == ["1.0 %", "-4.0 %", "60.0 %", "67 %"]
    assert describe_errors([]) == ["–", "–", "–", "–"]


def test_a_tool_that_does_not_report_children_is_not_said_to_have_missed_any():
    assert describe_missed([result("ours", children=5)]) == "not reported"
    reported = [result("ours", children=5, reported_children=n) for n in (5, 2, 6)]
    assert describe_missed(reported) == "4 of 15"
    assert describe_missed([]) == "–"


def test_a_tool_that_failed_keeps_its_row_and_its_reason():
    results = [alone(), result("ours"), result("theirs", failure="not there")]
    report = format_report(results, ABOUT)
    assert rows(report, "theirs (RSS; 1.0) | 1 | 1 | 0 | – |")
    assert "- theirs, 10 ms: not there (1 runs)" in report


def test_a_bracket_has_a_row_for_either_bound():
    results = [alone(), result("ours", error=-0.01, upper_error=0.02)]
    report = format_report(results, ABOUT)
    assert rows(report, "ours, lower bound (PSS) | 1 | 0 | 0 | -1.0 %")
    assert rows(report, "ours, upper bound |  |  |  | 2.0 %")


def test_a_tool_without_a_peak_is_counted_as_such():
    report = format_report([alone(), result("ours", error=None)], ABOUT)
    assert rows(report, "ours (PSS) | 1 | 0 | 1 | – |")


def test_every_kind_has_a_row_with_every_tool():
    results = [alone(), result("ours", error=0.5), result("theirs", error=-0.25)]
    report = format_report(results, ABOUT)
    assert "| kind | ours | theirs |" in report
    assert rows(report, "churn | 50.0 % | -25.0 % |")
