from __future__ import annotations

import pytest

from stagebench.present import report_conditions
from stagebench.tables import read_tables


@pytest.fixture
def tables_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")


def test_without_warm_ups_nothing_is_said(tables_of, known_run):
    warm_ups = tables_of(known_run())["warm_ups"]
    assert report_conditions.warm_ups_text(warm_ups) == ""
    assert report_conditions.failed_warm_ups_table(warm_ups) == ""


def test_warm_ups_are_counted_and_a_failed_one_is_told(tables_of, known_run):
    failed = known_run(warm_up=True, replicate=2, status="crashed", detail="no module")
    warm_ups = tables_of(known_run(warm_up=True), failed, known_run(start=20))["warm_ups"]
    text = report_conditions.warm_ups_text(warm_ups)
    assert text.startswith("2 runs to warm up came before the first block")
    assert "**1 of them did not succeed**" in text
    (row,) = report_conditions.failed_warm_ups_table(warm_ups).splitlines()[2:]
    assert "crashed" in row
    assert "no module" in row
