"""Inside the process that imports one module of a user: it answers questions about the module.

The process may be one of another interpreter: this needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import math
import numbers
import os
import pickle
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from stagebench.design.annotations import UPSTREAM, write_parameters
from stagebench.design.problems import show, unknown
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import MemoryNeed
from stagebench.handlers.registry import find_pipeline_function
from stagebench.handlers.source import module_hash, source_hash
from stagebench.interpreters import find_versions, list_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    Needs: TypeAlias = "Callable[[Sequence[Mapping[str, Any]]], MemoryNeed]"

Json = dict[str, Any]

NO_NEED = MemoryNeed(working_bytes=0, result_bytes=0)

_LONGEST = 200
"""Most characters that a message quotes of an exception."""


def answer_questions() -> None:
    """Import the module that standard input names, and answer on the descriptor in `sys.argv`."""
    # Duplicates, which are not inherited by what the module starts; nor is there input for it.
    answers, questions, nothing = os.dup(int(sys.argv[1])), os.dup(0), os.open(os.devnull, 0)
    os.close(int(sys.argv[1]))
    os.dup2(nothing, 0)
    module: ModuleType | None = None
    own, known = os.getpid(), set[str]()
    for line in open(questions, "rb"):  # noqa: SIM115 - as long as the process
        question, answer = json.loads(line), Json()
        try:
            if module is None:
                sys.path[:] = question["path"] or [*sys.path, *question["more"]]
                known = set(list_imported())  # by what is done at the start of an interpreter
                module = _import_quietly(question["module"])
            elif "source" in question:
                answer = _hash_source(**question["source"])
            elif "versions" in question:
                answer = find_versions({*list_imported()} - known, _path(question["versions"]))
            elif "call" in question:
                place, _, function = question["call"].partition(":")
                call = getattr(importlib.import_module(place), function)
                answer = call(module, **question["given"])
            elif "need" in question:
                find = find_needs(module, question["need"])
                need = find(question["given"]) if find else NO_NEED
                answer = {"working_bytes": need.working_bytes, "result_bytes": need.result_bytes}
            else:
                answer = read_function(module, question["function"])
        except WorkflowError as error:
            answer = {"error": str(error)}
        if os.getpid() != own:  # the module has forked a copy of all this
            os._exit(0)
        with open(answers, "w", encoding="utf-8", closefd=False) as file:
            file.write(f"{json.dumps(answer)}\n")
    os._exit(0)  # whatever the module has left to do


def _path(folder: str | None) -> Path | None:
    return None if folder is None else Path(folder)


def _hash_source(name: str, beside: str | None, *, preload: bool) -> Json:
    """Return the hash of a handler, or of a preloaded module, as it is found here."""
    hash_of = module_hash if preload else source_hash
    return {"source": hash_of(name, _path(beside))}


def _import_quietly(name: str) -> ModuleType:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            module = importlib.import_module(name)
    except BaseException as error:
        # A module may also call sys.exit, or raise something that is no Exception.
        text = f"importing {name} raises {last_line(error)}{_name_place(error)}"
        raise WorkflowError(text) from error
    if said.getvalue():
        text = f"importing {name} prints {show(said.getvalue())}"
        raise WorkflowError(f"{text}; allowed: a module that prints nothing when it is imported")
    return module


def _name_place(error: BaseException) -> str:
    """Return the last line of the user's own files that an import came to, or an empty text."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<")
    ]
    # The first is of importlib, which the next one, the module itself, is called by.
    own = [frame for frame in frames if frame.filename != importlib.__file__]
    if not own:
        return ""
    folder = Path(own[0].filename).parent
    beside = [frame for frame in own if Path(frame.filename).is_relative_to(folder)]
    return f" ({Path(beside[-1].filename).relative_to(folder)}, line {beside[-1].lineno})"


def read_function(module: ModuleType, name: str) -> Json:
    """Return what `Handler` says of a function, as JSON."""
    function = _find_function(module, name)
    return {
        "parameters": write_parameters(function),
        "is_coroutine": inspect.iscoroutinefunction(_with_code(function)),
        "upstream": _read_upstream(function),
        "untravelled": _why_untravelled(function),
        "has_need": find_needs(module, name) is not None,
    }


def _with_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs when a handler is called: itself, or the method of an object."""
    is_plain = inspect.isfunction(inspect.unwrap(function))
    return function if is_plain else type(function).__call__


def _find_function(module: ModuleType, name: str) -> Callable[..., Any]:
    if "." in name:
        return find_pipeline_function(module, name)
    functions = [n for n, value in vars(module).items() if _is_function(value) and n[0] != "_"]
    value = getattr(module, name, None)
    if value is None:
        raise WorkflowError(unknown("function", name, functions))
    if not _is_function(value):
        kind = type(value).__name__
        raise WorkflowError(f"{name} is a {kind}; allowed: a function written in Python")
    function: Callable[..., Any] = value
    return function


def find_needs(module: ModuleType, handler: str) -> Needs | None:
    """Return what estimates the memory of calls: the function's own, or the whole module's."""
    whole = getattr(module, "memory_need", None)
    need = getattr(module, f"memory_need_{handler.rpartition(':')[2]}", whole)
    return None if need is None else partial(_find_largest, need, f"handler '{handler}'")


def _find_largest(
    need_of: Callable[..., MemoryNeed], place: str, given: Sequence[Mapping[str, Any]]
) -> MemoryNeed:
    needs = [_check_need(need_of, place, parameters) for parameters in given]
    return MemoryNeed(
        working_bytes=max(need.working_bytes for need in needs),
        result_bytes=max(need.result_bytes for need in needs),
    )


def _check_need(
    need_of: Callable[..., MemoryNeed], place: str, parameters: Mapping[str, Any]
) -> MemoryNeed:
    try:
        need = need_of(**parameters)
    except Exception as error:
        raise WorkflowError(f"{place}: memory_need raises {last_line(error)}") from error
    if not isinstance(need, MemoryNeed):
        raise WorkflowError(f"{place}: memory_need returns {need!r}; allowed: a MemoryNeed")
    sizes = need.working_bytes, need.result_bytes
    # Written so that NaN, which compares as false, is refused.
    if not all(isinstance(size, numbers.Real) and 0 <= size < math.inf for size in sizes):
        text = f"memory_need returns {need!r}; allowed: numbers of bytes, 0 or more"
        raise WorkflowError(f"{place}: {text}")
    working, result = (int(s) if isinstance(s, numbers.Integral) else float(s) for s in sizes)
    return MemoryNeed(working_bytes=working, result_bytes=result)  # type: ignore[arg-type]


def _is_function(value: object) -> bool:
    """Return whether a value is, or wraps, a function whose signature can be read."""
    try:
        return callable(value) and inspect.isfunction(inspect.unwrap(value))
    except ValueError:  # it wraps itself
        return False


def _read_upstream(function: Callable[..., Any]) -> str:
    parameter = inspect.signature(function).parameters.get(UPSTREAM)
    if parameter is None:
        return "no"
    return "required" if parameter.default is parameter.empty else "optional"


def _why_untravelled(function: Callable[..., Any]) -> str:
    try:
        pickle.dumps(function)
    except Exception as error:  # a wrapper's own __reduce__ may raise anything
        return last_line(error)
    return ""


def last_line(error: BaseException) -> str:
    """Return the last line of a traceback: the type of an exception and what it says."""
    text = traceback.format_exception_only(error)[-1].strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
