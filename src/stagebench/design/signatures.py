"""Parameters of handlers, read from their signatures: which values a config may set.

msgspec checks and converts the values. The error messages are ours, made from what
`msgspec.inspect` reports of a type. Supported are annotations that YAML values can match.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

import msgspec
import msgspec.inspect as described

from stagebench.design.annotations import (
    SIMPLE,
    UPSTREAM,
    Annotation,
    is_json,
    write_parameters,
)
from stagebench.design.levels import holds_unknown
from stagebench.design.problems import KeyPath, Problem, problem, show, unknown
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable


Json = dict[str, Any]

Parameters: TypeAlias = "dict[str, Any]"
Known: TypeAlias = "Mapping[str, Parameter]"
HANDLED = (
    "bool, int, float, str, None, Any, Literal, unions, list[…] and dict[str, …] of these, or"
    " Annotated[…, Bounds(…)]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a handler.

    `default` is inspect's `empty` if there is none. `form` is the annotation in the form that
    msgspec checks. `allowed` describes the values that a config may set ("a number > 0"). `cells`
    lists the types that a CSV cell is tried as, in this order (`read_cell`).
    """

    name: str
    default: Any
    form: Annotation
    allowed: str
    cells: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether a config has to set it."""
        return self.default is inspect.Parameter.empty

    def accepts(self, value: object) -> bool:
        """Return whether a value has the right type and is within the bounds."""
        try:
            self.convert(value)
        except msgspec.ValidationError:
            return False
        return True

    def convert(self, value: Any) -> Any:
        """Return a value in its canonical form: for a float parameter, 1 becomes 1.0."""
        return msgspec.convert(value, self.form)


def read_parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Read the parameters of a function that a config may set, from its signature.

    Without an annotation any value is allowed. Raises WorkflowError for parameters that cannot be
    set by name or whose annotation is not supported.
    """
    return restore_parameters(write_parameters(function))


def restore_parameters(written: Sequence[Json]) -> dict[str, Parameter]:
    """Make parameters of what `write_parameters` returned; raises WorkflowError, as above."""
    known, problems = {}, []
    for one in written:
        try:
            known[one["name"]] = _restore_parameter(one)
        except WorkflowError as error:
            problems.append(str(error))
    if problems:
        raise WorkflowError("; ".join(problems))
    return known


def _restore_parameter(written: Json) -> Parameter:
    name = written["name"]
    if "problem" in written:
        raise WorkflowError(f"parameter '{name}': {written['problem']}")
    missing = _HIDDEN if "hidden" in written else inspect.Parameter.empty
    default = written.get("default", missing)
    made = make_parameter(name, _restore(written["form"]), default, written["text"])
    # None, and what no config could hold, may stand for "not given" whatever the annotation says.
    if isinstance(default, bool | int | float | str | list | dict) and not made.accepts(default):
        wrong = f"its default {default!r} is not allowed; allowed: {made.allowed}"
        raise WorkflowError(f"parameter '{name}': {wrong}")
    return made


_HIDDEN = object()
"""Stands for a default that a config could not give."""


class _OtherType:
    """Stands for a type that no value of a config has."""


def _restore(written: Any) -> Annotation:
    if isinstance(written, str):
        return SIMPLE[written]
    annotation: Annotation = _OtherType
    match written:
        case {"bounds": limits, "of": of}:
            annotation = _restore(of)
            for above, at_least, at_most in limits:
                bounds = Bounds(above=above, at_least=at_least, at_most=at_most)
                annotation = Annotated[annotation, bounds]
        case {"union": members}:
            annotation = reduce(or_, map(_restore, members))
        case {"choices": choices}:
            annotation = Literal[tuple(choices)]
        case {"list": items}:
            annotation = types.GenericAlias(list, _restore(items))
        case {"dict": [key, values]}:
            annotation = types.GenericAlias(dict, (_restore(key), _restore(values)))
    return annotation


def find_parameter_problems(given: Parameters, known: Known, path: KeyPath) -> list[Problem]:
    """Check the names and values that a config sets; missing parameters are not reported."""
    found = [(name, _why_wrong(name, value, known)) for name, value in given.items()]
    return [problem((*path, name), reason) for name, reason in found if reason]


def missing_parameters(given: Parameters, known: Known) -> list[Parameter]:
    """Return the required parameters that `given` lacks."""
    return [p for p in known.values() if p.required and p.name not in given]


def default_parameters(known: Known) -> Parameters:
    """Return the defaults that a config could set; others are only part of the source."""
    return {p.name: p.default for p in known.values() if _is_givable(p)}


def convert_parameters(given: Parameters, known: Known) -> Parameters:
    """Return checked values in their canonical form."""
    return {name: known[name].convert(value) for name, value in given.items()}


def _why_wrong(name: str, value: Any, known: Known) -> str:
    if name == UPSTREAM:
        return f"the runner passes '{UPSTREAM}'; allowed: no such key"
    if name not in known:
        return unknown("parameter", name, known)
    if holds_unknown(value) or known[name].accepts(value):
        return ""
    return f"{show(value)} is not allowed; allowed: {known[name].allowed}"


def _is_givable(parameter: Parameter) -> bool:
    return (
        not parameter.required
        and parameter.default is not _HIDDEN
        and is_json(parameter.default)
        and parameter.accepts(parameter.default)
    )


def make_parameter(name: str, annotation: Annotation, default: Any, shown: str = "") -> Parameter:
    """Make a parameter; raises WorkflowError if its annotation, `shown` so, is not supported."""
    try:
        form = _translate(annotation)
        # The decoder refuses unions of types that it cannot distinguish.
        msgspec.json.Decoder(form)
        allowed, cells = _explain(described.type_info(form))
    except Exception as error:  # msgspec inspects classes, which may raise anything
        shown = shown or inspect.formatannotation(annotation)
        text = f"its annotation {shown} cannot be checked"
        raise WorkflowError(
            f"parameter '{name}': {text}; allowed: {HANDLED}, or none ({error})"
        ) from error
    known = tuple(cell for cell in _CELLS if cell in cells)
    return Parameter(name=name, default=default, form=form, allowed=allowed, cells=known)


def _translate(annotation: Annotation, limits: tuple[Bounds, ...] = ()) -> Annotation:
    """Return an annotation as msgspec reads it, with bounds attached to the numbers."""
    origin: Any = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        own = tuple(one for one in arguments[1:] if isinstance(one, Bounds))
        return _bound(arguments[0], limits, own)
    if origin in (Union, types.UnionType):
        return reduce(or_, (_translate(one, limits) for one in arguments))
    if origin in (list, Sequence, dict, Mapping):
        return origin[tuple(map(_translate, arguments))]
    if origin is Literal:
        # msgspec sorts the choices; messages keep the order of the signature.
        return Annotated[annotation, msgspec.Meta(extra={"choices": arguments})]
    if annotation in (int, float):
        return reduce(
            lambda number, one: Annotated[number, _meta(one, annotation)], limits, annotation
        )
    return Any if annotation is object else annotation


def _bound(
    annotation: Annotation, limits: tuple[Bounds, ...], own: tuple[Bounds, ...]
) -> Annotation:
    bounded = _translate(annotation, (*limits, *own))
    if own and bounded == _translate(annotation, limits):
        raise WorkflowError("Bounds apply only to int and float")
    return bounded


def _meta(bounds: Bounds, number: type) -> msgspec.Meta:
    limits = {"gt": bounds.above, "ge": bounds.at_least, "le": bounds.at_most}
    known: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    if number is int:
        # msgspec wants whole numbers as limits of whole numbers.
        known = {n: math.ceil(v) if n == "ge" else math.floor(v) for n, v in known.items()}
    return msgspec.Meta(**known)


_CELLS = ("bool", "null", "int", "float", "json", "text")
"""Types that a CSV cell can have, in the order in which they are tried."""

_PLAIN: dict[type[described.Type], tuple[str, str]] = {
    described.BoolType: ("true or false", "bool"),
    described.IntType: ("a whole number", "int"),
    described.FloatType: ("a number", "float"),
    described.StrType: ("a text", "text"),
    described.NoneType: ("null", "null"),
}
"""Type → its description and the type of its CSV cells."""


def _explain(kind: described.Type) -> tuple[str, set[str]]:
    """Return the description of a type and the types of its CSV cells; raises WorkflowError."""
    match kind:
        case described.AnyType():
            words, cells = "any value", set(_CELLS)
        case described.IntType() | described.FloatType():
            word, cell = _PLAIN[type(kind)]
            words, cells = f"{word} {_bounds(kind)}".rstrip(), {cell}
        case described.Metadata(extra={"choices": choices}):
            words = ", ".join(map(show, choices))
            cells = {_PLAIN[type(described.type_info(type(choice)))][1] for choice in choices}
        case described.UnionType():
            _check_numbers(kind)
            members = list(map(_explain, kind.types))
            words = " or ".join(word for word, _ in members)
            cells = {cell for _, some in members for cell in some}
        case described.ListType():
            words, cells = _explain_items("a list, each item", kind.item_type), {"json"}
        case described.DictType(key_type=described.StrType() | described.AnyType()):
            words, cells = _explain_items("a mapping, each value", kind.value_type), {"json"}
        case _ if type(kind) in _PLAIN:
            words, cell = _PLAIN[type(kind)]
            cells = {cell}
        case _:
            raise WorkflowError("no YAML value has this type")
    return words, cells


def _explain_items(each: str, items: described.Type) -> str:
    words, _ = _explain(items)
    return each.partition(",")[0] if isinstance(items, described.AnyType) else f"{each} {words}"


def _bounds(kind: described.IntType | described.FloatType) -> Bounds:
    return Bounds(above=kind.gt, at_least=kind.ge, at_most=kind.le)


def _check_numbers(union: described.UnionType) -> None:
    """Refuse a union in which only some members allow a certain whole number.

    msgspec checks a value against one member only.
    """
    limits = set()
    for kind in union.types:
        match kind:
            case described.IntType() | described.FloatType():
                limits.add(repr(_meta(_bounds(kind), int)))
            case described.Metadata(extra={"choices": choices}):
                limits |= {"choices" for choice in choices if type(choice) is int}
    if len(limits) > 1:
        raise WorkflowError("all numbers of a union must have the same limits")
