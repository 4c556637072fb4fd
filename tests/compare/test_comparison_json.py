"""A comparison as JSON: what docs/compare.md describes, and nothing that JSON does not have."""

import json
import re
from pathlib import Path

from stagebench.compare.comparison_json import SCHEMA, write_comparison
from stagebench.compare.findings import compare_sources
from stagebench.compare.forbidden import parse_condition
from stagebench.compare.sources import read_sources
from stagebench.units import MIB

GUIDE = Path(__file__).parents[2] / "docs/compare.md"
STEADY = [{"makespan_s": 1 + n / 100, "tree_peak_bytes": 50 * MIB} for n in range(5)]


def write(write_side):
    runs = {"t1": STEADY, "t2": STEADY}
    folders = [write_side(runs), write_side(runs | {"t2": [{"status": "failed"}] * 5})]
    found = compare_sources(read_sources(map(str, folders)))
    return json.loads(write_comparison(found, [parse_condition("makespan_s slower 10%")]))


def list_keys(value):
    if isinstance(value, dict):
        return set(value) | {key for own in value.values() for key in list_keys(own)}
    if isinstance(value, list):
        return {key for own in value for key in list_keys(own)}
    return set()


def test_every_key_is_described(write_side):
    described = set(re.findall(r"`(\w+)`", GUIDE.read_text()))
    found = write(write_side)
    assert found["schema"] == SCHEMA
    assert list_keys(found) - described == set()


def test_what_has_no_bound_is_null(write_side):
    families = write(write_side)["comparisons"][0]["families"]
    [peak] = [one for one in families if one["quantity"] == "tree_peak_bytes"]
    assert peak["findings"][0]["ratio"] == [0, None]
    assert peak["findings"][0]["limits"] == [0, None]


def test_a_condition_that_cannot_be_judged_is_said(write_side):
    (condition,) = write(write_side)["conditions"]
    assert "cannot be judged" in condition["found"][0]
