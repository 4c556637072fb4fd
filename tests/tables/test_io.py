from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from stagebench.errors import StoreError
from stagebench.tables.io import (
    list_rows,
    make_table,
    numbers,
    read_table,
    read_tables,
    write_table,
    write_tables,
)
from stagebench.tables.quantities import RUN_QUANTITIES, STAGE_QUANTITIES, unit_of
from stagebench.tables.schema import TABLES

GLOSSARY = Path(__file__).parents[2] / "docs/glossary.md"
ROW = {"property": "kernel", "value": "6.18", "runs": 3}


def test_a_missing_count_stays_missing_and_is_not_0(tmp_path):
    path = tmp_path / "environment.csv"
    write_table(make_table("environment", [ROW, {"property": "os"}]), path)
    assert path.read_text() == "property,value,runs,where,nodes\nkernel,6.18,3,,\nos,,,,\n"
    assert list(read_table(path)["runs"].isna()) == [False, True]


def test_texts_that_look_like_missing_values_stay_texts(tmp_path):
    path = tmp_path / "environment.csv"
    write_table(make_table("environment", [{"property": "NA", "value": "null"}]), path)
    assert read_table(path).iloc[0].to_list()[:2] == ["NA", "null"]


def test_bytes_beyond_a_gibibyte_keep_their_last_digit(tmp_path):
    path = tmp_path / "treatments.csv"
    write_table(make_table("treatments", [{"median": 12_345_678_901.0}]), path)
    assert numbers(read_table(path), "median").iloc[0] == 12_345_678_901


def test_a_column_that_is_not_of_the_table_is_an_error():
    with pytest.raises(StoreError, match=r"table 'environment' has no column \['kernel'\]"):
        make_table("environment", [{"kernel": "6.18"}])


def test_a_table_with_other_columns_is_not_written(tmp_path):
    with pytest.raises(StoreError, match="expected"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "environment.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_other_columns_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "environment.csv"
    path.write_text("property,value\n")
    wanted = "without runs, where, nodes; allowed: property, value, runs, where, nodes"
    with pytest.raises(StoreError, match=rf"environment.csv: its columns .*: {wanted}"):
        read_table(path)


def test_a_cell_of_another_type_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "environment.csv"
    path.write_text("property,value,runs,where\nkernel,6.18,many,\n")
    with pytest.raises(StoreError, match=r"environment\.csv: a cell has another type"):
        read_table(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(StoreError, match=r"runs.csv: cannot be read"):
        read_table(tmp_path / "runs.csv")


def test_a_study_without_published_values_reads_as_one_with_none(tmp_path):
    write_tables({name: make_table(name, []) for name in TABLES if name != "published"}, tmp_path)
    assert read_tables(tmp_path)["published"].empty


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        ("makespan_s", "s"),
        ("throughput_per_s", "1/s"),
        ("tree_peak_bytes", "bytes"),
        ("sweeps", "1"),
    ],
)
def test_a_name_carries_its_unit(quantity, unit):
    assert unit_of(quantity) == unit


def test_every_summarised_quantity_is_a_column():
    assert set(RUN_QUANTITIES) <= TABLES["runs"].keys()
    assert set(STAGE_QUANTITIES) <= TABLES["stages"].keys()


def explained(column, glossary):
    """Return whether the glossary names a column in full or by its end, as in `…_peak_bytes`."""
    parts = column.split("_")
    ends = ["…_" + "_".join(parts[index:]) for index in range(1, len(parts))]
    return any(f"`{name}`" in glossary for name in [column, *ends, *(end[1:] for end in ends)])


@pytest.mark.parametrize("table", TABLES)
def test_the_glossary_explains_every_column(table):
    glossary = GLOSSARY.read_text(encoding="utf-8")
    assert [column for column in TABLES[table] if not explained(column, glossary)] == []


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_a_text_of_several_lines_is_one_cell_whatever_ends_its_lines(tmp_path, end):
    rows = [{"experiment": f"a{end}b", "treatment": "t1", "replicate": 1}] * 2
    write_table(make_table("warm_ups", rows), tmp_path / "warm_ups.csv")
    assert list(read_table(tmp_path / "warm_ups.csv")["experiment"]) == ["a\nb"] * 2


def test_a_table_of_before_nodes_were_recorded_has_none(tmp_path):
    path = tmp_path / "environment.csv"
    path.write_text("property,value,runs,where\nkernel,6.18,3,\n")
    table = read_table(path)
    assert list(table.columns) == list(TABLES["environment"])
    assert table["nodes"].to_list() == [""]
    path.write_text("property,value,where\nkernel,6.18,\n")
    with pytest.raises(StoreError, match="without runs"):
        read_table(path)


def test_rows_have_the_types_of_python_and_none_for_what_is_missing():
    (row,) = list_rows(make_table("memory", [{"experiment": "pipe", "replicate": 1}]))
    assert (row["experiment"], row["replicate"]) == ("pipe", 1)
    assert {type(row[name]) for name in ("experiment", "replicate")} == {str, int}
    assert row["reading"] is None
    (row,) = list_rows(make_table("winners", [{"ratio": 0.5}]))
    assert type(row["ratio"]) is float
    assert math.isnan(row["median"])


def test_an_empty_table_that_is_changed_is_empty_elsewhere():
    first = make_table("memory", [])
    first["more"] = 1.0
    assert list(make_table("memory", []).columns) == list(TABLES["memory"])
    assert dict(make_table("memory", []).dtypes) == dict(make_table("memory", [{}]).dtypes)
