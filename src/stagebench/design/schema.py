"""The structure of a config, checked against `study.schema.yaml`, with messages of our own."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import yaml
from jsonschema import Draft202012Validator, validators

from stagebench.design.placeholders import UNKNOWN, is_open
from stagebench.design.problems import Path, Problem, problem, show, unknown
from stagebench.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

SETTINGS = ("tasks", "sampler", "linger", "process")
"""Keys of an experiment that placeholders may stand in."""


def find_structure_problems(config: dict[str, Any]) -> list[Problem]:
    """Check a whole config; texts with a placeholder pass where a placeholder may stand."""
    errors = _validator("").iter_errors(config)
    return _tell([error for error in errors if not _is_passed(error)], ())


def find_piece_problems(piece: str, value: Any, path: Path) -> list[Problem]:  # noqa: ANN401 - checked here
    """Check one value against the schema's definition `piece`; `path` is the value's place."""
    return _tell(_validator(f"/$defs/{piece}").iter_errors(value), path)


def _is_passed(error: ValidationError) -> bool:
    if error.instance is UNKNOWN:
        return True
    return is_open(error.instance) and _may_be_open(_path(error))


def _may_be_open(path: Path) -> bool:
    match path:
        case ("workflows", int(), "stages", int(), key, *_):
            return key != "name"
        case ("experiments", int(), key, *_):
            return key in SETTINGS
    return False


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("stagebench.design").joinpath("study.schema.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@cache
def _validator(pointer: str) -> Validator:
    """Make the validator of the schema's part at `pointer`; 1.0 is no whole number here."""
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    make: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, type_checker=types
    )
    schema = _schema()
    return make({"$defs": schema["$defs"], "$ref": f"#{pointer}"} if pointer else schema)


def _path(error: ValidationError) -> Path:
    return tuple(error.absolute_path)


def _tell(errors: Iterable[ValidationError], base: Path) -> list[Problem]:
    """Make one problem for each place: a value that breaks two rules is told once."""
    found = {p.path: p for error in errors for p in _problems(error, base)}
    return sorted(found.values(), key=lambda p: [str(part).zfill(9) for part in p.path])


def _problems(error: ValidationError, base: Path) -> Iterator[Problem]:
    """Put one error of jsonschema, whose fields have no types, into our words."""
    path, value, rule = (*base, *_path(error)), cast("Any", error.instance), _rule(error)
    if error.validator == "additionalProperties":
        allowed = list(rule["properties"])
        for key in (key for key in value if key not in allowed):
            yield problem((*path, key), unknown("key", key, allowed))
    elif error.validator == "required":
        for key in (key for key in rule["required"] if key not in value):
            yield problem((*path, key), f"missing; allowed: {_described(rule, key)}")
    elif "propertyNames" in error.absolute_schema_path:
        yield problem((*path, value), f"not allowed as a name; allowed: {rule['description']}")
    else:
        near = closest(value, rule["enum"]) if "enum" in rule and isinstance(value, str) else ""
        text = f"{show(value)} is not allowed; allowed: {rule['description']}{near}"
        yield problem(path, text)


def _rule(error: ValidationError) -> dict[str, Any]:
    """Give the part of the schema that was broken."""
    return cast("dict[str, Any]", error.schema)


def _described(rule: dict[str, Any], key: str) -> str:
    """Give the description of a key that is missing."""
    wanted = rule["properties"][key]
    if "$ref" in wanted:
        wanted = _schema()["$defs"][wanted["$ref"].rpartition("/")[2]]
    return str(wanted["description"])
