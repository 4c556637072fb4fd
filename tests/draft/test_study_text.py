"""Values of a drafted study mean the same to every reader."""

import csv
import io

import pytest
import yaml

from stagebench.design.yaml import load_file
from stagebench.draft.study_text import CELLS, format_tasks, format_value, has_room
from stagebench.errors import StagebenchError
from stagebench.task_list import read_cell

VALUES = [
    *("", "a", "yes", "1e3", "010", "a: b", "# no", "'", '"', "ä ☃ 😀", "line\nbreak", "\x7f\x85"),
    *(0, -7, 2**62, 0.5, 1e16, 1e-07, -2.5e-22, True, False, None, [], {}),
    *([1, "a", None], {"a: b": [1.0, {"c": "d"}]}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_read_as_what_it_was(tmp_path, value):
    text = f"study: {format_value(value)}\n"
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    assert repr(yaml.safe_load(text)["study"]) == repr(value)
    assert repr(load_file(tmp_path / "study.yaml").data) == repr({"study": value})


@pytest.mark.parametrize("value", [value for value in VALUES if value not in ("", "1e3", "010")])
def test_a_task_is_read_as_what_it_was(value):
    header, row = csv.reader(io.StringIO(format_tasks(["a", "b"], [value])))
    assert header == ["a.item", "b.item"]
    assert [repr(read_cell(text, CELLS)) for text in row] == 2 * [repr(value)]


@pytest.mark.parametrize("value", ["", "12", "1e3", "true", "null", "[1]"])
def test_a_text_that_a_file_would_change_is_refused(value):
    with pytest.raises(StagebenchError, match="it would be read as another value"):
        format_tasks(["a"], [value])


def test_few_short_tasks_without_braces_have_room_in_a_study():
    assert has_room(["a", 1, [2]])
    assert not has_room(["{a}"])
    assert not has_room([{"a": ["}"]}])
    assert not has_room(list(range(50)))
    assert not has_room(["long" * 1000])
