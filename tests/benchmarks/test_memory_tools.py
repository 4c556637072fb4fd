"""The output of each tool is read as the tool means it."""

import json

import pytest
from benchmarks.memory_tools import (
    MIB,
    TOOLS,
    read_duct,
    read_mprof,
    read_mprof_each,
    read_psrecord,
    read_snakemake,
    read_stagebench,
    read_tadween,
)
from benchmarks.peer_environment import REQUIREMENTS, read_versions


def test_a_trace_has_two_bounds_and_all_children(tmp_path):
    (tmp_path / "trace").mkdir()
    bracket = {"lower_bytes": 5, "lower_s": 0.1, "upper_bytes": 9}
    summary = {"peak": {"tree": bracket}, "processes": {"created": 4}}
    (tmp_path / "trace" / "summary.json").write_text(json.dumps(summary))
    assert read_stagebench(tmp_path) == (5, 9, 3)


def test_psrecord_has_the_largest_sum(tmp_path):
    text = "elapsed_time,nproc,cpu,mem_real,mem_virtual\n0.0,1,0.0,2.5,9\n0.1,3,0.0,4.5,9\n"
    (tmp_path / "psrecord.csv").write_text(text)
    assert read_psrecord(tmp_path) == (4.5 * MIB, None, None)


def test_mprof_has_the_largest_sum_and_its_children_if_asked(tmp_path):
    text = "CMDLINE x\nMEM 7.5 1.0\nCHLD 12 1.0 3.0\nCHLD 12 1.0 3.1\nCHLD 13 1.0 3\nCHLD 0 0.0 3\n"
    (tmp_path / "mprof.dat").write_text(text)
    assert read_mprof(tmp_path) == (7.5 * MIB, None, None)
    assert read_mprof_each(tmp_path) == (7.5 * MIB, None, 2)


def test_duct_has_its_peak_and_every_process_it_recorded(tmp_path):
    (tmp_path / "duct-info.json").write_text('{"execution_summary": {"peak_rss": 77}}')
    lines = [{"processes": {"5": {}, "6": {}}}, {"processes": {"5": {}, "7": {}}}]
    (tmp_path / "duct-usage.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert read_duct(tmp_path) == (77, None, 2)


def test_snakemake_prints_its_peak_last_or_none(tmp_path):
    said = tmp_path / "said.txt"
    said.write_text('a word\n{"max_pss": 3.0, "max_rss": 4.0}\n')
    assert read_snakemake(tmp_path).peak_bytes == 3 * MIB
    said.write_text('{"max_pss": null, "max_rss": null}\n')
    assert read_snakemake(tmp_path).peak_bytes is None


def test_the_collectors_children_stay_until_they_are_sampled_again(tmp_path):
    text = "0|0.01|5.0\n1|0.01|3.0|1\n0|0.02|6.0\n1|0.03|0.0|0\n0|0.04|7.0\n"
    (tmp_path / "tadween.log").write_text(text)
    assert read_tadween(tmp_path) == (9 * MIB, None, None)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_command_ends_with_the_program_and_every_package_has_a_version(tool, tmp_path):
    for interval_s in (None, 0.01):
        command = tool.command(tmp_path, tmp_path, interval_s, ["python", "x y"])
        assert " ".join(command).count("x y") == 1
    assert set(tool.packages) <= read_versions(REQUIREMENTS.read_text()).keys()


def test_requirements_are_exact_and_name_no_place():
    versions = read_versions(REQUIREMENTS.read_text())
    assert all(version and ":" not in version for version in versions.values())
