import threading
import time
from dataclasses import fields, replace

import pytest

from stagebench import store
from stagebench.errors import StoreError
from stagebench.records import EventRecord, ProcessRecord, TaskRecord

TASK = TaskRecord(
    task=3,
    stage="work",
    attempt=2,
    status="failed",
    due_ns=0,
    submitted_ns=1,
    started_ns=2,
    finished_ns=3,
    received_ns=4,
    cpu_ns=0,
    pid=10,
    thread_id=11,
    error='Traceback, "quoted"\n  line\r\\n end\\',
)
UNSERVED = replace(TASK, status="skipped", started_ns=None, pid=None, error=None)


def test_records_are_read_as_they_were_written_with_missing_values(tmp_path):
    path = tmp_path / "tasks.csv"
    store.write_records(path, TaskRecord, [TASK, UNSERVED])
    assert store.read_records(path, TaskRecord) == [TASK, UNSERVED]


@pytest.mark.parametrize("text", ["word " * 50_000, '"' * 200_000, "\r\n\\n\x85\u2028\0," * 30_000])
def test_a_text_of_any_length_is_read_as_it_was_written(tmp_path, text):
    path = tmp_path / "tasks.csv"
    store.write_records(path, TaskRecord, [replace(TASK, stage=text)])
    (found,) = store.read_records(path, TaskRecord)
    assert found.stage == text


def test_a_long_field_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "tasks.csv"
    record = replace(TASK, stage="x" * 200_000)
    store.write_records(path, TaskRecord, [record])
    assert store.read_records(path, TaskRecord) == [record]


def test_of_a_long_error_the_beginning_and_the_end_are_written(tmp_path):
    path = tmp_path / "tasks.csv"
    store.write_records(path, TaskRecord, [replace(TASK, error="a" * 6000 + "b" * 6000)])
    (record,) = store.read_records(path, TaskRecord)
    assert record.error == "a" * 5000 + " [... 2,000 characters left out ...] " + "b" * 5000


@pytest.mark.parametrize("text", ["\ud800", "a\udcff\\b", "\x00\x85\u2028\x0b"])
def test_a_text_that_is_no_unicode_can_be_written_and_read(tmp_path, text):
    path = tmp_path / "tasks.csv"
    store.write_records(path, TaskRecord, [replace(TASK, error=text), TASK])
    records = store.read_records(path, TaskRecord)
    assert records[0].error == text.encode("utf-8", "backslashreplace").decode()
    assert records[1] == TASK


def test_records_can_be_read_one_at_a_time(tmp_path):
    path = tmp_path / "tasks.csv"
    assert list(store.stream_records(path, TaskRecord)) == []
    store.write_records(path, TaskRecord, [TASK] * 2 * store.LINES_AT_ONCE)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(list(store.stream_records(path, TaskRecord))) == 2 * store.LINES_AT_ONCE - 1


def spoil(path, line, edit):
    """Write two records, and the second or both with an edit of the bytes of its line."""
    store.write_records(path, TaskRecord, [TASK, UNSERVED])
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = edit(lines[line - 1])
    path.write_bytes(b"\n".join(lines))


def put(column, text):
    """Give an edit of a line that has no quotation marks before the column."""
    place = [field.name for field in fields(TaskRecord)].index(column)

    def edit(line):
        values = line.split(b",")
        values[place] = text.encode()
        return b",".join(values)

    return edit


WRONG = {
    "a value too few": (lambda line: line.rpartition(b",")[0], "line 3: 12 values; expected 13"),
    "a value too many": (lambda line: line + b",1", "line 3: 14 values; expected 13"),
    "an empty line": (lambda _: b"", "line 3: 0 values; expected 13"),
    "a NUL": (put("task", "\x00"), r"line 3, column 'task': '\\x00'; expected a whole number"),
    "only NULs": (lambda line: bytes(len(line)), "line 3: 1 values; expected 13"),
    "a text": (put("task", "three"), "line 3, column 'task': 'three'; expected a whole number"),
    "nothing": (put("task", ""), "line 3, column 'task': ''; expected a whole number from 0"),
    "a fraction": (put("due_ns", "1.5"), "column 'due_ns': '1.5'; expected .* or nothing"),
    "a negative time": (
        put("due_ns", "-1"),
        "column 'due_ns': '-1'; expected a whole number from 0",
    ),
    "a blank": (put("due_ns", " 1"), "column 'due_ns': ' 1'; expected"),
    "an underscore": (put("due_ns", "1_0"), "column 'due_ns': '1_0'; expected"),
    "other digits": (put("due_ns", "\u0663"), "column 'due_ns': '\u0663'; expected"),
    "a long number": (put("due_ns", "9" * 5000), "column 'due_ns': '9+ .*; expected .* 18 digits"),
    "a status": (put("status", "great"), "column 'status': 'great'; expected one of ok, failed"),
    "an early end": (
        put("received_ns", "0"),
        "line 3, column 'received_ns': 0; expected at least 3",
    ),
    "an open quotation": (put("stage", '"work'), "line 3: .*; expected one line of CSV in UTF-8"),
    "no UTF-8": (
        lambda line: line.replace(b"work", b"\xff"),
        "line 3: .*; expected one line of CSV",
    ),
}


@pytest.mark.parametrize(("edit", "words"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("cut_off", [False, True])
def test_a_wrong_value_is_an_error_with_its_place_and_what_is_expected(
    tmp_path, edit, words, cut_off
):
    path = tmp_path / "tasks.csv"
    spoil(path, 3, edit)
    with pytest.raises(StoreError, match=rf"tasks\.csv, {words}" if "line" in words else words):
        store.read_records(path, TaskRecord, cut_off=cut_off)


def test_the_line_of_a_wrong_value_is_known_in_a_long_file(tmp_path):
    path = tmp_path / "tasks.csv"
    number = store.LINES_AT_ONCE + 100
    store.write_records(path, TaskRecord, [TASK] * number)
    lines = path.read_bytes().split(b"\n")
    lines[number] = lines[number].replace(b"work", b"\xff")
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(StoreError, match=f"line {number + 1}: 'utf-8' codec"):
        store.read_records(path, TaskRecord)


def test_an_exit_status_may_be_negative_and_no_other_number(tmp_path):
    path = tmp_path / "processes.csv"
    record = ProcessRecord(
        **dict.fromkeys(("parent_pid", "birth", "high_water_bytes", "max_rss_bytes", "execs")),
        **dict.fromkeys(("pid", "since_ns", "started_ns", "ended_ns", "samples"), 1),
        role="main",
        command="",
        exit_status=-9,
    )
    store.write_records(path, ProcessRecord, [record])
    assert store.read_records(path, ProcessRecord) == [record]
    for text in ("-", "--9"):
        path.write_text(path.read_text().replace(",-9,", f",{text},"))
        with pytest.raises(StoreError, match=f"column 'exit_status': '{text}'; expected a whole"):
            store.read_records(path, ProcessRecord)
        path.write_text(path.read_text().replace(f",{text},", ",-9,"))


def test_a_second_record_of_the_same_thing_is_an_error(tmp_path):
    path = tmp_path / "tasks.csv"
    store.check_unique(path, [])
    store.check_unique(path, [TASK, replace(TASK, attempt=3)])
    with pytest.raises(StoreError, match=r"tasks\.csv, line 4: task, stage, attempt as in line 2"):
        store.check_unique(path, [TASK, replace(TASK, task=4), TASK])


@pytest.mark.parametrize("data", [b"\xff", b"[" * 100_000, b"1" * 5000])
def test_a_file_that_is_no_json_is_an_error_that_names_it(tmp_path, data):
    path = tmp_path / "run.json"
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"run\.json: invalid JSON"):
        store.read_json(path)


def test_every_record_is_one_line_and_on_disk_when_written(tmp_path):
    path = tmp_path / "tasks.csv"
    with store.RecordWriter(path, TaskRecord) as writer:
        writer.write(TASK)
        assert path.read_text().count("\n") == 2
        assert store.read_records(path, TaskRecord) == [TASK]


def test_a_burst_of_records_is_on_disk_soon_without_another_one(tmp_path):
    path = tmp_path / "tasks.csv"
    with store.RecordWriter(path, TaskRecord, in_bursts=True) as writer:
        for _ in range(50):
            writer.write(TASK)
        for _ in range(1000):
            if len(store.read_records(path, TaskRecord)) == 50:
                return
            time.sleep(0.01)
        pytest.fail("records of a burst were not written through")


def test_records_of_a_burst_are_whole_when_the_file_is_closed(tmp_path):
    path = tmp_path / "tasks.csv"
    with store.RecordWriter(path, TaskRecord, in_bursts=True) as writer:
        for _ in range(50):
            writer.write(TASK)
    assert store.read_records(path, TaskRecord) == [TASK] * 50


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_off_is_dropped(tmp_path, cut):
    path = tmp_path / "tasks.csv"
    store.write_records(path, TaskRecord, [TASK, UNSERVED])
    path.write_bytes(path.read_bytes()[:-cut])
    assert store.read_records(path, TaskRecord) == [TASK]


def test_writers_in_several_threads_do_not_mix_lines(tmp_path):
    path = tmp_path / "tasks.csv"
    with store.RecordWriter(path, TaskRecord) as writer:
        threads = [
            threading.Thread(target=lambda: [writer.write(TASK) for _ in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert store.read_records(path, TaskRecord) == [TASK] * 800


def test_the_error_for_a_missing_file_or_wrong_columns_names_the_file(tmp_path):
    path = tmp_path / "tasks.csv"
    with pytest.raises(StoreError, match=r"tasks\.csv: cannot be read"):
        store.read_records(path, TaskRecord)
    store.write_records(path, TaskRecord, [TASK])
    with pytest.raises(StoreError, match=r"tasks\.csv: columns are .*expected \['event'"):
        store.read_records(path, EventRecord)


@pytest.mark.parametrize("text", [None, "", "stage,task"])
def test_what_was_cut_off_before_its_first_line_has_no_records(tmp_path, text):
    path = tmp_path / "tasks.csv"
    if text is not None:
        path.write_text(text)
    assert store.read_records(path, TaskRecord, cut_off=True) == []


def test_what_was_cut_off_later_is_read_up_to_its_last_whole_line(tmp_path):
    path = tmp_path / "tasks.csv"
    store.write_records(path, TaskRecord, [TASK, TASK])
    path.write_text(path.read_text()[:-3])
    assert store.read_records(path, TaskRecord, cut_off=True) == [TASK]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "invalid JSON"),
        ("[]", "schema_version is None"),
        ('{"schema_version": 999}', "999.*this program reads"),
    ],
)
def test_a_run_that_is_cut_off_or_of_another_version_is_refused(tmp_path, text, words):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StoreError, match=words):
        store.read_run(tmp_path)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "r1"

    def fill(fail):
        with store.atomic_folder(target) as folder:
            (folder / "new").write_text("x")
            assert not (target / "new").exists()
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(fail=True)
    assert list(target.parent.iterdir()) == []
    fill(fail=False)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_that_is_replaced_keeps_nothing_of_the_old_one(tmp_path):
    target = tmp_path / "r1"
    target.mkdir()
    (target / "old").write_text("x")
    with store.atomic_folder(target) as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "plan.json"
    store.write_json(path, {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        store.write_text(path, "\ud800")
    assert store.read_json(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_equal_values_have_one_canonical_text():
    assert store.canonical_json({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    with pytest.raises(ValueError, match="Out of range"):
        store.canonical_json(float("nan"))
