"""Numbers that are packed are the same once a browser has unpacked them."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from stagebench.present.page.packed import pack_numbers

LARGEST = 2**52  # as a browser's numbers are exact up to 2**53


def unpack(text):
    """Unpack as draw.js does, whose own way is tested in a browser."""
    found, before, value, size = [], 0, 0, 1
    for byte in base64.b64decode(text):
        value += byte % 128 * size
        size *= 128
        if byte >= 128:
            continue
        if value:
            before += (value - 1) // 2 if value % 2 else -(value // 2)
        found.append(before if value else None)
        value, size = 0, 1
    return found


@given(st.lists(st.none() | st.integers(-LARGEST // 2, LARGEST // 2)))
def test_what_is_unpacked_is_what_was_packed(numbers):
    assert unpack(pack_numbers(numbers)) == numbers


def test_missing_is_not_zero():
    assert pack_numbers([None]) != pack_numbers([0])


def test_numbers_that_hardly_change_take_a_byte_each():
    assert len(base64.b64decode(pack_numbers(range(10_000, 10_050)))) < 55
