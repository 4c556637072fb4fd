import threading
import time
from dataclasses import replace

import pytest

from stagebench import store
from stagebench.errors import StoreError
from stagebench.records import EventRecord, TaskRecord

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
