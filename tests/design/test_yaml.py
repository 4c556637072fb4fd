"""Reading YAML: values, their origins, and what is refused."""

import datetime as dt

import pytest

from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import problem
from stagebench.design.yaml import load_config, make_plain, place_in, raise_problems, repair
from stagebench.errors import ConfigError


def check_read(config):
    """Return the values of a config in which nothing was refused."""
    raise_problems(list(config.problems), config.places)
    return config.data


@pytest.fixture
def load(tmp_path):
    def write_and_load(content):
        path = tmp_path / "study.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return check_read(load_config(path))

    return write_and_load


BAD = {
    "a repeated key": (
        "a: 1\nb: 2\na: 3\n",
        "study.yaml:3: a: .*'a' is written twice, .* line 1; allowed: each key once",
    ),
    "a repeated inner key": ("a:\n  b: {c: 1, c: 1}\n", "yaml:2: a.b.c: .*'c' is written twice"),
    "a tab": ("a:\n\t- 1\n", "yaml:2: not YAML that can be read"),
    "an open bracket": ("a: [1, 2\n", "yaml:2: not YAML that can be read"),
    "an object's tag": (
        "a: !!python/object/apply:os.getcwd []\n",
        "yaml:1: a: the tag .*os.getcwd is not allowed; allowed: values without a tag",
    ),
    "a tag of a scalar": ("a: !!int '3'\n", "yaml:1: a: the tag .*int is not allowed"),
    "an unknown alias": ("a: *b\n", "yaml:1: .*undefined alias"),
    "two documents": ("a: 1\n---\nb: 2\n", "yaml:2: .*another document"),
    "a control character": ("a: \x01\n", "not YAML that can be read"),
    "an impossible date": ("a: 2026-02-30\n", "yaml:1: a: 2026-02-30 is read in two ways"),
    "bytes that are no UTF-8": (b"a: 1\nb: \xff\n", "yaml:2: not UTF-8 text"),
    "an empty file": ("", "the file is empty; allowed: a mapping"),
    "a list": ("- 1\n- 2\n", "the file is a list; allowed: a mapping"),
    "a text": ("study\n", "the file is a single value; allowed: a mapping"),
    "deep nesting": ("[" * 5000, "nested too deeply"),
    "a huge file": ("#" * 1_000_001, "too many; allowed: 1,000,000"),
    "a list as a key": ("? [a]\n: 1\n", "yaml:1: .*cannot be a key; allowed: a text"),
    "a number of thousands of digits": ("a: 1" + "0" * 5000, "yaml:1: a: this number is not"),
    "a value that holds itself": (
        "a: &a [*a]\n",
        "yaml:1: .*nested too deeply; allowed: 20 levels",
    ),
    "a merge of no mapping": ("a:\n  <<: 3\n", "yaml:2: .*3 cannot be merged; allowed: a mapping"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_read_is_reported_with_its_reason(load, content, message):
    with pytest.raises(ConfigError, match=message):
        load(content)


def test_a_missing_file_is_reported_with_its_path(tmp_path):
    path = tmp_path / "none.yaml"

    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(path)


def test_a_folder_is_reported_with_its_path(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_keys_are_text_so_that_1_and_true_are_two(load):
    assert load("{1: a, true: b, null: c, 0.5: d}") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "0.5": "d",
    }


def test_anchors_and_merge_keys_share_parts(load):
    assert load("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")["b"] == {"x": 1, "y": 3}


def test_a_byte_order_mark_is_no_part_of_a_key(load):
    assert load("\ufeffa: 1\n") == {"a": 1}


# The changes, and the one problem that is reported.
BAD_of_plain = {
    "endless time": ({"time_limit_s": float("inf")}, "time_limit_s: this number is not allowed"),
    "no number": ({"time_limit_s": float("nan")}, "time_limit_s: this number is not allowed"),
    "a date": (
        {"study": dt.date(2026, 1, 1)},
        "study: a value of type date (2026-01-01) is not allowed; quote it if a text is meant",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_of_plain.values(), ids=BAD_of_plain)
def test_what_json_cannot_hold_is_reported_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "this number is not allowed; allowed: numbers within 64 bits"),
        (1e300, "this number is not allowed; allowed: numbers within 64 bits"),
        ({"a"}, "a value of type set"),
        (b"x", "a value of type bytes"),
        ("a\0b", "'a\\x00b' is not allowed; allowed: text without NUL"),
        ("\ud800", "'\\ud800' is not allowed; allowed: text without NUL"),
    ],
)
def test_a_value_that_no_specification_can_hold_is_refused(value, message):
    plain, (problem,) = make_plain({"a": [value]})

    assert str(problem).startswith(f"a[0]: {message}")
    assert plain["a"][0] is UNKNOWN


def test_keys_become_text_and_a_key_given_twice_is_reported():
    plain, problems = make_plain({1: "a", "1": "c"})

    assert plain == {"1": "c"}
    assert [str(problem) for problem in problems] == ["1: written twice; allowed: each key once"]


def test_repairing_replaces_wrong_values_by_unknown_ones():
    config = {"a": [1, {"b": 2}], "c": 3}

    repaired = repair(config, [problem(("a", 1, "b"), ""), problem(("d",), "")])

    assert (repaired["a"][0], repaired["c"]) == (1, 3)
    assert repaired["a"][1]["b"] is UNKNOWN
    assert repaired["d"] is UNKNOWN


def test_a_problem_inside_a_repaired_value_is_skipped():
    repaired = repair({"a": {"b": 1}}, [problem(("a",), ""), problem(("a", "b"), "")])

    assert repaired["a"] is UNKNOWN


def test_places_sort_as_the_config_has_them():
    config = {"z": {"y": 1, "a": [1, 2]}, "b": 1}
    paths = [("b",), ("z", "a", 1), ("z", "missing"), ("z", "y"), ("z", "a"), ("z",)]

    ordered = sorted(paths, key=lambda path: place_in(config, path))

    assert ordered == [
        ("z",),
        ("z", "y"),
        ("z", "a"),
        ("z", "a", 1),
        ("z", "missing"),
        ("b",),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "No", "ON", "off", "010", "-007", "0o10", "0b11", "1:30", "1:30.5", "1_000"),
        *("1e3", "1e-05", "1.5e3", "2026-01-01", "0x1_0"),
    ],
)
def test_what_two_versions_of_yaml_read_differently_is_refused_with_its_line(load, text):
    with pytest.raises(ConfigError) as caught:
        load(f"b: 1\na: {text}\n")

    (problem,) = caught.value.problems
    path = "study.yaml:2: a"
    assert (
        f"{path}: {text} is read in two ways, by YAML 1.1 and 1.2; allowed: a text in quotes"
        in (problem)
    )
    assert load(f"a: '{text}'\n") == {"a": text}


def test_a_key_that_is_read_in_two_ways_is_refused(load):
    with pytest.raises(ConfigError, match=r"yaml:1: on: on is read in two ways"):
        load("on: 1\n")


def test_values_are_read_as_both_versions_of_yaml_read_them(load):
    text = "[0, -3, 0.5, 1.0e+3, .5, 0x1F, true, False, null, ~, y, n, 5 MiB, '1', 1.2.3, 90 s]"

    assert load(f"a: {text}") == {
        "a": [
            *(0, -3, 0.5, 1000.0, 0.5, 31, True, False, None, None),
            *("y", "n", "5 MiB", "1", "1.2.3", "90 s"),
        ]
    }


def test_everything_that_is_refused_is_reported_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load("a: 010\nb: yes\nc: 1\nc: 2\n")

    assert [text.split(": ")[0][-6:] for text in caught.value.problems] == [
        "yaml:1",
        "yaml:2",
        "yaml:4",
    ]


def test_an_anchor_may_be_used_again(load):
    assert load("a: &x 1\nb: &x 2\nc: *x\n") == {"a": 1, "b": 2, "c": 2}


def test_every_value_has_the_line_that_it_is_written_in(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a:\n  b: [1,\n      2]\n  c: &c\n    d: 1\ne: *c\n")

    places = {path: place.line for path, place in load_config(path).places.items()}

    assert places == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 2,
        ("a", "b", 1): 3,
        ("a", "c"): 4,
        ("a", "c", "d"): 5,
        ("e",): 6,
        ("e", "d"): 5,
    }


ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)
MERGES = "m0: &m0 {k: 1}\n" + "".join(
    f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 30)
)


@pytest.mark.parametrize("content", [ALIASES, MERGES], ids=["aliases", "merges"])
def test_a_few_lines_that_stand_for_billions_of_values_are_refused(load, content):
    with pytest.raises(ConfigError, match="too large; allowed: 100,000 values in all"):
        load(content)


def test_a_list_that_holds_itself_is_nested_too_deeply(load):
    with pytest.raises(ConfigError, match=r"yaml:1: .*nested too deeply; allowed: 20 levels"):
        load("a: &a [*a]\n")
