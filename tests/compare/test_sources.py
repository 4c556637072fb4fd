"""What `compare` reads: studies, their tables, archives, some joined; all else is refused."""

import gzip
import shutil

import pytest

from stagebench.compare.archive import pack_study
from stagebench.compare.sources import read_sources
from stagebench.errors import OptionError, StoreError
from stagebench.tables.io import read_tables

RUNS = {"t1": [1.0, 1.1, 1.2]}


def test_a_folder_its_tables_and_its_archive_are_the_same(study, tmp_path):
    packed = pack_study(study, tmp_path / "known.zip").file
    found = read_sources([str(study), str(study / "tables"), str(packed)])
    expected = read_tables(study / "tables")
    for one in found:
        assert one.runs.equals(found[0].runs)
        assert one.runs.drop(columns="campaign").equals(expected["runs"].drop(columns="campaign"))
        assert one.stages.equals(expected["stages"])
        assert one.environment.equals(expected["environment"])


def test_a_table_of_another_version_is_read_as_far_as_it_is_known(write_side):
    folder = write_side(RUNS)
    path = folder / "tables/runs.csv"
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]  # without `noisy`
    path.write_text("\n".join([f"{lines[0]},later", *(f"{line},1" for line in lines[1:])]) + "\n")
    (found,) = read_sources([str(folder)])
    assert (found.runs["noisy"] == "").all()
    assert "later" not in found.runs.columns
    assert found.runs["makespan_s"].tolist() == RUNS["t1"]


def test_names_are_as_much_of_the_paths_as_tells_them_apart(write_side, tmp_path):
    for number, name in enumerate(("old", "new")):
        write_side(RUNS).rename(tmp_path / f"s{number}")
        (tmp_path / name).mkdir()
        (tmp_path / f"s{number}").rename(tmp_path / name / "study")
    paths = [str(tmp_path / name / "study") for name in ("old", "new")]
    assert [one.name for one in read_sources(paths)] == ["old/study", "new/study"]
    named = read_sources([f"before={paths[0]}", paths[1]])
    assert [one.name for one in named] == ["before", "study"]


def test_studies_are_joined_by_commas(write_side):
    first, second = write_side(RUNS), write_side(RUNS)
    (found,) = read_sources([f"both={first},{second}"])
    assert len(found.runs) == 6
    assert len(found.campaigns) == 2


def test_two_machines_that_start_in_the_same_second_are_two_campaigns(write_side):
    folders = [write_side(RUNS, "now", environment={"host": host}) for host in "ab"]
    (found,) = read_sources([f"both={folders[0]},{folders[1]}"])
    assert found.campaigns == ["now on a", "now on b"]


def test_the_same_runs_are_not_joined_twice(write_side):
    folder = write_side(RUNS)
    with pytest.raises(StoreError, match="the same runs are in two of them"):
        read_sources([f"both={folder},{folder}"])


def test_compressed_tables_of_a_reference_are_read(write_side):
    folder = write_side(RUNS)
    (plain,) = read_sources([str(folder)])
    for path in list((folder / "tables").iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (found,) = read_sources([str(folder)])
    assert found.runs.equals(plain.runs)
    (folder / "tables/stages.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(StoreError, match=r"stages\.csv\.gz: cannot be read"):
        read_sources([str(folder)])


def test_what_is_no_study_is_refused_with_what_is_allowed(tmp_path, write_side):
    (tmp_path / "some.json").write_text("{}")
    (tmp_path / "some.zip").write_text("no archive")
    (tmp_path / "empty").mkdir()
    broken = write_side(RUNS)
    (broken / "tables/runs.csv").write_text("experiment,treatment\n")
    none = write_side({})
    for path, message in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / "empty", "has no tables/runs.csv; allowed: results/STUDY"),
        (tmp_path / "some.json", "stagebench import"),
        (tmp_path / "some.zip", "is no archive, or is cut off"),
        (broken, "without replicate, factors, block, campaign, status"),
        (none, "has no runs"),
    ):
        with pytest.raises(StoreError, match=message):
            read_sources([str(path)])


def test_an_archive_without_tables_is_refused(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "copy")
    (folder / "tables/stages.csv").unlink()
    packed = pack_study(folder, tmp_path / "known.zip").file
    with pytest.raises(StoreError, match=r"has no tables/stages\.csv"):
        read_sources([str(packed)])


@pytest.mark.parametrize("text", ["=a", "name=", ",", "name=,"])
def test_an_argument_without_name_or_path_is_refused(text):
    with pytest.raises(OptionError, match="allowed: PATH, NAME=PATH"):
        read_sources([text])


def test_two_sides_have_two_names(write_side):
    folder = write_side(RUNS)
    with pytest.raises(OptionError, match="'x' is the name of two sides"):
        read_sources([f"x={folder}", f"x={folder}"])


def test_campaigns_are_called_by_the_nodes_of_their_runs(write_side):
    runs = {"t1": [{"makespan_s": 1.0, "node": node} for node in ("n1", "n2", "n1")]}
    (found,) = read_sources([str(write_side(runs, "now", environment={"host": "h"}))])
    assert found.campaigns == ["now on n1", "now on n2"]
    assert found.nodes == 2
