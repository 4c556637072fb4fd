import pytest

from stagebench.design.problems import LONGEST_SHOWN, dotted, problem, show, some, unknown


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
