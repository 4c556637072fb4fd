import pytest

from stagebench.errors import WorkflowError
from stagebench.task_list import (
    EMPTY,
    UNREADABLE,
    TaskRows,
    count_tasks,
    hash_bytes,
    open_tasks,
    read_cell,
    read_lines,
)


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("5", ("int",), 5),
        ("-5", ("int",), -5),
        ("5", ("float",), 5.0),
        ("5", ("int", "float"), 5),
        ("5.5", ("int", "float"), 5.5),
        ("1e3", ("float",), 1000.0),
        ("true", ("bool",), True),
        ("false", ("bool", "text"), False),
        ("null", ("null", "text"), None),
        ("null", ("text",), "null"),
        ("[1, 2]", ("json",), [1, 2]),
        ('{"a": 1}', ("json", "text"), {"a": 1}),
        ("[1", ("json", "text"), "[1"),
        (" x", ("text",), " x"),
    ],
)
def test_a_cell_is_the_first_kind_that_its_text_fits(text, kinds, value):
    found = read_cell(text, kinds)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("5.0", "int"), ("1_000", "int"), (" 5", "int"), ("9223372036854775808", "int")),
        *(("nan", "float"), ("inf", "float"), ("1e400", "float"), ("1_0.5", "float"), ("", "x")),
        *(("True", "bool"), ("1", "bool"), ("None", "null"), ("5", "json"), ("[NaN]", "json")),
        ("[" * 100_000, "json"),
    ],
)
def test_a_cell_that_does_not_fit_its_kind_is_unreadable(text, kind):
    assert read_cell(text, (kind,)) is (UNREADABLE if text else EMPTY)


def test_a_task_has_no_value_for_an_empty_cell():
    tasks = TaskRows([("a", "x"), ("b", "y"), ("a", "z")], [(1, EMPTY, None), (EMPTY,) * 3])

    assert list(tasks) == [{"a": {"x": 1, "z": None}}, {}]
    assert tasks[-1:] == [{}]
    assert len(tasks) == 2


@pytest.mark.parametrize(
    ("tasks", "number"), [(3, 3), ([{}, {}], 2), ({"file": "x.csv", "number": 7}, 7)]
)
def test_tasks_are_counted_in_every_form(tasks, number):
    assert count_tasks(tasks) == number


@pytest.fixture
def given(tmp_path):
    """A file of two tasks, and its description in a specification."""
    data = '\ufeffwork.size,work.label\n5,\n,"a, b"\n'.encode()
    (tmp_path / "tasks.csv").write_bytes(data)
    columns = {"work.size": ["float"], "work.label": ["null", "text"]}
    return {"file": "tasks.csv", "sha256": hash_bytes(data), "number": 2, "columns": columns}


def test_a_file_is_read_by_the_kinds_of_its_columns(given, tmp_path):
    tasks = open_tasks(given, tmp_path)

    assert list(tasks) == [{"work": {"size": 5.0}}, {"work": {"label": "a, b"}}]


def test_a_file_that_was_edited_is_refused(given, tmp_path):
    with (tmp_path / "tasks.csv").open("a") as file:
        file.write("6,\n")

    with pytest.raises(WorkflowError, match=r"tasks\.csv: edited after the study was started"):
        open_tasks(given, tmp_path)


def test_the_error_for_a_missing_file_names_it(given, tmp_path):
    with pytest.raises(WorkflowError, match=r"none/tasks\.csv: cannot be read: No such file"):
        open_tasks(given, tmp_path / "none")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a.b\n\xff\n", "line 2: not UTF-8 text"),
        (b'a.b\n"x\n', "line 2: invalid CSV: unexpected end of data"),
        (b'a.b\nx\n"y"z\n', "line 3: invalid CSV"),
    ],
)
def test_the_error_for_invalid_csv_names_the_line(data, text):
    with pytest.raises(WorkflowError, match=text):
        list(read_lines(data))
