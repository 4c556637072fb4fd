import pytest

from stagebench.design.problems import (
    LONGEST_SHOWN,
    Origin,
    dotted,
    format_problem,
    problem,
    show,
    some,
    unknown,
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), "the config"),
        (("seed",), "seed"),
        (("experiments", 0, "factors", "workers", 2), "experiments[0].factors.workers[2]"),
    ],
)
def test_a_place_is_written_dotted(path, text):
    assert str(problem(path, "wrong")) == f"{text}: wrong"
    assert dotted(path) == text


def test_an_entry_of_a_list_is_called_by_its_name_where_it_has_one():
    origins = {
        (): Origin("mine.yaml", 1),
        ("stages", 0): Origin("mine.yaml", 3, "count"),
        ("stages", 1): Origin("mine.yaml", 4),
    }
    texts = [format_problem(problem(("stages", n, "workers"), "wrong"), origins) for n in (0, 1)]
    assert texts == [
        "mine.yaml:3: stages[count].workers: wrong",
        "mine.yaml:4: stages[1].workers: wrong",
    ]


def test_a_long_value_is_shortened():
    shown = show("x" * 1000)

    assert len(shown) == LONGEST_SHOWN
    assert shown.endswith("…")


def test_the_closest_name_comes_first():
    assert unknown("key", "sead", ["study", "seed"]) == (
        "unknown key 'sead'; did you mean 'seed'?; allowed: study, seed"
    )


def test_many_names_are_counted():
    text = unknown("factor", "zzz", [f"f{i}" for i in range(20)])

    assert text.endswith("f10, f11 and 8 more")


def test_an_empty_list_of_names_is_reported():
    assert unknown("factor", "x", []).endswith("allowed: none: there is no factor here")


def test_some_treatments_stand_for_many():
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
