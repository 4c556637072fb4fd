"""Tables from kept summaries are those from the records, whatever happened to either."""

import shutil
import zlib
from dataclasses import replace

import pytest
from tests.known_runs import KnownRun, S, write_run, write_study

from stagebench.analyse.study import NOTHING_ADDED, summarise_part, summarise_study
from stagebench.analyse.summaries import SUMMARIES_FOLDER
from stagebench.analyse.traces import list_requests
from stagebench.errors import StoreError
from stagebench.replication.emulation import EMULATION
from stagebench.tables.io import write_tables

CODE = "code"


def known(treatment, replicate, **others):
    start = 100 * replicate + (50 if treatment == "t1" else 0)
    baseline = treatment == "t1"
    return KnownRun(
        treatment=treatment, replicate=replicate, start=start, baseline=baseline, **others
    )


@pytest.fixture
def study(tmp_path):
    """Two treatments in three blocks, of which one run failed."""
    runs = [known(name, block) for block in (1, 2, 3) for name in ("t1", "p1-fork")]
    runs[3] = replace(runs[3], status="tasks_failed", detail="boom")
    return write_study(tmp_path, runs)


def write(study, folder, code, added=EMULATION):
    plan, raw = study
    write_tables(summarise_study(plan, raw, 1, added, code), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kept_files(study):
    return sorted(study[1].with_name(SUMMARIES_FOLDER).rglob("r*"))


def spoil(study, changed):
    """Put the content of another summary, under its own key, in place of each one."""
    for path in kept_files(study):
        text = zlib.decompress(path.read_bytes())
        assert changed[0] in text
        path.write_bytes(zlib.compress(text.replace(*changed)))


def test_tables_from_summaries_are_those_from_records_byte_for_byte(study, tmp_path):
    raw = write(study, tmp_path / "raw-tables", "")
    assert not kept_files(study)
    assert write(study, tmp_path / "first", CODE) == raw
    assert len(kept_files(study)) == 6
    assert write(study, tmp_path / "again", CODE) == raw


def test_a_run_is_not_summarised_again_while_nothing_changes(study, tmp_path):
    before = write(study, tmp_path / "before", CODE)
    spoil(study, (b'"tasks_ok": 2', b'"tasks_ok": 7'))
    assert write(study, tmp_path / "after", CODE) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(zlib.compress(b"[]")),
        lambda path: path.write_bytes(zlib.compress(b'["other", {}, {}]')),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "torn", "without a key", "of another key", "removed", "a folder"],
)
def test_a_summary_that_is_no_summary_is_made_from_the_records(study, tmp_path, change):
    before = write(study, tmp_path / "before", CODE)
    for path in kept_files(study):
        change(path)
    assert write(study, tmp_path / "after", CODE) == before


def test_other_code_summarises_anew(study, tmp_path):
    before = write(study, tmp_path / "before", CODE)
    spoil(study, (b'"tasks_ok": 2', b'"tasks_ok": 7'))
    assert write(study, tmp_path / "after", "other code") == before


def test_a_run_that_is_made_again_is_summarised_anew(study, tmp_path):
    plan, raw = study
    write(study, tmp_path / "before", CODE)
    shutil.rmtree(raw / "pipe/p1-fork/r1")
    entry = next(run for run in plan["runs"] if run["treatment"] == "p1-fork")
    slower = known("p1-fork", 1).stretched(3)
    write_run(raw, replace(slower, run={"cpu_user_s": 77.0}), entry)
    again = write(study, tmp_path / "again", CODE)
    assert b",77" in again["runs.csv"]
    assert again == write(study, tmp_path / "raw-tables", "")


def test_another_place_in_the_plan_is_a_summary_of_its_own(study, tmp_path):
    plan, _ = study
    write(study, tmp_path / "before", CODE)
    for run in plan["runs"]:
        run["position"] += 10
    assert write(study, tmp_path / "after", CODE) == write(study, tmp_path / "raw-tables", "")


def test_a_record_that_changed_or_is_missing_is_an_error_though_its_run_has_a_summary(
    study, tmp_path
):
    write(study, tmp_path / "before", CODE)
    tasks = study[1] / "pipe/p1-fork/r1/tasks.csv"
    tasks.write_text(tasks.read_text().replace(str(10 * S), "x"))
    with pytest.raises(StoreError, match=r"tasks\.csv"):
        write(study, tmp_path / "after", CODE)
    shutil.rmtree(tasks.parent)
    with pytest.raises(StoreError, match="has not been measured"):
        write(study, tmp_path / "after", CODE)


def test_results_that_cannot_be_written_to_are_analysed(study, tmp_path):
    study[1].with_name(SUMMARIES_FOLDER).write_text("in the way")
    kept = write(study, tmp_path / "kept", CODE)
    assert kept == write(study, tmp_path / "raw-tables", "")


def test_a_look_and_the_analysis_share_summaries(study, tmp_path):
    plan, raw = study
    summarise_part(list_requests(plan), raw, EMULATION, CODE)
    spoil(study, (b'"tasks_ok": 2', b'"tasks_ok": 7'))
    assert write(study, tmp_path / "kept", CODE) != write(study, tmp_path / "raw-tables", "")
    assert summarise_part(list_requests(plan), raw, NOTHING_ADDED).runs
