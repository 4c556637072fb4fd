from __future__ import annotations

import os

import pytest

from stagebench.analyse.parts import LARGEST_PART, divide, map_parts


def process_of(part):
    return os.getpid(), list(part)


@pytest.mark.parametrize(
    ("items", "processes", "sizes"),
    [
        (5, 1, [5]),
        (5, 2, [3, 2]),
        (2, 4, [1, 1]),
        (2 * LARGEST_PART + 1, 2, [LARGEST_PART, LARGEST_PART, 1]),
        (0, 2, []),
    ],
)
def test_every_process_has_a_part_and_no_part_is_too_large(items, processes, sizes):
    parts = divide(range(items), processes)
    assert [len(part) for part in parts] == sizes
    assert [item for part in parts for item in part] == list(range(items))


def test_what_one_process_can_do_is_done_in_this_one():
    assert map_parts(process_of, [1, 2, 3], processes=1) == [(os.getpid(), [1, 2, 3])]
    assert map_parts(process_of, [1], processes=4) == [(os.getpid(), [1])]
