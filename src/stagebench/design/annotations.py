"""The parameters of a function as JSON, written where its module is imported.

That may be another interpreter, without any of our packages: this needs the standard library alone.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import Bounds
from stagebench.store import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable


Json = dict[str, Any]

Annotation: TypeAlias = Any
"""Any annotation of a parameter."""

UPSTREAM = "upstream"
"""The parameter through which the runner passes the results of the stages before."""

SIMPLE: dict[str, Annotation] = {
    "any": Any,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "null": None,
}
"""Annotations that are written by their names."""


def write_parameters(function: Callable[..., Any]) -> list[Json]:
    """Return the parameters that a config may set, without objects of the function's module.

    Of one that cannot be set by name, or whose annotation cannot be evaluated, that is written.
    """
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        _write_parameter(parameter, function)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in kinds and parameter.name != UPSTREAM
    ]


def _write_parameter(parameter: inspect.Parameter, function: Callable[..., Any]) -> Json:
    written: Json = {"name": parameter.name}
    try:
        annotation = evaluate_annotation(parameter, function)
    except WorkflowError as error:
        return written | {"problem": str(error)}
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        text = "it is positional-only; allowed: parameters that can be passed by name"
        return written | {"problem": text}
    written["form"] = write_annotation(annotation)
    written["text"] = inspect.formatannotation(annotation)
    if parameter.default is inspect.Parameter.empty:
        return written
    return written | (
        {"default": parameter.default} if is_json(parameter.default) else {"hidden": True}
    )


def evaluate_annotation(parameter: inspect.Parameter, function: Callable[..., Any]) -> Annotation:
    """Evaluate one annotation alone: others may be only for type checkers."""
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    code = inspect.unwrap(function)
    # Of an object that is called, the method has them.
    names = getattr(code if inspect.isfunction(code) else type(code).__call__, "__globals__", {})

    def stand_in() -> None: ...

    stand_in.__annotations__ = {parameter.name: parameter.annotation}
    try:
        return typing.get_type_hints(stand_in, names, include_extras=True)[parameter.name]
    except Exception as error:  # evaluating it may raise anything
        text = f"its annotation {parameter.annotation} cannot be evaluated ({error})"
        raise WorkflowError(text) from error


def write_annotation(annotation: Annotation) -> Any:
    """Return an annotation as JSON; one that no config can match is written as {"other": …}."""
    origin: Any = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    written: Any
    if not isinstance(annotation, Hashable):
        written = {"other": repr(annotation)}
    elif origin is Annotated:
        own = [one for one in arguments[1:] if isinstance(one, Bounds)]
        limits = [[one.above, one.at_least, one.at_most] for one in own]
        written = {"bounds": limits, "of": write_annotation(arguments[0])}
    elif origin in (Union, types.UnionType):
        written = {"union": list(map(write_annotation, arguments))}
    elif origin is Literal and all(isinstance(one, str | int | None) for one in arguments):
        written = {"choices": list(arguments)}
    elif {list, Sequence} & {annotation, origin}:
        written = {"list": write_annotation(arguments[0] if arguments else Any)}
    elif {dict, Mapping} & {annotation, origin}:
        written = {"dict": list(map(write_annotation, arguments or (Any, Any)))}
    else:
        written = _write_plain(annotation)
    return written


_NAMES = {type(None): "null", object: "any"} | {form: name for name, form in SIMPLE.items()}


def _write_plain(annotation: Annotation) -> Any:
    # Of NewType, and of `type X = …`.
    for name in ("__supertype__", "__value__"):
        if not isinstance(annotation, type) and hasattr(annotation, name):
            return write_annotation(getattr(annotation, name))
    return _NAMES.get(annotation, {"other": inspect.formatannotation(annotation)})


def is_json(value: Any) -> bool:
    """Return whether a value is the same after it was written as JSON and read back."""
    try:
        # A tuple would come back as a list, an enum member as its text.
        restored = json.loads(canonical_json(value))
    except (TypeError, ValueError):
        return False
    return type(restored) is type(value) and bool(restored == value)
