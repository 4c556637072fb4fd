"""Columns of whole numbers as short text, which `draw.js` unpacks.

A number is written as its difference from the one before it: most are small then, and take one or
two bytes. A byte holds seven bits of a number, the lowest first; its eighth bit says that more
follow. 0 stands for a missing number.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def pack_numbers(numbers: Iterable[int | None]) -> str:
    """Return whole numbers, of which some may be missing, as text."""
    found = bytearray()
    before = 0
    for number in numbers:
        if number is None:
            found.append(0)
            continue
        step, before = number - before, number
        # 0, -1, 1, -2 … become 1, 2, 3, 4 …
        rest = (2 * step if step >= 0 else -2 * step - 1) + 1
        while rest >= 128:
            found.append(rest % 128 + 128)
            rest //= 128
        found.append(rest)
    return base64.b64encode(found).decode("ascii")
