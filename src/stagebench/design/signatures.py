"""Parameters of handlers, read from their signatures: what a config may give them.

Annotations of handlers' parameters: which values of a config they allow, and in which form.

Those that a value of YAML can have: bool, int, float, str, None, Any, Literal, unions, lists and
mappings with text keys of these, and `Annotated[…, Bounds(…)]` around each.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from stagebench.design.levels import holds_unknown
from stagebench.design.problems import KeyPath, Problem, problem, show, unknown
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import Bounds
from stagebench.store import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Parameters: TypeAlias = "dict[str, Any]"
Known: TypeAlias = "Mapping[str, Parameter]"

UPSTREAM = "upstream"
"""The parameter by which a handler takes what the stages before it have made, from the runner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a handler; `default` is inspect's `empty` where there is none."""

    name: str
    annotation: Annotation
    default: Any

    @property
    def required(self) -> bool:
        """Tell whether a config has to give it."""
        return self.default is inspect.Parameter.empty

    @property
    def allowed(self) -> str:
        """Say what a config may give: "a number > 0"."""
        return describe(self.annotation)

    @property
    def cells(self) -> tuple[str, ...]:
        """Tell what the text of a CSV cell may stand for."""
        return cell_kinds(self.annotation)

    def accepts(self, value: object) -> bool:
        """Tell whether a value has the type and lies inside the bounds."""
        return allows(self.annotation, value)

    def convert(self, value: Any) -> Any:
        """Give the one form of a value: a whole number for a float parameter becomes a float."""
        return convert(self.annotation, value)


def read_parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Read the parameters of a function that a config may give, from its signature.

    Without an annotation any value may be given. Raises WorkflowError for a parameter that cannot
    be given by its name, or whose annotation is none that values can be held against.
    """
    named = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known, problems = {}, []
    for parameter in named:
        if parameter.kind not in kinds and parameter.name != UPSTREAM:
            try:
                known[parameter.name] = _read_parameter(parameter, function)
            except WorkflowError as error:
                problems.append(str(error))
    if problems:
        raise WorkflowError("; ".join(problems))
    return known


def find_parameter_problems(given: Parameters, known: Known, path: KeyPath) -> list[Problem]:
    """Check names and values that a config gives a handler; what is missing is not looked for."""
    found = [(name, _why_wrong(name, value, known)) for name, value in given.items()]
    return [problem((*path, name), reason) for name, reason in found if reason]


def missing_parameters(given: Parameters, known: Known) -> list[Parameter]:
    """List the parameters without a default that `given` lacks."""
    return [p for p in known.values() if p.required and p.name not in given]


def default_parameters(known: Known) -> Parameters:
    """Give the defaults that a config could have given: others are a matter of the source alone."""
    return {p.name: p.default for p in known.values() if _is_givable(p)}


def convert_parameters(given: Parameters, known: Known) -> Parameters:
    """Give checked values in their one form."""
    return {name: known[name].convert(value) for name, value in given.items()}


def _why_wrong(name: str, value: Any, known: Known) -> str:
    if name == UPSTREAM:
        return f"the runner gives '{UPSTREAM}'; allowed: no such key"
    if name not in known:
        return unknown("parameter", name, known)
    if holds_unknown(value) or known[name].accepts(value):
        return ""
    return f"{show(value)} is not allowed; allowed: {known[name].allowed}"


def _is_givable(parameter: Parameter) -> bool:
    if parameter.required or not parameter.accepts(parameter.default):
        return False
    try:
        # Any value is accepted where none is asked for: a tuple would come back as a list.
        return bool(json.loads(canonical_json(parameter.default)) == parameter.default)
    except (TypeError, ValueError):
        return False


def _read_parameter(parameter: inspect.Parameter, function: Callable[..., Any]) -> Parameter:
    annotation = _evaluate(parameter, function)
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        text = "it stands before a '/'; allowed: parameters that can be given by name"
        raise WorkflowError(f"parameter '{parameter.name}': {text}")
    if not is_handled(annotation):
        text = inspect.formatannotation(annotation)
        raise WorkflowError(
            f"parameter '{parameter.name}': its annotation {text} cannot be checked; allowed:"
            f" {HANDLED}, or none"
        )
    return Parameter(name=parameter.name, annotation=annotation, default=parameter.default)


def _evaluate(parameter: inspect.Parameter, function: Callable[..., Any]) -> Annotation:
    """Give what one annotation stands for: others may be for type checkers alone."""
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    names = getattr(inspect.unwrap(function), "__globals__", {})

    def stand_in() -> None: ...

    stand_in.__annotations__ = {parameter.name: parameter.annotation}
    try:
        return typing.get_type_hints(stand_in, names, include_extras=True)[parameter.name]
    except Exception as error:  # it is evaluated, and may raise anything
        text = f"its annotation {parameter.annotation} cannot be evaluated ({error})"
        raise WorkflowError(f"parameter '{parameter.name}': {text}") from error


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
