import os
import re
import shutil

import pytest

from stagebench.network_nodes import NetworkNode, read_nodes, share_cores, why_none, write_nodes


def test_nodes_and_the_reason_why_there_are_none_survive_the_variable():
    nodes = [NetworkNode(1, "10.0.0.1", "/proc/1/fd/3", (0, 2)), NetworkNode(2, "b", "", ())]
    assert read_nodes(write_nodes(nodes)) == (nodes, "")
    assert read_nodes(write_nodes([], "no rights")) == ([], "no rights")


def test_no_core_belongs_to_two_nodes_and_all_may_be_used_without_a_number(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 3, 5, 4, 8})
    assert share_cores({"count": 2, "cores": 2}) == [(3, 4), (5, 8)]
    assert share_cores({"count": 3}) == [(), (), ()]


def test_too_few_cores_are_a_reason_with_both_numbers(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    reason = "needs 4 cores (2 nodes of 2), and this machine has 3"
    assert why_none({"count": 2, "cores": 2}) == reason
    assert why_none({"count": 1, "cores": 3}) == ""


def test_missing_rights_are_a_reason_that_names_a_way_to_have_them(monkeypatch):
    monkeypatch.setattr("stagebench.network_nodes._read_rights", lambda: 1 << 21)
    reason = why_none({"count": 2})
    assert "(CAP_NET_ADMIN)" in reason
    assert re.search("root has it.*unshare --map-root-user --net", reason)
    assert why_none({"count": 1}) == ""


@pytest.mark.parametrize(("settings", "missing"), [({}, "ip"), ({"link_mbit_s": 10.0}, "tc")])
def test_a_missing_program_is_a_reason(monkeypatch, settings, missing):
    monkeypatch.setattr("stagebench.network_nodes._read_rights", lambda: -1)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else "/bin/true")
    assert why_none({"count": 2, **settings}).startswith(f"needs the program {missing} ")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "tc" else "/bin/true")
    assert why_none({"count": 2}) == ""
