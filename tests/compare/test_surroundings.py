"""What differs in machine and software is named, what matters most first."""

from stagebench.compare.sources import read_sources
from stagebench.compare.surroundings import UNKNOWN, find_differences

RUNS = {"t1": [1.0]}


def find(write_side, *environments):
    folders = [write_side(RUNS, environment=one) for one in environments]
    return {one.name: one.values for one in find_differences(read_sources(map(str, folders)))}


def test_only_what_differs_is_named_and_packages_come_last(write_side):
    first = {"packages.numpy": "1", "kernel": "6", "host": "a", "commit": "0" * 40}
    second = {"packages.numpy": "2", "kernel": "6", "host": "b", "commit": "1" * 40}
    found = find(write_side, first, second)
    assert list(found) == ["host", "commit", "packages.numpy"]
    assert found["commit"] == ("0" * 12, "1" * 12)


def test_what_one_side_does_not_record_is_unknown(write_side):
    assert find(write_side, {"host": "a", "gil": "True"}, {"host": "a"}) == {
        "gil": ("yes", UNKNOWN)
    }


def test_a_side_of_which_nothing_is_recorded_does_not_differ(write_side):
    assert find(write_side, {"host": "a"}, {}) == {}
