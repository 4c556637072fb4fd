"""The nodes of a run: machines of a small network, all of them on this one.

A node has cores of its own, if the study says so, and a network namespace of its own, so that what
its processes send to those of another node crosses a link. `measure/network.py` makes them, and
tells the measured process of them in the variable `NODES`.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES = "STAGEBENCH_NODES"
"""The variable by which the measured process finds its nodes, or the reason why it has none."""

LINK = "link0"
"""The name of a node's link in its own namespace."""

NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""The rights that a network needs, and their bits. Source: linux/capability.h."""


BURST_BYTES = 65_536
"""What a link takes at once before it keeps to its rate: one segment of the largest size."""

CLONE_NEWNET = 0x40000000
"""From linux/sched.h."""


class NetworkNode(NamedTuple):
    """A node of a run; main is on the first one.

    `namespace` is the file by which a process enters the node, or "" if the node has no network of
    its own. `cores` are its own; empty if it may use all.
    """

    number: int
    address: str
    namespace: str
    cores: tuple[int, ...]


def write_nodes(nodes: list[NetworkNode], reason: str = "") -> str:
    """Return the text of the variable `NODES`."""
    return json.dumps({"nodes": nodes, "reason": reason})


def read_nodes(text: str) -> tuple[list[NetworkNode], str]:
    """Return what `write_nodes` was given."""
    found = json.loads(text)
    nodes = [
        NetworkNode(number, address, namespace, tuple(cores))
        for number, address, namespace, cores in found["nodes"]
    ]
    return nodes, found["reason"]


def enter_namespace(descriptor: int) -> None:
    """Move this thread into the network namespace of an open file."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def share_cores(settings: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Return the cores of each node; raises LookupError if this machine has too few."""
    count, cores = settings["count"], settings.get("cores")
    if cores is None:
        return [()] * count
    usable = sorted(os.sched_getaffinity(0))
    if count * cores > len(usable):
        nodes = f"{count} nodes" if count > 1 else "1 node"
        raise LookupError(
            f"needs {count * cores} cores ({nodes} of {cores}), and this machine has {len(usable)}"
        )
    return [tuple(usable[place * cores : (place + 1) * cores]) for place in range(count)]


def why_none(settings: Mapping[str, Any]) -> str:
    """Return why this machine cannot have such nodes, as far as it is known; "" if it can.

    The reason continues a sentence whose subject is what needs the nodes.
    """
    try:
        share_cores(settings)
    except LookupError as error:
        return str(error)
    if settings["count"] == 1:
        return ""
    lacking = [name for name, bit in NEEDED.items() if not _read_rights() >> bit & 1]
    if lacking:
        return (
            f"needs the right to make network namespaces ({', '.join(lacking)}): root has it, and"
            " so has a user in `unshare --map-root-user --net`, where that is allowed"
        )
    programs = ["ip", *(["tc"] if settings.get("link_mbit_s") else [])]
    for name in programs:
        if shutil.which(name) is None:
            return f"needs the program {name} (of iproute2), which is not installed"
    return ""


def _read_rights() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
        if line.startswith("CapEff:"):
            return int(line.partition(":")[2], 16)
    return 0
