from __future__ import annotations

import json

import pytest

from stagebench.analyse.study import analyse_study
from stagebench.columns import CLAIM_TABLES, TABLES
from stagebench.errors import StoreError

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
