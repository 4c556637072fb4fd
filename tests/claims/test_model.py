import math
from decimal import Decimal

import pytest

from stagebench.claims.model import (
    CHOSEN,
    STATED,
    WORDS,
    AmountError,
    Limit,
    from_reference,
    measure_unit,
    parse_amount,
    parse_limit,
    parse_range,
    parse_tolerance,
    publish,
    rounding,
)
from stagebench.units import MIB


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10 MiB", "bytes", 10 * MIB),
        ("250 ms", "s", 0.25),
        ("-5 MiB", "bytes", -5 * MIB),
        ("25 %", "share", 0.25),
        ("110 %", "ratio", 1.1),
        (1.5, "ratio", 1.5),
        (3, "1", 3),
        ("2 MiB*s", "byte*s", 2 * MIB),
    ],
)
def test_an_amount_is_read_in_the_unit_of_its_quantity(text, unit, value):
    assert parse_amount(text, unit).value == value


@pytest.mark.parametrize(
    ("text", "unit", "allowed"),
    [
        (10, "bytes", "MiB"),
        ("2", "s", "ms"),
        ("10 MB", "bytes", "MiB"),
        ("5 s", "share", "%"),
        ("3 %", "1", "a number without a unit"),
        ("ten", "s", "such as"),
    ],
)
def test_an_amount_without_a_unit_or_with_another_is_an_error(text, unit, allowed):
    with pytest.raises(AmountError, match=rf"'{text}' is not allowed; allowed: .*{allowed}"):
        parse_amount(text, unit)


def test_a_tolerance_is_a_part_of_what_is_expected_or_has_its_unit():
    assert parse_tolerance("10 %", "bytes", -50 * MIB) == (5 * MIB, "10 %")
    assert parse_tolerance("5 points", "share", 0.2) == (0.05, "5 points")
    assert parse_tolerance("2 MiB", "bytes", 0)[0] == 2 * MIB


@pytest.mark.parametrize("text", [0.1, "5", "-5 %", "5 s"])
def test_a_tolerance_without_a_unit_is_an_error(text):
    with pytest.raises(AmountError, match="not allowed; allowed: a number with one of %, points"):
        parse_tolerance(text, "share", 0.2)


@pytest.mark.parametrize(
    ("expect", "inside", "outside"),
    [
        ({"equal": 1, "tolerance": "10 %"}, (0.9, 1.1), (1.2, 1.3)),
        ({"above": 1}, (1.01, 5), (0.5, 1)),
        ({"below": 1}, (-3, 0.99), (1, 2)),
        ({"between": [1, 2]}, (1, 2), (2.1, 3)),
    ],
)
def test_an_expectation_is_a_range_of_values(expect, inside, outside):
    allowed = parse_range(expect, "ratio")
    assert allowed.holds(*inside)
    assert not allowed.misses(*inside)
    assert allowed.misses(*outside)
    across = (inside[0], outside[1]) if outside[1] > inside[1] else (outside[0], inside[1])
    assert not allowed.holds(*across)
    assert not allowed.misses(*across)


def test_ends_in_the_wrong_order_are_an_error():
    with pytest.raises(AmountError, match="the lower end first"):
        parse_range({"between": [2, 1]}, "ratio")


@pytest.mark.parametrize(
    ("number", "step"), [("20", 10), ("25", 5), ("12", 1), ("50", 50), ("0.65", 0.05), ("0", 1)]
)
def test_a_number_looks_rounded_to_its_last_digit_or_to_five_of_it(number, step):
    assert float(rounding(Decimal(number))) == step


@pytest.mark.parametrize(
    ("stated", "logged", "contradicts"),
    [(0.65, 0.62, True), (0.6, 0.62, False), (0.2, 0.219, False), (0.8, 0.736, True)],
)
def test_a_statement_contradicts_its_log_beyond_half_of_its_rounding(stated, logged, contradicts):
    published = publish(*(from_reference(n, "1", "share") for n in (stated, logged)), None)
    assert bool(published.contradiction) is contradicts


def test_what_a_statement_was_rounded_to_can_be_said():
    stated, logged = from_reference(12, "s", "s"), from_reference(13.6, "s", "s")
    text = "the document states 12 s, its log says 13.6 s"
    assert publish(stated, logged, None).contradiction == text
    assert not publish(stated, logged, parse_amount("5 s", "s")).contradiction


def test_shares_and_ratios_are_distinguished_from_counts():
    quantities = ("stage_efficiency", "on_cpu_share", "makespan_ratio", "most_children")
    assert [measure_unit(name) for name in quantities] == ["share", "share", "ratio", "1"]


@pytest.mark.parametrize(
    ("expect", "unit", "half", "twice"),
    [
        ({"equal": 2, "tolerance": "10 %"}, "ratio", (1.9, 2.1), (1.6, 2.4)),
        ({"above": 4}, "ratio", (2, math.inf), (16, math.inf)),
        ({"below": 0.25}, "ratio", (-math.inf, 0.5), (-math.inf, 0.0625)),
        ({"between": [1, 4]}, "ratio", (1, 2), (1, 16)),
        ({"above": "90 %"}, "share", (0.95, math.inf), (0.8, math.inf)),
        ({"below": "30 %"}, "share", (-math.inf, 0.15), (-math.inf, 0.6)),
        ({"below": "-2 s"}, "s", (-math.inf, -1), (-math.inf, -4)),
        ({"between": ["2 s", "6 s"]}, "s", (3, 5), (0, 8)),
    ],
)
def test_half_and_twice_are_as_far_from_no_effect_or_as_wide(expect, unit, half, twice):
    limit = parse_limit(expect, unit, CHOSEN)
    for found, ends in ((limit.half, half), (limit.twice, twice)):
        assert (found.low, found.high) == pytest.approx(ends)
    assert limit.chosen == (expect.get("tolerance") or parse_range(expect, unit).text)


def test_only_what_was_chosen_can_be_chosen_otherwise():
    assert parse_limit({"above": 1}, "ratio", WORDS) == Limit(source=WORDS)
    assert parse_limit({"equal": 3}, "1", CHOSEN) == Limit(source=CHOSEN)
    # A tolerance is chosen, whoever published the number.
    limit = parse_limit({"equal": 1, "tolerance": "10 %"}, "ratio", STATED)
    assert (limit.source, limit.chosen) == (STATED, "10 %")


def test_a_range_without_an_end_holds_what_has_no_end():
    above = parse_range({"above": 1}, "ratio")
    assert above.holds(2, math.inf)
    assert not above.holds(0, math.inf)
    below = parse_range({"below": 1}, "ratio")
    assert below.misses(2, math.inf)
    assert not below.holds(0.5, math.inf)
    assert not below.misses(0.5, math.inf)
