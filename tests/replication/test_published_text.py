from __future__ import annotations

import pytest

from stagebench.replication.published_text import compare_experiments, coverage_text
from stagebench.tables.io import read_tables

HEADER = "experiment,treatment,stage,quantity,unit,stated,logged,place\n"


@pytest.fixture
def comparison(tables):
    return compare_experiments(tables["published"])[0]


def cells(table):
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def test_makespans_stand_as_seconds_and_as_ratios(comparison):
    header, _, first, second = cells(comparison.headlines["makespan (s)"])
    assert header == [
        "treatment",
        "stated",
        "logged",
        "measured",
        "ratio to p1-fork: stated",
        "logged",
        "measured (median)",
    ]
    assert first == ["p1-fork", "~50", "47", "12.6 (12.0 to 13.2)", "1.00", "1.00", "1.00"]
    assert second == ["p2-fork", "~25", "23.5", "6", "0.500", "0.500", "0.476"]


def test_memory_stands_above_its_own_base_too(comparison):
    row = cells(comparison.headlines["tree peak (MiB)"])[2]
    assert row == ["p1-fork", "~80", "–", "36", "30.0", "–", "16.0"]


def test_quantities_of_stages_name_their_stage(comparison):
    row = cells(comparison.headlines["stage efficiency"])[2]
    assert row == ["p1-fork", "work", "~0.4", "0.43", "0.429"]


def test_quantities_that_are_no_headline_can_be_unfolded(comparison):
    assert list(comparison.others) == ["tree base (MiB)"]


def test_a_study_of_another_size_says_at_which_scale_it_ran(comparison):
    assert (
        "This experiment did not run at the published size (work size_mib 2.5 of 10)"
        in comparison.scale
    )


def test_headlines_stand_in_their_own_order(comparison):
    titles = ["makespan (s)", "stage efficiency", "tree peak (MiB)"]
    assert list(comparison.headlines) == titles


def test_a_study_of_the_published_size_says_so(analyse, known_run):
    reference = HEADER + "pipe,,work,parameter.size_mib,1,2.5,,setup\n"
    published = read_tables(analyse(known_run(), reference=reference) / "tables")["published"]
    assert compare_experiments(published)[0].scale == "This experiment ran at the published size."


def test_an_unknown_scale_is_reported(analyse, known_run):
    reference = HEADER + "pipe,p1-fork,,makespan_s,s,50,,text\n"
    published = read_tables(analyse(known_run(), reference=reference) / "tables")["published"]
    assert "is not known" in compare_experiments(published)[0].scale


def test_coverage_counts_the_treatments_with_a_published_value(tables):
    assert coverage_text(tables["published"]) == "2 treatments of `pipe`"


def test_without_published_values_there_is_nothing_to_compare(analyse, known_run):
    published = read_tables(analyse(known_run(), reference=None) / "tables")["published"]
    assert compare_experiments(published) == []
