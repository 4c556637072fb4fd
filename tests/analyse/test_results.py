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


def test_a_file_of_tasks_may_give_each_its_size():
    named = {"file": "tasks.csv", "columns": {"work.size_mib": ["float"]}}
    assert result_bytes({"tasks": named}, stage(size_mib=2)) is None
    named["columns"] = {"other.size_mib": ["float"]}
    assert result_bytes({"tasks": named}, stage(size_mib=2)) == 2 * MIB
