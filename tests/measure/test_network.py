"""Networks of real namespaces; skipped where they cannot be made."""

import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from stagebench.measure import network
from stagebench.measure.network import NO_NETWORK, entered, make_network
from stagebench.network_nodes import NODES, read_nodes, why_none

TWO = {"nodes": {"count": 2}}
needs_network = pytest.mark.skipif(
    bool(why_none({"count": 2, "link_mbit_s": 1.0})), reason="no network namespaces here"
)


def nodes_of(made):
    return read_nodes(made.variables[NODES])


@contextmanager
def in_node(node):
    """Let this thread be on a node meanwhile."""
    with open(node.namespace, "rb") as file, entered(file.fileno()):
        yield


def carry(sender, receiver, size):
    """Send bytes from one node to another; return how many came, and how long that took."""
    with in_node(receiver):
        listener = socket.create_server((receiver.address, 0))
    got = []

    def receive():
        with listener.accept()[0] as connection:
            while block := connection.recv(1 << 16):
                got.append(len(block))

    thread = threading.Thread(target=receive)
    thread.start()
    with in_node(sender):
        connection = socket.create_connection(listener.getsockname())
    started = time.monotonic()
    with connection:
        connection.sendall(bytes(size))
    thread.join()
    listener.close()
    return sum(got), time.monotonic() - started


def test_a_specification_without_nodes_has_no_network():
    with make_network({}) as made:
        assert made is NO_NETWORK


def test_a_single_node_needs_no_network_and_main_is_told_its_cores():
    with make_network({"nodes": {"count": 1, "cores": 1}}) as made:
        (node,), reason = nodes_of(made)
        assert (made.first, node.namespace, reason) == (None, "", "")
        assert len(node.cores) == 1


@needs_network
def test_each_node_reaches_each_other_one_and_nobody_else():
    with make_network({"nodes": {"count": 3}}) as made:
        nodes, _ = nodes_of(made)
        assert len({os.stat(node.namespace).st_ino for node in nodes}) == 3
        for one, other in [(0, 1), (1, 2), (2, 0)]:
            assert carry(nodes[one], nodes[other], 1000)[0] == 1000
        with in_node(nodes[0]), pytest.raises(OSError, match="unreachable"):
            socket.create_connection(("192.0.2.1", 80), timeout=5)


@needs_network
def test_a_link_carries_no_more_than_its_rate():
    size, rate = 3_000_000, 40.0
    with make_network({"nodes": {"count": 2, "link_mbit_s": rate}}) as made:
        one, other = nodes_of(made)[0]
        for pair in [(one, other), (other, one)]:
            came, took_s = carry(*pair, size)
            assert came == size
            assert took_s >= (size - 2 * network.BURST_BYTES) * 8 / (rate * 1e6)


@needs_network
def test_nothing_of_a_network_is_left_and_this_process_stays_where_it_was():
    def look():
        links = os.listdir("/sys/class/net")
        return os.listdir("/proc/self/fd"), links, os.readlink("/proc/self/ns/net")

    before = look()
    with make_network(TWO) as made:
        assert look()[1:] == before[1:]
        paths = [node.namespace for node in nodes_of(made)[0]]
    assert look() == before
    assert not any(os.path.exists(path) for path in paths)


@needs_network
def test_a_program_that_fails_is_the_reason_in_its_own_words(monkeypatch):
    def fail(program, *_lines):
        raise subprocess.CalledProcessError(1, [program], stderr="Error: no such kind\nmore")

    monkeypatch.setattr(network, "_run", fail)
    with make_network(TWO) as made:
        nodes, reason = nodes_of(made)
    assert nodes == []
    assert reason == "cannot have its network here: ip says 'Error: no such kind'"


def test_missing_cores_are_the_reason():
    with make_network({"nodes": {"count": 1, "cores": 9999}}) as made:
        assert nodes_of(made)[1].startswith(
            "needs 9999 cores (1 node of 9999), and this machine has "
        )
