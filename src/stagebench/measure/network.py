"""The network of a run with several nodes: a namespace for each, and links to a switch.

    node 1 --- link0 ---+
                        | switch
    node 2 --- link0 ---+

Each node is a network namespace, and so is the switch, which is a bridge. None has a name. The
kernel removes one, with its links, when no process is in it and none holds its file: so nothing is
left, however this process and those of the run end. The nodes have no way out of their network.

Source: ip-link(8), ip-netns(8), tc-tbf(8), network_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.network_nodes import (
    BURST_BYTES,
    CLONE_NEWNET,
    LINK,
    NODES,
    NetworkNode,
    enter_namespace,
    share_cores,
    why_none,
    write_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OWN_NAMESPACE = "/proc/self/ns/net"

ALONE = "127.0.0.1"
"""The address of a node that is the only one."""

PATIENCE_S = 10.0
"""ip and tc get this long."""


class Network(NamedTuple):
    """The nodes of a run: `variables` are for main, whose namespace is `first`, if it has one."""

    variables: Mapping[str, str] = {}
    first: int | None = None

    def enter(self) -> None:
        """Move this thread to the first node."""
        if self.first is not None:
            enter_namespace(self.first)


NO_NETWORK = Network()


@contextlib.contextmanager
def make_network(specification: Mapping[str, Any]) -> Iterator[Network]:
    """Make the nodes of a specification, if it has any.

    If they cannot be made, main is told why: its treatment is unsupported then.
    """
    settings = specification.get("nodes")
    if settings is None:
        yield NO_NETWORK
        return
    with contextlib.ExitStack() as held:
        try:
            network = _make(settings, held)
        except (LookupError, OSError, subprocess.SubprocessError) as error:
            reason = why_none(settings) or f"cannot have its network here: {describe(error)}"
            network = Network({NODES: write_nodes([], reason)})
        yield network


def _make(settings: Mapping[str, Any], held: contextlib.ExitStack) -> Network:
    cores = share_cores(settings)
    if settings["count"] == 1:
        return Network({NODES: write_nodes([NetworkNode(1, ALONE, "", cores[0])])})
    switch = _open_namespace(held)
    ends = [_open_namespace(held) for _ in cores]
    nodes = [
        NetworkNode(number, f"10.0.0.{number}", _name_file(end), own)
        for number, (end, own) in enumerate(zip(ends, cores, strict=True), 1)
    ]
    with entered(switch):
        _run(
            "ip",
            "link add switch type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            *(
                f"link add port{one.number} type veth peer name {LINK} netns {one.namespace}"
                for one in nodes
            ),
            *(f"link set port{one.number} master switch up" for one in nodes),
            "link set switch up",
        )
    for node, end in zip(nodes, ends, strict=True):
        with entered(end):
            _run(
                "ip",
                "link set lo up",
                f"addr add {node.address}/24 dev {LINK}",
                f"link set {LINK} up",
            )
    if settings.get("link_mbit_s"):
        rate = f"rate {round(settings['link_mbit_s'] * 1e6)}bit burst {BURST_BYTES} latency 1s"
        with entered(switch):  # to each node
            _run("tc", *(f"qdisc add dev port{one.number} root tbf {rate}" for one in nodes))
        for end in ends:  # from each node
            with entered(end):
                _run("tc", f"qdisc add dev {LINK} root tbf {rate}")
    return Network({NODES: write_nodes(nodes)}, ends[0])


def _open_namespace(held: contextlib.ExitStack) -> int:
    """Return the file of a new namespace, which is closed at the end."""
    with entered(None):
        namespace = os.open(OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    held.callback(os.close, namespace)
    return namespace


def _name_file(namespace: int) -> str:
    """Return by which path other processes can open the file of a namespace."""
    return f"/proc/{os.getpid()}/fd/{namespace}"


@contextlib.contextmanager
def entered(namespace: int | None) -> Iterator[None]:
    """Let this thread be in a network namespace meanwhile: a new one if None."""
    before = os.open(OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if namespace is None:
            leave_namespace()
        else:
            enter_namespace(namespace)
        try:
            yield
        finally:
            enter_namespace(before)
    finally:
        os.close(before)


def leave_namespace() -> None:
    """Move this thread into a new network namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(program: str, *lines: str) -> None:
    """Run commands of ip or tc, one a line; raises CalledProcessError for the first that fails."""
    subprocess.run(
        [program, "-batch", "-"],
        input="".join(f"{line}\n" for line in lines),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def describe(error: Exception) -> str:
    """Return what went wrong: the first words of a program, or the error itself."""
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr.strip().splitlines() or ["no message"])[0]
        return f"{error.cmd[0]} says {said!r}"
    return str(error)
