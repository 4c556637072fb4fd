import pytest

from stagebench.design.placeholders import find_placeholders, is_open, substitute

FACTORS = {"workers": 2, "retain": True, "cpus": [0, 1], "unset": None, "logic": "numpy"}


@pytest.mark.parametrize("name", FACTORS)
def test_a_whole_placeholder_takes_the_level_with_its_type(name):
    filled, problems = substitute({"key": f"{{{name}}}"}, FACTORS, ())

    assert (filled["key"], problems) == (FACTORS[name], [])
    assert type(filled["key"]) is type(FACTORS[name])


def test_a_level_inside_a_longer_text_is_written_out():
    assert substitute("sum_{logic}-{workers}-{retain}", FACTORS, ())[0] == "sum_numpy-2-true"


def test_a_key_whose_factor_does_not_apply_is_left_out():
    template = {"a": "{start_method}", "b": ["{start_method}", "x"], "c": 1}

    assert substitute(template, FACTORS, ())[0] == {"b": ["x"], "c": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x-{start_method}", "factor 'start_method' does not apply, so the text has a gap"),
        ("x-{unset}", "the level null of 'unset' cannot be a part of a longer text"),
        ("x-{cpus}", "the level [0, 1] of 'cpus' cannot be a part of a longer text"),
    ],
)
def test_what_cannot_stand_inside_a_text_is_told_with_its_place(text, reason):
    _, problems = substitute({"a": [text]}, FACTORS, ("top",))

    assert [str(problem) for problem in problems] == [f'top.a[0]: "{text}": {reason}']


def test_a_level_is_never_searched_for_placeholders():
    filled, _ = substitute("{a}{b}", {"a": "{b}", "b": "x"}, ())

    assert filled == "{b}x"


def test_a_level_is_copied_so_that_treatments_share_nothing():
    filled, _ = substitute("{cpus}", FACTORS, ())
    filled.append(9)

    assert FACTORS["cpus"] == [0, 1]


def test_keys_are_not_substituted():
    assert substitute({"{logic}": 1}, FACTORS, ())[0] == {"{logic}": 1}


def test_every_placeholder_is_found_with_its_place():
    template = {"a": "{x}", "b": ["y", "{z}-{x}"], "c": 3}

    assert list(find_placeholders(template, ("top",))) == [
        (("top", "a"), "x"),
        (("top", "b", 1), "z"),
        (("top", "b", 1), "x"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"), [("{a}", True), ("x{a}", True), ("{", False), (3, False)]
)
def test_only_texts_with_a_placeholder_are_open(value, expected):
    assert is_open(value) is expected
