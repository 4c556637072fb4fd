"""The table of quantities against the schema, the names and the glossary."""

import re
from pathlib import Path

import pytest

from stagebench.tables.quantities import (
    ALL_QUANTITIES,
    COUNT,
    HIGHER,
    LOWER,
    MEMORY_PARTS,
    NUMBER,
    QUANTITIES,
    RUN,
    STAGE,
    STAGE_TIMES,
    UNITS,
    hides_results,
    list_level,
    published_size,
    unit_of,
    upper_of,
    words_of,
)
from stagebench.tables.schema import TABLES
from stagebench.units import MIB

GLOSSARY = Path(__file__).parents[2] / "docs/glossary.md"
SHORT_FORMS = {"Times of a stage": STAGE_TIMES, "Memory": MEMORY_PARTS}
"""Section of the glossary → what `…` stands for there."""

ENDINGS = {"s": "_s", "bytes": "_bytes", "byte*s": "_byte_s", "1/s": "_per_s"}
NO_QUANTITIES = {"replicate", "block", "position", "rank", "started_rank", "exit_code"}


def read_glossary():
    """Return every quantity that a table of the glossary defines, with the unit stated there."""
    stated = set()
    for section in GLOSSARY.read_text(encoding="utf-8").split("\n## "):
        parts = next((own for title, own in SHORT_FORMS.items() if section.startswith(title)), [""])
        tables = [text for text in section.split("\n\n") if text.startswith("| quantity")]
        for row in [row for table in tables for row in table.splitlines()[2:]]:
            names, unit = row.split("|")[1:3]
            if unit.strip():  # columns without a unit, such as texts, are no quantities
                for name in re.findall(r"`(…?\w+)`", names):
                    stated |= {(name.replace("…", part), unit.strip(" `")) for part in parts}
    return stated


def test_the_glossary_defines_the_quantities_of_the_table_and_no_others():
    assert read_glossary() == {(quantity.name, quantity.unit) for quantity in ALL_QUANTITIES}


@pytest.mark.parametrize("quantity", ALL_QUANTITIES, ids=lambda one: f"{one.level}-{one.name}")
def test_a_quantity_has_a_unit_and_a_label(quantity):
    assert quantity.unit in UNITS
    assert quantity.kind in {COUNT, NUMBER}
    assert quantity.better in {LOWER, HIGHER, ""}
    assert re.fullmatch("[a-z][a-z0-9 ]*", quantity.label)


def test_a_name_of_several_levels_has_one_meaning():
    for quantity in ALL_QUANTITIES:
        same = QUANTITIES[quantity.name]
        assert quantity._replace(level=same.level) == same


def test_no_level_has_a_name_or_a_label_twice():
    for named in ("name", "label"):
        found = [(quantity.level, getattr(quantity, named)) for quantity in ALL_QUANTITIES]
        assert len(set(found)) == len(found)


def test_a_name_ends_with_its_unit():
    for quantity in ALL_QUANTITIES:
        if quantity.unit in ENDINGS:
            assert quantity.name.endswith(ENDINGS[quantity.unit])
        else:
            assert not quantity.name.endswith(("_s", "_bytes"))


@pytest.mark.parametrize(("table", "level"), [("runs", RUN), ("stages", STAGE)])
def test_every_number_of_a_run_or_stage_is_a_quantity_or_a_place(table, level):
    numeric = {name for name, kind in TABLES[table].items() if kind in {COUNT, NUMBER}}
    assert numeric - NO_QUANTITIES == set(list_level(level))


def test_tables_write_shares_and_ratios_as_plain_numbers():
    names = ("stage_efficiency", "makespan_ratio", "most_children", "tree_memory_time_byte_s")
    assert [unit_of(name) for name in names] == ["1", "1", "1", "byte*s"]


def test_words_have_no_unit():
    names = ("tree_peak_bytes", "throughput_per_s", "tree_memory_time_byte_s", "start_up_s")
    assert [words_of(name) for name in names] == [
        "tree peak",
        "throughput",
        "tree memory time",
        "start up",
    ]


@pytest.mark.parametrize(
    ("quantity", "word", "size"),
    [
        ("tree_peak_bytes", "MiB", MIB),
        ("makespan_s", "s", 1),
        ("throughput_per_s", "1/s", 1),
        ("stage_efficiency", "1", 1),
        ("makespan_ratio", "1", 1),
        ("most_children", "1", 1),
        ("tree_peak_bytes", "1", None),
        ("tree_peak_bytes", "GiB", None),
        ("makespan_s", "1", None),
        ("stage_efficiency", "%", None),
    ],
)
def test_a_value_is_published_in_the_unit_that_people_read(quantity, word, size):
    assert published_size(quantity, word) == size


def test_quantities_that_are_brackets_have_an_upper_bound():
    assert upper_of("tree_peak_bytes") == "tree_peak_upper_bytes"
    assert upper_of("tree_anon_peak_bytes") == "tree_anon_peak_upper_bytes"
    assert [upper_of(name) for name in ("tree_uss_peak_bytes", "makespan_s")] == [None, None]


@pytest.mark.parametrize(
    ("transport", "instruments", "hidden"),
    [
        (None, ["sweeps"], False),
        ("", [], False),
        ("pickle", ["counters"], False),
        ("shared_memory", ["group", "group"], False),
        ("shared_memory", ["group", "counters"], True),
        ("shared_memory", ["counters"], True),
        ("shared_memory", [], True),
        ("path", ["group"], True),
        ("path", [], True),
    ],
)
def test_results_are_hidden_where_no_instrument_counts_them(transport, instruments, hidden):
    assert hides_results(transport, instruments) is hidden
