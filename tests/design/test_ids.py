import pytest

from stagebench.design.ids import is_valid_id, treatment_id
from stagebench.design.study import Factor


def factor(name, levels, tags=None):
    return Factor(name=name, levels=tuple(levels), when={}, tags=tags or {})


DECLARED = [
    factor("logic", ["native", "numpy"], {"native": "", "numpy": "numpy"}),
    factor("size", [0.5, 2]),
    factor("retain", [True, False]),
    factor("workers", [1, 2, 5]),
    factor("executor", ["thread", "process"]),
    factor("start_method", ["fork", "spawn"]),
    factor("cpus", [None, [0, 1], []]),
]


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ({"workers": 1, "executor": "thread"}, "t1"),
        ({"workers": 2, "executor": "process", "start_method": "fork"}, "p2-fork"),
        (
            {"retain": True, "workers": 5, "executor": "process", "start_method": "spawn"},
            "p5-spawn-retain",
        ),
        ({"logic": "native", "retain": False, "workers": 2, "executor": "thread"}, "t2"),
        ({"logic": "numpy", "workers": 1, "executor": "thread"}, "t1-numpy"),
        (
            {"logic": "numpy", "workers": 5, "executor": "process", "start_method": "fork"},
            "p5-fork-numpy",
        ),
        ({"workers": 5}, "w5"),
        ({"executor": "thread"}, "thread"),
        ({"executor": "process", "start_method": "fork"}, "process-fork"),
        ({"size": 0.5}, "size-0_5"),
        ({"size": 2, "retain": True}, "size-2-retain"),
        ({"cpus": None}, "cpus-unset"),
        ({"cpus": [0, 1]}, "cpus-0-1"),
        ({"cpus": []}, "cpus-empty"),
        ({"retain": False}, "plain"),
        ({}, "only"),
    ],
)
def test_an_id_tells_the_levels(factors, expected):
    ordered = {f.name: factors[f.name] for f in DECLARED if f.name in factors}

    assert treatment_id(ordered, DECLARED) == expected


def test_a_tag_on_the_number_of_workers_keeps_the_words_apart():
    declared = [factor("workers", [1, 64], {"64": "many"}), factor("executor", ["thread"])]

    assert treatment_id({"workers": 64, "executor": "thread"}, declared) == "thread-many"
    assert treatment_id({"workers": 1, "executor": "thread"}, declared) == "t1"


@pytest.mark.parametrize("name", ["", "-a", "a/b", "..", "A", "a" * 101, "a\n", "é"])
def test_what_is_no_folder_name_is_no_id(name):
    assert not is_valid_id(name)
