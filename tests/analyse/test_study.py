from __future__ import annotations

import json

import pytest
from tests.commands import analyse_study

from stagebench.columns import CLAIM_TABLES, TABLES
from stagebench.errors import StoreError
from stagebench.tables import read_tables, write_tables

REFERENCE = """experiment,treatment,stage,quantity,unit,stated,logged,place
pipe,p1-fork,,makespan_s,s,5,,text
"""


@pytest.fixture
def files(study, known_run, tmp_path):
    plan, raw = study(known_run())
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    return path, raw


def test_every_table_is_written(files, tmp_path):
    (tmp_path / "reference.csv").write_text(REFERENCE)
    analyse_study(*files, tmp_path / "reference.csv", tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == set(TABLES) - set(
        CLAIM_TABLES
    )


def test_the_same_runs_give_the_same_bytes(study, known_run, tmp_path):
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(1 + n / 7) for n in range(3)]
    others = [
        known_run(treatment="t2", baseline=False, replicate=n + 1, start=60 + 20 * n)
        for n in range(3)
    ]
    plan, raw = study(*runs, *others)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for name in ("one", "two"):
        analyse_study(tmp_path / "plan.json", raw, None, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    write_tables(read_tables(tmp_path / "one"), tmp_path / "two")
    for path in (tmp_path / "one").glob("[!p]*.csv"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_without_a_reference_there_is_no_table_of_published_values(files, tmp_path):
    analyse_study(*files, None, tmp_path / "tables")
    assert not (tmp_path / "tables/published.csv").exists()


def test_tables_of_an_earlier_analysis_do_not_stay(files, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/old.csv").write_text("x")
    analyse_study(*files, None, tmp_path / "tables")
    assert not (tmp_path / "tables/old.csv").exists()


def test_an_analysis_that_fails_leaves_the_earlier_tables(files, tmp_path):
    analyse_study(*files, None, tmp_path / "tables")
    with pytest.raises(StoreError, match=r"missing\.csv"):
        analyse_study(*files, tmp_path / "missing.csv", tmp_path / "tables")
    assert (tmp_path / "tables/runs.csv").exists()
