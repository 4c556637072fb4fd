"""Parameters of handlers, read from their signatures: what a config may give them."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from stagebench.design.placeholders import is_open
from stagebench.handlers.bounds import Bounds
from stagebench.handlers.registry import load_handler
from stagebench.problems import Path, Problem, problem, show, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Parameters: TypeAlias = "dict[str, Any]"

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a handler; `default` is inspect's `empty` where there is none."""

    name: str
    annotation: Any
    bounds: Bounds | None
    default: Any

    @property
    def required(self) -> bool:
        """Tell whether a config has to give it."""
        return self.default is inspect.Parameter.empty

    @property
    def allowed(self) -> str:
        """Say what a config may give: "a number > 0"."""
        return _describe(self.annotation) + (f" {self.bounds}" if self.bounds else "")

    def accepts(self, value: object) -> bool:
        """Tell whether a value has the type and lies inside the bounds."""
        if not _is_of(value, self.annotation):
            return False
        if self.bounds is None or not isinstance(value, int | float):
            return True
        return self.bounds.allows(value)

    def convert(self, value: Any) -> Any:  # noqa: ANN401 - a parameter's value
        """Give the one form of a value: a whole number for a float parameter becomes a float."""
        return float(value) if self.annotation is float and value is not None else value


@cache
def handler_parameters(handler: str) -> dict[str, Parameter]:
    """Read the parameters of a registered handler."""
    return read_parameters(load_handler(handler))


def read_parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Read the parameters of a function from its signature and annotations."""
    hints = typing.get_type_hints(function, include_extras=True)
    named = inspect.signature(function).parameters.values()
    return {p.name: _read_parameter(p, hints.get(p.name, Any)) for p in named}


def find_parameter_problems(
    given: Parameters, known: dict[str, Parameter], path: Path
) -> list[Problem]:
    """Check names and values that a config gives a handler; what is missing is not looked for."""
    problems = []
    for name, value in given.items():
        if name not in known:
            problems.append(problem((*path, name), unknown("parameter", name, known)))
        elif not is_open(value) and not known[name].accepts(value):
            allowed = known[name].allowed
            problems.append(
                problem((*path, name), f"{show(value)} is not allowed; allowed: {allowed}")
            )
    return problems


def missing_parameters(given: Parameters, known: dict[str, Parameter]) -> list[Parameter]:
    """List the parameters without a default that `given` lacks."""
    return [p for p in known.values() if p.required and p.name not in given]


def convert_parameters(given: Parameters, known: dict[str, Parameter]) -> Parameters:
    """Give checked values in their one form."""
    return {name: known[name].convert(value) for name, value in given.items()}


def _read_parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:  # noqa: ANN401 - an annotation
    extras: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *rest = typing.get_args(hint)
        extras = tuple(rest)
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
    return Parameter(name=parameter.name, annotation=hint, bounds=bounds, default=parameter.default)


def _is_of(value: object, annotation: Any) -> bool:  # noqa: ANN401 - an annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (Union, types.UnionType):
        return any(_is_of(value, argument) for argument in arguments)
    if origin is list:
        return isinstance(value, list) and all(_is_of(item, arguments[0]) for item in value)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is annotation


def _describe(annotation: Any) -> str:  # noqa: ANN401 - an annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(show(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is list:
        return f"a list, each item {_describe(arguments[0])}"
    return _KINDS[annotation]
