"""Parameters of handlers, read from their signatures: what a config may give them."""

from __future__ import annotations

import inspect
import json
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from stagebench.design.annotations import HANDLED, allows, cell_kinds, convert, describe, is_handled
from stagebench.design.placeholders import is_open
from stagebench.errors import WorkflowError
from stagebench.problems import Path, Problem, problem, show, unknown
from stagebench.store import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stagebench.design.annotations import Annotation

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


def find_parameter_problems(given: Parameters, known: Known, path: Path) -> list[Problem]:
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
    if is_open(value) or known[name].accepts(value):
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
