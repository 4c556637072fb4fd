import pytest

from stagebench.units import (
    format_bytes,
    format_estimate,
    format_seconds,
    to_nanoseconds,
    to_seconds,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (10 * 2**20, "10 MiB"),
        (8e9, "7.45 GiB"),
        (2**41, "2 TiB"),
    ],
)
def test_sizes_are_shown_in_the_largest_binary_unit_below_them(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.0123, "12.3 ms"), (4.25, "4.25 s"), (200.4, "3 min 20 s"), (3900, "1 h 05 min")],
)
def test_durations_are_shown_in_units_of_their_size(duration, text):
    assert format_seconds(duration) == text


def test_nanoseconds_and_seconds_convert_both_ways():
    assert to_nanoseconds(0.01) == 10_000_000
    assert to_seconds(to_nanoseconds(1.5)) == 1.5


@pytest.mark.parametrize(
    ("values", "limits", "unit", "text"),
    [
        ((1.02,), (0.98, 1.06), "ratio", "1.02 [0.98, 1.06] ×"),
        ((0.2,), (0.15, 0.25), "share", "20 [15, 25] %"),
        (
            (10 * 2**20, 12 * 2**20),
            (9.5 * 2**20, 12.5 * 2**20),
            "bytes",
            "10.0 to 12.0 [9.5, 12.5] MiB",
        ),
        ((5,), (5, 5), "1", "5"),
        ((-0.001,), (-3, 3), "s", "0.00 [-3.00, 3.00] s"),
        ((2.5,), None, "1/s", "2.50 1/s"),
    ],
)
def test_an_estimate_and_its_interval_are_shown_in_one_unit(values, limits, unit, text):
    assert format_estimate(values, limits, unit) == text
