"""The interpreter that a treatment runs with, and its part of a specification."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import KeyPath, Problem, problem, show
from stagebench.errors import WorkflowError
from stagebench.interpreters import Interpreter, ask_there, find_interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@cache
def look_up_interpreter(name: str, beside: Path | None) -> Interpreter | str:
    """Return an interpreter by its name in a config, or a text that says what is wrong with it."""
    try:
        return find_interpreter(name, beside)
    except WorkflowError as error:
        return str(error)


def sound_interpreter(name: str, beside: Path | None) -> Interpreter:
    """Return a checked interpreter; raises WorkflowError if something is wrong with it."""
    found = look_up_interpreter(name, beside)
    if isinstance(found, str):
        raise WorkflowError(found)
    return found


def find_python_problems(python: Any, path: KeyPath, beside: Path | None) -> list[Problem]:
    """Check that a treatment's interpreter can run it; `path` leads to the setting `python`."""
    if not isinstance(python, str) or python is UNKNOWN:
        return []
    found = look_up_interpreter(python, beside)
    return [problem(path, found)] if isinstance(found, str) else []


def hide_handlers(stages: Any) -> Any:
    """Return stages whose handlers are unknown: without an interpreter, nothing of them is."""
    if not isinstance(stages, list):
        return stages
    return [stage | {"handler": UNKNOWN} if isinstance(stage, dict) else stage for stage in stages]


def check_interpreter(specification: Mapping[str, Any], beside: Path | None) -> Interpreter | None:
    """Find the interpreter of a specification, and check that it is the one that was planned with.

    Sources of handlers and versions of packages are checked where they are found: in it. Returns
    None if a specification names none. Raises WorkflowError.
    """
    planned = specification.get("python")
    if planned is None:
        return None
    found = find_interpreter(planned["name"], beside)
    if (found.version, found.fingerprint) != (planned["version"], planned["build"]):
        raise WorkflowError(
            f"the interpreter {show(planned['name'])} was Python {planned['version']} (build"
            f" {planned['build']}) when the study was started, and is Python {found.version} (build"
            f" {found.fingerprint}) now; start it again"
        )
    question = {
        "stages": [{key: one[key] for key in _CHECKED} for one in specification["stages"]],
        "process": specification["process"],
        "packages": planned["packages"],
        "beside": None if beside is None else str(beside.absolute()),
    }
    ask_there(found, "stagebench.handlers.source:check_there", question)
    return found


_CHECKED = ("name", "handler", "source")
