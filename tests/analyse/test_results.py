from __future__ import annotations

import pytest

from stagebench.analyse.results import result_bytes
from stagebench.units import MIB


def stage(handler="payload", **parameters):
    return {"name": "work", "handler": handler, "parameters": parameters}


def test_a_payload_has_the_size_of_its_parameter():
    assert result_bytes({"tasks": 3}, stage(size_mib=2.5)) == 2.5 * MIB


def test_tasks_that_keep_the_size_change_nothing():
    tasks = [{}, {"work": {"delay_s": 1}}, {"other": {"size_mib": 1}}]
    assert result_bytes({"tasks": tasks}, stage(size_mib=2)) == 2 * MIB


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ([{"work": {"size_mib": 1}}], stage(size_mib=2)),
        (3, stage()),
        (3, stage(handler="download", size_mib=2)),
    ],
)
def test_results_of_several_sizes_or_of_an_unknown_one_have_none(tasks, told):
    assert result_bytes({"tasks": tasks}, told) is None
