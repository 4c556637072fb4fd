import pytest
from tests.known_studies import write_analysed

from stagebench.present.experiment import split_experiments
from stagebench.present.node_table import nodes_table
from stagebench.tables.io import make_table, read_tables

MIB = 1 << 20


@pytest.fixture
def experiment(tmp_path, known_run):
    """Return a function that gives an experiment of two runs the rows of nodes."""
    runs = [
        known_run(treatment="t1", replicate=one, start=1000 * one, baseline=True) for one in (1, 2)
    ]
    folder = write_analysed(tmp_path / "study", runs)
    [found] = split_experiments(read_tables(folder / "tables"))

    def make(*rows):
        key = {"experiment": found.name, "treatment": "t1"}
        found.tables["run_nodes"] = make_table("run_nodes", [key | row for row in rows])
        return found

    return make


def row(replicate, number, low, upper, **others):
    peak = {"peak_bytes": low * MIB, "peak_upper_bytes": None if upper is None else upper * MIB}
    return {"replicate": replicate, "node_number": number, "workers": 2, **peak, **others}


def cells(experiment):
    lines = nodes_table(experiment).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_memory_of_each_node_is_a_bracket_of_medians(experiment):
    found = cells(experiment(row(1, 1, 100, 110), row(2, 1, 120, 130), row(1, 2, 50, 60)))
    assert [line[:3] + line[5:6] for line in found] == [
        ["t1", "1", "all", "110 – 120"],
        ["t1", "2", "all", "50.0 – 60.0"],
    ]


def test_what_is_unknown_of_one_run_is_no_number(experiment):
    carried = {"sent_bytes": 5 * MIB, "received_bytes": 7 * MIB, "tasks_served": 3}
    (line,) = cells(experiment(row(1, 1, 100, None, **carried), row(2, 1, 100, 130)))
    assert line[4:] == ["–", "≥ 100", "–", "–", "–"]
    (line,) = cells(experiment(row(1, 1, 100, 130, cores=1, **carried)))
    assert line[2:] == ["1", "2", "3", "100 – 130", "5.00", "7.00", "–"]


def test_an_experiment_without_nodes_needs_no_table(experiment):
    assert nodes_table(experiment()) == ""
    found = experiment()
    del found.tables["run_nodes"]
    assert nodes_table(found) == ""
