import pytest

from stagebench.design.yaml_file import load_config
from stagebench.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    def write_and_load(content):
        path = tmp_path / "study.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_config(path)

    return write_and_load


BAD = {
    "a repeated key": (
        "a: 1\nb: 2\na: 3\n",
        "study.yaml, line 3: .*'a' is written twice, .* line 1",
    ),
    "a repeated inner key": ("a:\n  b: {c: 1, c: 1}\n", "line 2: .*'c' is written twice"),
    "a tab": ("a:\n\t- 1\n", "line 2: not YAML that can be read"),
    "an open bracket": ("a: [1, 2\n", "line 2: not YAML that can be read"),
    "an object's tag": ("a: !!python/object/apply:os.getcwd []\n", "line 1: .*could not determine"),
    "an unknown alias": ("a: *b\n", "line 1: .*undefined alias"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: .*another document"),
    "a control character": ("a: \x01\n", "not YAML that can be read"),
    "an impossible date": ("a: 2026-02-30\n", "a value cannot be read"),
    "bytes that are no UTF-8": (b"a: 1\nb: \xff\n", "line 2: not UTF-8 text"),
    "an empty file": ("", "the file is empty; allowed: a mapping"),
    "a list": ("- 1\n- 2\n", "the file is a list; allowed: a mapping"),
    "a text": ("study\n", "the file is a str; allowed: a mapping"),
    "deep nesting": ("[" * 5000, "nested too deeply"),
    "a huge file": ("#" * 1_000_001, "too many; allowed: 1,000,000"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_read_is_told_with_its_reason(load, content, message):
    with pytest.raises(ConfigError, match=message):
        load(content)


def test_a_missing_file_is_told_with_its_path(tmp_path):
    path = tmp_path / "none.yaml"

    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(path)


def test_a_folder_is_told_with_its_path(tmp_path):
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
