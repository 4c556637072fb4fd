"""Annotations of handlers' parameters: which values of a config they allow, and in which form.

Those that a value of YAML can have: bool, int, float, str, None, Any, Literal, unions, lists and
mappings with text keys of these, and `Annotated[…, Bounds(…)]` around each.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from stagebench.handlers.bounds import Bounds
from stagebench.problems import show

if TYPE_CHECKING:
    from collections.abc import Iterator

Annotation: TypeAlias = Any
"""What stands after a parameter's colon."""

HANDLED = (
    "bool, int, float, str, None, Any, Literal, unions, list[…] and dict[str, …] of these, or"
    " Annotated[…, Bounds(…)]"
)

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "null",
    None: "null",
    Any: "any value",
    object: "any value",
    list: "a list",
    Sequence: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
}

_CELLS: dict[Any, tuple[str, ...]] = {
    bool: ("bool",),
    int: ("int",),
    float: ("float",),
    str: ("text",),
    types.NoneType: ("null",),
    None: ("null",),
    Any: ("bool", "null", "int", "float", "json", "text"),
    object: ("bool", "null", "int", "float", "json", "text"),
}


def is_handled(annotation: Annotation) -> bool:
    """Tell whether values can be held against an annotation."""
    origin, arguments = _split(annotation)
    if origin is Annotated:
        return is_handled(arguments[0])
    if origin is Literal:
        return all(choice is None or type(choice) in (bool, int, str) for choice in arguments)
    if origin in (Union, types.UnionType):
        return all(map(is_handled, arguments))
    if origin in (list, Sequence):
        return is_handled(arguments[0])
    if origin in (dict, Mapping):
        return arguments[0] is str and is_handled(arguments[1])
    return _is_plain(annotation)


def allows(annotation: Annotation, value: object) -> bool:
    """Tell whether a value has the type, and lies inside the bounds if it is a number."""
    origin, arguments = _split(annotation)
    if origin is Annotated:
        return allows(arguments[0], value) and _is_inside(value, _bounds(arguments))
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (Union, types.UnionType):
        return any(allows(argument, value) for argument in arguments)
    if origin in (list, Sequence):
        return isinstance(value, list) and all(allows(arguments[0], item) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(allows(arguments[1], v) for v in value.values())
    return _is_of(value, annotation)


def describe(annotation: Annotation) -> str:
    """Say what a config may give: "a number > 0"."""
    origin, arguments = _split(annotation)
    if origin is Annotated:
        return " ".join([describe(arguments[0]), *map(str, _bounds(arguments))])
    if origin is Literal:
        return ", ".join(show(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin in (list, Sequence):
        return f"a list, each item {describe(arguments[0])}"
    if origin in (dict, Mapping):
        return f"a mapping, each value {describe(arguments[1])}"
    return _KINDS[annotation]


def convert(annotation: Annotation, value: Any) -> Any:
    """Give an allowed value its one form: a whole number is a float where no int is asked for."""
    origin, arguments = _split(annotation)
    if origin is Annotated:
        return convert(arguments[0], value)
    if origin in (Union, types.UnionType):
        forms = [convert(one, value) for one in arguments if allows(one, value)]
        return next((form for form in forms if type(form) is type(value)), forms[0])
    if origin in (list, Sequence):
        return [convert(arguments[0], item) for item in value]
    if origin in (dict, Mapping):
        return {key: convert(arguments[1], item) for key, item in value.items()}
    return float(value) if annotation is float else value


def cell_kinds(annotation: Annotation) -> tuple[str, ...]:
    """Tell what the text of a CSV cell may stand for, the first that fits (`read_cell`)."""
    wanted = set(_cell_kinds(annotation))
    return tuple(kind for kind in _CELLS[Any] if kind in wanted)


def _cell_kinds(annotation: Annotation) -> Iterator[str]:
    origin, arguments = _split(annotation)
    if origin is Annotated:
        yield from _cell_kinds(arguments[0])
    elif origin is Literal:
        for choice in arguments:
            yield from _CELLS[type(choice)]
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _cell_kinds(argument)
    else:
        yield from _CELLS.get(annotation, ("json",))


def _split(annotation: Annotation) -> tuple[Any, tuple[Any, ...]]:
    """Give what an annotation is made of; a bare `list` has no arguments and no origin."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    return (origin, arguments) if arguments else (None, ())


def _bounds(arguments: tuple[Any, ...]) -> list[Bounds]:
    return [extra for extra in arguments[1:] if isinstance(extra, Bounds)]


def _is_plain(annotation: Annotation) -> bool:
    try:
        return annotation in _KINDS
    except TypeError:  # not hashable: an annotation may be anything
        return False


def _is_inside(value: object, limits: list[Bounds]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return all(bounds.allows(value) for bounds in limits)


def _is_of(value: object, annotation: Annotation) -> bool:
    if annotation is Any or annotation is object:
        return True
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation in (list, Sequence):
        return isinstance(value, list)
    if annotation in (dict, Mapping):
        return isinstance(value, dict)
    return value is None if annotation in (None, types.NoneType) else type(value) is annotation
