"""The structure of a config, checked against `study.schema.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.placeholders import UNKNOWN, is_open
from stagebench.structure import error_path, make_validator, tell_problems

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

    from stagebench.problems import Path, Problem

SETTINGS = ("tasks", "in_flight", "arrival", "sampler", "linger", "process")
"""Keys of an experiment that placeholders may stand in."""

_SCHEMA = ("stagebench.design", "study.schema.yaml")


def find_structure_problems(config: dict[str, Any]) -> list[Problem]:
    """Check a whole config; texts with a placeholder pass where a placeholder may stand."""
    validator = make_validator(*_SCHEMA)
    errors = validator.iter_errors(config)
    return tell_problems(validator, [error for error in errors if not _is_passed(error)])


def find_piece_problems(piece: str, value: Any, path: Path) -> list[Problem]:
    """Check one value against the schema's definition `piece`; `path` is the value's place."""
    validator = make_validator(*_SCHEMA, f"/$defs/{piece}")
    return tell_problems(validator, validator.iter_errors(value), path)


def _is_passed(error: ValidationError) -> bool:
    if error.instance is UNKNOWN:
        return True
    return is_open(error.instance) and _may_be_open(error_path(error))


def _may_be_open(path: Path) -> bool:
    match path:
        case ("workflows", int(), "stages", int(), key, *_):
            return key != "name"
        case ("experiments", int(), key, *_):
            return key in SETTINGS
    return False
