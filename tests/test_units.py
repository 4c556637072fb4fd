import pytest

from stagebench.units import (
    format_bytes,
    format_seconds,
    parse_bytes,
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
    ("text", "size"), [("2 GiB", 2**31), ("0.5 MiB", 2**19), ("10 KiB", 10240), ("1 TiB", 2**40)]
)
def test_a_size_with_its_unit_is_a_number_of_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0.0123, "12.3 ms"),
        (0.9997, "1 s"),
        (4.25, "4.25 s"),
        (200.4, "3 min 20 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations_are_shown_in_units_of_their_size(duration, text):
    assert format_seconds(duration) == text


def test_nanoseconds_and_seconds_convert_both_ways():
    assert to_nanoseconds(0.01) == 10_000_000
    assert to_seconds(to_nanoseconds(1.5)) == 1.5
