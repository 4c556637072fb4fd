import pytest
from tests.known_studies import write_analysed

from stagebench.present.answer import format_markdown, format_terminal, make_screen
from stagebench.present.experiment import split_experiments
from stagebench.present.pythons import interpreters_table, switched_on_text
from stagebench.store import read_json
from stagebench.tables.io import read_tables


def ran_by(version, name, *, gil=True, by=None, packages=None):
    facts = {"name": name, "version": version, "implementation": "CPython"}
    facts |= {"build": f"{version} (main) [GCC]", "free_threaded": version.startswith("3.13")}
    facts |= {"gil": gil, "jit": None, "gil_switched_on_by": by}
    return {"interpreter": facts | {"packages": packages or {}}}


def specify(name, version):
    return {"python": {"name": name, "version": version, "build": "1", "packages": {}}}


@pytest.fixture
def analysed(tmp_path, known_run):
    """Analyse two runs each of three treatments with their own interpreters; return the folder."""

    def make(*rows):
        runs = [
            known_run(
                treatment=treatment,
                replicate=replicate,
                start=100 * number + 1000 * replicate,
                baseline=number == 0,
                factors={"python": treatment},
                specified=specify(treatment, run["interpreter"]["version"])
                if run["interpreter"]["name"]
                else {},
                run=run,
            )
            for replicate in (1, 2)
            for number, (treatment, run) in enumerate(rows)
        ]
        return write_analysed(tmp_path / "study", runs)

    return make


def test_treatments_are_listed_by_what_ran_them(analysed):
    folder = analysed(
        ("one", ran_by("3.12.1", "one", packages={"numpy": "2.1"})),
        ("two", ran_by("3.13.5", "two", gil=False)),
        ("three", ran_by("3.13.5", "three", by="old")),
    )
    [experiment] = split_experiments(read_tables(folder / "tables"))

    lines = interpreters_table(experiment).splitlines()[2:]

    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:5] for row in cells] == [
        ["one", "CPython 3.12.1", "on", "unknown", "numpy 2.1"],
        ["two", "CPython 3.13.5", "off", "unknown", "none"],
        ["three", "CPython 3.13.5", "on, by the import of old", "unknown", "none"],
    ]


def test_one_interpreter_for_all_needs_no_table(analysed):
    folder = analysed(("one", ran_by("3.12.1", None)), ("two", ran_by("3.12.1", None)))
    tables = read_tables(folder / "tables")

    assert interpreters_table(split_experiments(tables)[0]) == ""
    assert switched_on_text(tables) == ""
    screen = make_screen(tables, read_json(folder / "plan.json"))
    assert "interpreter" not in screen.facts[-1]


def test_a_gil_that_was_switched_on_is_in_the_first_lines(analysed):
    folder = analysed(
        ("two", ran_by("3.13.5", "two", gil=False)),
        ("three", ran_by("3.13.5", "three", by="old.module")),
    )
    tables = read_tables(folder / "tables")
    screen = make_screen(tables, read_json(folder / "plan.json"))

    text = "The GIL was switched on by the import of old.module in `three`, whose interpreter"
    assert text in format_markdown(screen)[:600]
    assert "switched on by the import of old.module" in format_terminal(screen).replace("\n", " ")
    assert "changed between runs" not in format_markdown(screen)


def test_an_interpreter_that_has_always_had_a_gil_is_no_warning(analysed):
    folder = analysed(("one", ran_by("3.12.1", "one")), ("two", ran_by("3.13.5", "two", gil=False)))
    tables = read_tables(folder / "tables")

    assert switched_on_text(tables) == ""
    assert make_screen(tables, read_json(folder / "plan.json")).facts[-1] == "2 interpreters"


def test_a_study_without_the_table_has_no_interpreters(analysed):
    folder = analysed(("one", ran_by("3.12.1", "one")), ("two", ran_by("3.13.5", "two")))
    (folder / "tables" / "interpreters.csv").unlink()
    tables = read_tables(folder / "tables")

    assert interpreters_table(split_experiments(tables)[0]) == ""
    assert switched_on_text(tables) == ""
