"""`--fail-if`: it fails only on what an interval shows, and never passes what was not judged."""

import pytest

from stagebench.compare.findings import compare_sources
from stagebench.compare.forbidden import ForbiddenError, check_conditions, parse_condition
from stagebench.compare.sources import read_sources
from stagebench.errors import OptionError

STEADY = [0.99, 1.0, 1.01, 0.995, 1.005]
NOISY = [0.7, 1.4, 0.9, 1.2, 1.0]


def check(write_side, other, *conditions, base=STEADY):
    folders = [write_side({"t1": base}), write_side({"t1": other})]
    parsed = [parse_condition(text) for text in conditions]
    quantities = [one.quantity for one in parsed]
    check_conditions(
        compare_sources(read_sources(map(str, folders)), quantities=quantities), parsed
    )


@pytest.mark.parametrize(
    ("factor", "condition", "fails"),
    [
        (1.2, "makespan_s slower 10%", True),
        (1.2, "makespan_s slower 19.9 %", False),
        (1.11, "makespan_s slower 10%", False),
        (1.11, "makespan_s may be slower 10%", True),
        (1.05, "makespan_s may be slower 10%", False),
        (0.8, "makespan_s slower 10%", False),
        (0.8, "makespan_s faster 20%", True),
        (1.1, "makespan_s slower", True),
    ],
)
def test_a_condition_holds_if_the_interval_shows_it(write_side, factor, condition, fails):
    other = [value * factor for value in STEADY]
    if not fails:
        check(write_side, other, condition)
        return
    with pytest.raises(ForbiddenError, match="pace/t1, study1") as error:
        check(write_side, other, condition)
    assert error.value.exit_code == 3


def test_a_wide_interval_fails_only_if_it_may(write_side):
    check(write_side, NOISY, "makespan_s slower 10%")
    with pytest.raises(ForbiddenError):
        check(write_side, NOISY, "makespan_s may be slower 10%")


def test_too_few_runs_show_nothing(write_side):
    check(write_side, [9.0, 9.0], "makespan_s slower 10%")
    with pytest.raises(ForbiddenError, match="too few runs"):
        check(write_side, [9.0, 9.0], "makespan_s may be slower 10%")


def test_runs_that_failed_do_not_pass(write_side):
    with pytest.raises(ForbiddenError, match=r"cannot be judged \(0 \+ 5 failed\)"):
        check(write_side, [{"status": "failed"}] * 5, "makespan_s slower 10%")


def test_a_quantity_that_nothing_has_does_not_pass(write_side):
    with pytest.raises(ForbiddenError, match="nothing was compared by cpu_s"):
        check(write_side, STEADY, "makespan_s slower 50%", "cpu_s higher 10%")


def test_a_higher_throughput_is_faster(write_side):
    runs = [[{"throughput_per_s": n * value} for value in STEADY] for n in (1, 2)]
    check(write_side, runs[1], "throughput_per_s slower 10%", base=runs[0])
    with pytest.raises(ForbiddenError):
        check(write_side, runs[0], "throughput_per_s slower 90%", base=runs[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not allowed; allowed: such as"),
        ("makespan_s slower -5%", "is not allowed"),
        ("makespan_s slower 10", "is not allowed"),
        ("makespan slower 10%", "did you mean 'makespan_s'"),
        (
            "makespan_s higher 10%",
            "'higher' is not allowed for makespan_s; allowed: faster, slower",
        ),
        ("tree_peak_bytes slower 1%", "allowed: lower, higher"),
        ("makespan_s slower 99999%", "at most 10000 %"),
    ],
)
def test_a_condition_that_is_none_is_refused(text, message):
    with pytest.raises(OptionError, match=message):
        parse_condition(text)
