"""Records of other tools: real files of pyperf and hyperfine, and the published logs' columns."""

import json
from pathlib import Path

import pytest
from tests.commands import run_command

from stagebench.compare.foreign import import_records, read_foreign
from stagebench.errors import ConfigError, OptionError, StoreError
from stagebench.tables.io import read_table

HERE = Path(__file__).parent
PYPERF, HYPERFINE = HERE / "pyperf.json", HERE / "hyperfine.json"

RUNTIME = """treatment,executor,start_method,workers,logic,stage,tasks,\
response_time_of_slowest_task_s
t1,thread,,1,native,download,20,46.99
t1,thread,,1,native,cpu_bound,20,46.99
p2-fork,process,fork,2,native,download,20,23.5
"""
MEMORY = """treatment,executor,start_method,workers,retain,peak_total_mb
t1-retain,thread,,1,True,150.5
"""


def test_each_time_of_hyperfine_is_a_run():
    found = read_foreign(HYPERFINE)
    times = json.loads(HYPERFINE.read_text())["results"][0]["times"]
    own = [run for run in found.runs if run["treatment"] == "short"]
    assert [run["makespan_s"] for run in own] == times
    assert [run["block"] for run in own] == [1, 2, 3, 4, 5]
    assert found.environment == {}


def test_each_process_of_pyperf_is_a_run_and_calibration_is_none():
    found = read_foreign(PYPERF)
    runs = json.loads(PYPERF.read_text())["benchmarks"][0]["runs"]
    means = [sum(run["values"]) / len(run["values"]) for run in runs if run.get("values")]
    own = [run["makespan_s"] for run in found.runs if run["treatment"] == "sum"]
    assert own == pytest.approx(means)
    assert len(own) == 4
    assert found.environment["python"].startswith("3.11.7")


def test_a_single_benchmark_of_pyperf_has_its_name_in_the_common_metadata(tmp_path):
    content = json.loads(PYPERF.read_text())
    [first, _] = content["benchmarks"]
    content["metadata"] |= first.pop("metadata")
    content["benchmarks"] = [first]
    (tmp_path / "one.json").write_text(json.dumps(content))
    assert {run["treatment"] for run in read_foreign(tmp_path / "one.json").runs} == {"sum"}


def test_published_logs_have_a_run_of_each_treatment(tmp_path):
    (tmp_path / "runtime.csv").write_text(RUNTIME)
    found = read_foreign(tmp_path / "runtime.csv")
    assert [(run["treatment"], run["makespan_s"]) for run in found.runs] == [
        ("t1", 46.99),
        ("p2-fork", 23.5),
    ]
    assert json.loads(found.runs[1]["factors"])["start_method"] == "fork"
    (tmp_path / "memory.csv").write_text(MEMORY)
    (run,) = read_foreign(tmp_path / "memory.csv").runs
    assert run["tree_peak_bytes"] == 150.5 * 2**20
    assert "makespan_s" not in run


def test_what_is_unknown_is_missing_in_the_tables(tmp_path):
    import_records(HYPERFINE, tmp_path / "out")
    runs = read_table(tmp_path / "out/tables/runs.csv")
    assert runs["tree_peak_bytes"].isna().all()
    assert runs["tasks"].isna().all()
    assert read_table(tmp_path / "out/tables/stages.csv").empty


def test_imported_records_are_compared(tmp_path, capsys):
    slower = json.loads(PYPERF.read_text())
    for run in slower["benchmarks"][0]["runs"]:
        run["values"] = [2 * value for value in run.get("values", [])]
    slower["metadata"]["date"] = "2026-11-30"
    (tmp_path / "slower.json").write_text(json.dumps(slower))
    import_records(PYPERF, tmp_path / "old")
    import_records(tmp_path / "slower.json", tmp_path / "new")
    run_command("compare", tmp_path / "old", tmp_path / "new")
    text = capsys.readouterr().out
    assert "1 slower (such as sum, 2.00 ×)" in text
    assert "µs" in text


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"other": 1}, StoreError, "is not known; allowed: JSON by pyperf"),
        ([1], StoreError, "is not known"),
        ({"results": []}, StoreError, "has no runs"),
        ({"results": [1]}, ConfigError, r"results\[0\]: int; allowed: a mapping"),
        ({"results": [{"command": "x", "times": []}]}, ConfigError, "times: .*allowed: a list"),
        (
            {"results": [{"command": "x", "times": [1, -1]}]},
            ConfigError,
            r"times\[1\]: -1; allowed: seconds above 0",
        ),
        ({"results": [{"command": "", "times": [1]}]}, ConfigError, "command: ''; allowed: a name"),
        (
            {"results": [{"command": "x", "times": [1]}] * 2},
            StoreError,
            "'x' is the name of two benchmarks",
        ),
        ({"benchmarks": [{"runs": []}]}, ConfigError, "metadata.name: None"),
        (
            {"benchmarks": [{"metadata": {"name": "x", "unit": "byte"}, "runs": []}]},
            ConfigError,
            "unit: 'byte'; allowed: 'second'",
        ),
        (
            {"benchmarks": [{"metadata": {"name": "x"}, "runs": [{"values": [True]}]}]},
            ConfigError,
            r"values\[0\]: True",
        ),
    ],
)
def test_bad_content_is_an_error_with_its_place(tmp_path, content, error, message):
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        import_records(tmp_path / "bad.json", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "its columns are not those"),
        (RUNTIME.replace("46.99", "soon"), "line 2, response_time_of_slowest_task_s: 'soon'"),
        (MEMORY.replace(",1,True", ",one,True"), "line 2, workers: 'one'; allowed: a whole number"),
    ],
)
def test_bad_logs_are_an_error_with_their_line(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises((ConfigError, StoreError), match=message):
        import_records(tmp_path / "bad.csv", tmp_path / "out")


def test_a_run_that_failed_is_not_a_time(tmp_path):
    result = {"command": "x", "times": [1.0, 9.0], "exit_codes": [0, 1]}
    (tmp_path / "some.json").write_text(json.dumps({"results": [result]}))
    runs = read_foreign(tmp_path / "some.json").runs
    assert [run["status"] for run in runs] == ["ok", "failed"]


def test_nothing_is_overwritten(tmp_path):
    with pytest.raises(OptionError, match="exists already"):
        import_records(HYPERFINE, tmp_path)
