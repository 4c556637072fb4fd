"""Values of a config with their origins, and merging a config into the one that it extends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import KeyPath, Origin, Problem, problem, show, unknown


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list of nodes, or a mapping of keys to nodes, with its origin."""

    value: Any
    place: Origin


def _is_named(path: KeyPath) -> bool:
    """Report whether a list at this path is merged by the names of its items."""
    match path:
        case ("workflows" | "experiments",) | ("workflows", int(), "stages"):
            return True
    return False


def leave_out(base: Node | None, without: Node, problems: list[Problem]) -> Node | None:
    """Remove the parts that `without` names by dotted keys, with names in place of positions."""
    place = ("without",)
    if base is None:
        text = "there is nothing to leave out; allowed: together with extends"
        problems.append(problem(place, text, without.place))
        return None
    for index, entry in enumerate(without.value if isinstance(without.value, list) else [without]):
        if not isinstance(entry.value, str):
            text = "is not allowed; allowed: a list of parts to leave out, like experiments.memory"
            problems.append(problem((*place, index), f"{show_node(entry)} {text}", entry.place))
            continue
        try:
            base = _remove(base, entry.value.split("."), "")
        except KeyError as error:
            found = problem((*place, index), error.args[0], entry.place)
            problems.append(found)
    return base


def _remove(node: Node, parts: list[str], above: str) -> Node:
    """Return a node without the part at the given keys; raises KeyError with the reason."""
    first, *below = parts
    children = _children(node)
    if first not in children:
        known = [f"{above}{name}" for name in children]
        raise KeyError(unknown("part of what is extended", f"{above}{first}", known))
    if below:
        children[first] = _remove(children[first], below, f"{above}{first}.")
    else:
        del children[first]
    return Node(children if isinstance(node.value, dict) else list(children.values()), node.place)


def _children(node: Node) -> dict[str, Node]:
    """Return the values of a mapping by key, or the items of a list of named mappings by name."""
    if isinstance(node.value, dict):
        return dict(node.value)
    items = node.value if isinstance(node.value, list) else []
    return {name: item for item in items if (name := _name_of(item)) is not None}


def _name_of(item: Node) -> str | None:
    name = item.value.get("name") if isinstance(item.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else None


def merge(base: Node, own: Node, path: KeyPath, problems: list[Problem]) -> Node:
    """Merge mappings by key and named lists by name; everything else replaces what was there."""
    if any(value is None or value is UNKNOWN for value in (base.value, own.value)):
        return own
    if kind_of(own) != kind_of(base):
        text = f"{show_node(own)} cannot replace {kind_of(base)} ({base.place}); allowed:"
        text += f" {kind_of(base)}, or leave that out by `without`"
        problems.append(problem(path, text, own.place))
        return base
    if isinstance(own.value, dict):
        merged = dict(base.value)
        for key, value in own.value.items():
            known = merged.get(key)
            merged[key] = value if known is None else merge(known, value, (*path, key), problems)
        return Node(merged, own.place)
    if _is_named(path):
        return Node(_merge_named(base, own, path, problems), own.place)
    return own


def _merge_named(base: Node, own: Node, path: KeyPath, problems: list[Problem]) -> list[Node]:
    merged = list(base.value)
    places = {_name_of(item): index for index, item in enumerate(merged)}
    seen: set[str] = set()
    if not own.value:
        text = "[] leaves nothing out; allowed: mappings with a name, or `without`"
        problems.append(problem(path, text, own.place))
    for index, item in enumerate(own.value):
        name = _name_of(item)
        if name is None:
            text = "has no name; allowed: mappings with a name, which are merged by it"
            problems.append(problem((*path, index), f"{show_node(item)} {text}", item.place))
            continue
        if name in places and name not in seen:
            place = places[name]
            merged[place] = merge(merged[place], item, (*path, place), problems)
        else:
            merged.append(item)
        seen.add(name)
    return merged


def kind_of(node: Node) -> str:
    """Return whether a node is a mapping, a list or a single value, as words."""
    if isinstance(node.value, dict):
        return "a mapping"
    return "a list" if isinstance(node.value, list) else "a single value"


def show_node(node: Node) -> str:
    """Return a node as an error quotes it: a single value itself, or its kind."""
    return kind_of(node) if isinstance(node.value, dict | list) else show(node.value)
