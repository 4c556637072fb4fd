"""Which node each process of a run belongs to; real runs are in tests/engines/test_nodes.py."""

from dataclasses import replace

import pytest

from stagebench.analyse.run_nodes import find_numbers, summarise_nodes
from stagebench.analyse.traces import read_lone
from stagebench.records import MetNode, Traffic


@pytest.fixture
def trace(specify, measure):
    """Return a trace whose processes and nodes are replaced: main, a keeper, and their children."""
    known = read_lone(measure(specify(tasks=1)))
    (main,) = known.processes
    given = [(10, None), (11, 10), (12, 10), (13, 11), (14, 13)]
    processes = tuple(replace(main, pid=pid, parent_pid=parent) for pid, parent in given)
    run = known.run | {"specification": known.specification | {"nodes": {"count": 2}}}
    return replace(
        known, run=run, processes=processes, nodes=(MetNode(2, 11),), samples=(), transitions=()
    )


def test_descendants_of_a_nodes_keeper_are_on_it_and_all_others_with_main(trace):
    assert find_numbers(trace) == [1, 2, 1, 2, 2]


def test_an_unknown_node_or_a_process_id_of_two_nodes_leaves_all_unknown(trace):
    missing = replace(trace, nodes=())
    again = replace(trace.processes[1], pid=13, parent_pid=10)
    reused = replace(trace, processes=(*trace.processes, again))
    for one in (missing, reused):
        assert find_numbers(one) == []
        rows = summarise_nodes(one)
        assert [row["node_number"] for row in rows] == [1, 2]
        assert not any({"peak_bytes", "tasks_served", "sent_bytes"} & row.keys() for row in rows)


def test_a_run_without_nodes_has_no_rows(trace):
    assert summarise_nodes(replace(trace, run=trace.run | {"specification": {}})) == []


def test_traffic_belongs_to_its_node_and_is_missing_where_it_was_not_read(trace):
    first, second = summarise_nodes(replace(trace, traffic=(Traffic(2, 7, 9),)))
    assert (second["sent_bytes"], second["received_bytes"]) == (7, 9)
    assert "sent_bytes" not in first
