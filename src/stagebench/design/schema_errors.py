"""Check the structure of what users write against a JSON Schema, with messages of our own.

Every rule of such a schema that a value can break has a `description`, which the message shows as
"allowed".
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from jsonschema import Draft202012Validator, validators
from ruamel.yaml import YAML

from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import (
    KeyPath,
    Problem,
    problem,
    quote_placeholder,
    show,
    unknown,
)
from stagebench.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator


SETTINGS = (
    *("tasks", "engine", "nodes", "in_flight", "arrival", "sampler", "linger", "process"),
    *("python", "server"),
)
"""Keys of an experiment that placeholders may stand in."""

_SCHEMA = ("stagebench.design", "study.schema.yaml")


def find_structure_problems(config: Any) -> list[Problem]:
    """Check a whole config, except the parts with placeholders: see `find_piece_problems`."""
    return _find_problems(make_validator(*_SCHEMA), config, ())


def find_piece_problems(piece: str, value: Any, path: KeyPath) -> list[Problem]:
    """Check one value against the schema's definition `piece`; `path` is the value's path."""
    return _find_problems(make_validator(*_SCHEMA, f"/$defs/{piece}"), value, path)


def _find_problems(validator: Validator, value: Any, path: KeyPath) -> list[Problem]:
    errors = validator.iter_errors(value)
    return list_problems(validator, (one for one in errors if not _is_of_unknown(one)), path)


def _is_of_unknown(error: ValidationError) -> bool:
    """Report whether a value breaks a rule only because it or one of its items is unknown."""
    value = cast("Any", error.instance)
    return value is UNKNOWN or (error.validator == "uniqueItems" and UNKNOWN in value)


@cache
def make_validator(package: str, name: str, pointer: str = "") -> Validator:
    """Make a validator of a package's schema, or of its part at `pointer`.

    Unlike in JSON Schema, 1.0 is not an integer.
    """
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    make: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, type_checker=types
    )
    schema = _load_schema(package, name)
    return make({"$defs": schema["$defs"], "$ref": f"#{pointer}"} if pointer else schema)


def list_problems(
    validator: Validator, errors: Iterable[ValidationError], base: KeyPath = ()
) -> list[Problem]:
    """Return one problem for each path, so a value that breaks two rules is reported once.

    `base` is the path of the value that `validator` was given.
    """
    definitions = cast("dict[str, Any]", validator.schema)["$defs"]
    found = {p.path: p for error in errors for p in _problems(error, definitions, base)}
    return sorted(found.values(), key=lambda p: [str(part).zfill(9) for part in p.path])


def error_path(error: ValidationError) -> KeyPath:
    """Return the path of an error, relative to the value that was checked."""
    return tuple(error.absolute_path)


@cache
def _load_schema(package: str, name: str) -> dict[str, Any]:
    text = resources.files(package).joinpath(name).read_text("utf-8")
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return loaded


def _problems(
    error: ValidationError, definitions: dict[str, Any], base: KeyPath
) -> Iterator[Problem]:
    """Translate one error of jsonschema, whose fields are untyped, into problems."""
    path, value = (*base, *error_path(error)), cast("Any", error.instance)
    rule = cast("dict[str, Any]", error.schema)
    if error.validator == "additionalProperties":
        allowed = list(rule["properties"])
        for key in (key for key in value if key not in allowed):
            yield problem((*path, key), unknown("key", key, allowed))
    elif error.validator == "required":
        for key in (key for key in rule["required"] if key not in value):
            wanted = _described(rule, key, definitions)
            yield problem((*path, key), f"missing; allowed: {wanted}")
    elif "propertyNames" in error.absolute_schema_path:
        yield problem((*path, value), f"not allowed as a name; allowed: {rule['description']}")
    else:
        words = [word for word in rule.get("enum", ()) if isinstance(word, str)]
        near = closest(value, words) if isinstance(value, str) else quote_placeholder(value)
        text = f"{show(value)} is not allowed; allowed: {rule['description']}{near}"
        yield problem(path, text)


def _described(rule: dict[str, Any], key: str, definitions: dict[str, Any]) -> str:
    """Return the description of a missing key."""
    wanted = rule["properties"][key]
    if "$ref" in wanted:
        wanted = definitions[wanted["$ref"].rpartition("/")[2]]
    return str(wanted["description"])
