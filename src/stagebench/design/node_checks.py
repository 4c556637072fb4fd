"""The nodes of a treatment's runs: what is checked of them, and their part of a specification.

Levels are filled in before. Unknown values are not reported again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.problems import KeyPath, Problem, problem, show

if TYPE_CHECKING:
    from collections.abc import Iterator


Json = dict[str, Any]


def find_node_problems(settings: Json, path: KeyPath) -> Iterator[Problem]:
    """Check that nothing else of an experiment contradicts its nodes; `path` is their path."""
    nodes, process = settings.get("nodes"), settings.get("process")
    if not isinstance(nodes, dict):
        return
    cpus = process.get("cpus") if isinstance(process, dict) else None
    if nodes.get("cores") is not None and cpus is not None:
        text = f"{show(cpus)} beside nodes.cores is not allowed; allowed: one or the other"
        yield problem(("process", "cpus"), text)
    if settings.get("server") is not None:
        text = "nodes have a network of their own and do not reach a server"
        yield problem(path, f"{text}; allowed: nodes or a server")


def complete_nodes(given: Json | None) -> Json:
    """Return the part of a specification for the nodes; nothing without them.

    A single node has no link, and several have none that is limited unless it is said.
    """
    if given is None:
        return {}
    complete = {"count": given["count"]}
    if given.get("cores") is not None:
        complete["cores"] = given["cores"]
    if given.get("link_mbit_s") is not None and given["count"] > 1:
        complete["link_mbit_s"] = float(given["link_mbit_s"])
    return {"nodes": complete}
