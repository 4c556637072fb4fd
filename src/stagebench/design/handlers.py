"""Find the handlers that a config names: import them, read their signatures, report problems.

A user's own module runs code when it is imported, here as later in the measured process. It may
change its process in any way, end it, or never return. So each one is imported in a process of its
own, which answers questions about it: nothing that starts here inherits from it, and whatever it
does is reported as a problem.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import json
import math
import numbers
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from stagebench.design.problems import show, unknown
from stagebench.design.signatures import (
    UPSTREAM,
    Parameter,
    read_parameters,
    restore_parameter,
    write_parameter,
)
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import MemoryNeed
from stagebench.handlers.registry import (
    HANDLERS,
    find_pipeline_function,
    handler_target,
    is_own,
)
from stagebench.handlers.source import find_module, module_file, module_hash, source_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    Needs: TypeAlias = "Callable[[Sequence[Mapping[str, Any]]], MemoryNeed]"

Json = dict[str, Any]

LONGEST_S = 30.0
"""How long a module's import, or its estimates of memory for one treatment, may take."""

_NO_NEED = MemoryNeed(working_bytes=0, result_bytes=0)

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[\w-]+)?", re.ASCII)

_LONGEST = 200
"""Most characters that a message quotes of an exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A usable handler, as described by its signature and its module.

    `upstream`: "no" parameter of this name, an "optional" one, or a "required" one. `untravelled`:
    why it cannot be sent to a process, or an empty text. `need` returns the most memory that a call
    with one of several parameters needs, if the module estimates it: its function
    memory_need_<name>, or memory_need for all its handlers.
    """

    name: str
    parameters: Mapping[str, Parameter]
    source: str
    is_coroutine: bool
    upstream: str
    untravelled: str
    need: Needs | None


@cache
def find_handler(name: str, beside: Path | None) -> Handler | str:
    """Return a handler by its name in a config, or a text that says what is wrong with it.

    `beside` is the config's folder. Results are cached: a later edit of the module is not seen.
    """
    if not is_own(name) and name not in HANDLERS:
        return f"{unknown('handler', name, sorted(HANDLERS))}, or module:function"
    if is_own(name) and not _TARGET.fullmatch(name):
        return f"{show(name)} is not allowed; allowed: a handler's name, or module:function"
    try:
        return _load_handler(name, beside)
    except WorkflowError as error:
        return f"handler '{name}': {error}"


def known_handler(name: object, beside: Path | None) -> Handler | None:
    """Return a handler, or None if its name is unknown or something is wrong with it."""
    found = find_handler(name, beside) if isinstance(name, str) else None
    return found if isinstance(found, Handler) else None


def sound_handler(name: str, beside: Path | None) -> Handler:
    """Return a checked handler; raises WorkflowError if something is wrong with it."""
    found = find_handler(name, beside)
    if isinstance(found, str):
        raise WorkflowError(found)
    return found


def memory_need(handler: Handler, *given: Mapping[str, Any]) -> MemoryNeed:
    """Return the most memory that one call needs by the handler's module, or 0 without an estimate.

    Raises WorkflowError if the estimate fails.
    """
    if handler.need is None:
        return _NO_NEED
    return handler.need(given)


@cache
def find_preload(module: str, beside: Path | None) -> str:
    """Return what is wrong with a module that is to be preloaded, or an empty text."""
    top = module.partition(".")[0]
    try:
        if beside is not None and module_file(top, beside) is not None:
            find_module(module, beside)
        elif top in sys.stdlib_module_names and importlib.util.find_spec(module):
            return ""
        open_module(module, beside)
    except ImportError as error:  # of a package of the standard library
        return f"importing {module} raises {_last_line(error)}"
    except WorkflowError as error:
        return str(error)
    return ""


@cache
def preload_source(module: str, beside: Path | None) -> str | None:
    """Return the hash of a preloaded module beside the config; None for one of the environment."""
    if beside is None or module_file(module.partition(".")[0], beside) is None:
        return None
    return module_hash(module, beside)


def _load_handler(name: str, beside: Path | None) -> Handler:
    module, _, function = handler_target(name).partition(":")
    find_module(module, beside)
    need: Needs | None
    if is_own(name):
        found = open_module(module, beside).ask({"function": function})
        need = partial(_ask_need, name, beside) if found.pop("has_need") else None
    else:
        found = _read_function(importlib.import_module(module), function)
        need = _find_needs(importlib.import_module(module), name)
        del found["has_need"]
    read = [restore_parameter(written) for written in found.pop("parameters")]
    parameters = {parameter.name: parameter for parameter in read}
    source = source_hash(name, beside)
    return Handler(name=name, parameters=parameters, source=source, need=need, **found)


def _ask_need(name: str, beside: Path | None, given: Sequence[Mapping[str, Any]]) -> MemoryNeed:
    module = open_module(name.partition(":")[0], beside)
    return MemoryNeed(**module.ask({"need": name, "given": given}))


class OwnModule:
    """A module that is imported in a process of its own, and can be asked about its functions."""

    def __init__(self, name: str, beside: Path | None) -> None:
        self._name = name
        self.is_late = False
        self._ended = ""
        questions, answers = os.pipe(), os.pipe()
        program = f"from {__name__} import answer_questions; answer_questions()"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, str(answers[1])],
            stdin=questions[0],
            stdout=subprocess.DEVNULL,
            pass_fds=[answers[1]],
            cwd=beside,  # as in the measured process
            start_new_session=True,
        )
        os.close(questions[0])
        os.close(answers[1])
        self._questions = os.fdopen(questions[1], "w", encoding="utf-8")
        self._answers = os.fdopen(answers[0], encoding="utf-8")
        pipes = self._questions, self._answers
        self._end = weakref.finalize(self, _end_process, self._process, *pipes)
        path = [*sys.path, *([] if beside is None else [str(beside.absolute())])]
        self.ask({"module": name, "path": path})

    def ask(self, question: Json) -> Json:
        """Return the answer; raises WorkflowError with what the module does instead."""
        if self._ended:
            raise WorkflowError(self._ended)
        watch = threading.Timer(LONGEST_S, self._expire)
        watch.start()
        try:
            self._questions.write(f"{json.dumps(question)}\n")
            self._questions.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
            watch.join()  # it holds this module, whose process must end when it is closed
        if not line.endswith("\n"):
            doing = "asking memory_need of" if "need" in question else "importing"
            doing = question.get("doing", doing)
            self._ended = f"{doing} {self._name} {self._describe_end()}"
            raise WorkflowError(self._ended)
        answer: Json = json.loads(line)
        if "error" in answer:
            raise WorkflowError(answer["error"])
        return answer

    def _expire(self) -> None:
        self.is_late = True
        _kill_session(self._process)

    def _describe_end(self) -> str:
        self._end()
        if self.is_late:
            return f"takes too long; allowed: {LONGEST_S:g} s"
        code = self._process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"ends the process ({how}); allowed: a module that lets it go on"


@cache
def open_module(name: str, beside: Path | None) -> OwnModule:
    """Import a module in a process of its own, which answers questions about it."""
    return OwnModule(name, beside)


def close_modules() -> None:
    """End the processes of all own modules; a later question starts one again."""
    open_module.cache_clear()


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_process(process: subprocess.Popen[bytes], *pipes: TextIO) -> None:
    """End a process with all that its module has started, unless it has ended by itself."""
    for pipe in pipes:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.1)
    _kill_session(process)
    process.wait()


def answer_questions() -> None:
    """Import the module that standard input names, and answer on the descriptor in `sys.argv`."""
    # Duplicates, which are not inherited by what the module starts; nor is there input for it.
    answers, questions, nothing = os.dup(int(sys.argv[1])), os.dup(0), os.open(os.devnull, 0)
    os.close(int(sys.argv[1]))
    os.dup2(nothing, 0)
    module: ModuleType | None = None
    own = os.getpid()
    for line in open(questions, "rb"):  # noqa: SIM115 - as long as the process
        question, answer = json.loads(line), Json()
        try:
            if module is None:
                sys.path[:] = question["path"]
                module = _import_quietly(question["module"])
            elif "call" in question:
                place, _, function = question["call"].partition(":")
                call = getattr(importlib.import_module(place), function)
                answer = call(module, **question["given"])
            elif "need" in question:
                find = _find_needs(module, question["need"])
                need = find(question["given"]) if find else _NO_NEED
                answer = {"working_bytes": need.working_bytes, "result_bytes": need.result_bytes}
            else:
                answer = _read_function(module, question["function"])
        except WorkflowError as error:
            answer = {"error": str(error)}
        if os.getpid() != own:  # the module has forked a copy of all this
            os._exit(0)
        with open(answers, "w", encoding="utf-8", closefd=False) as file:
            file.write(f"{json.dumps(answer)}\n")
    os._exit(0)  # whatever the module has left to do


def _import_quietly(name: str) -> ModuleType:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            module = importlib.import_module(name)
    except BaseException as error:
        # A module may also call sys.exit, or raise something that is no Exception.
        text = f"importing {name} raises {_last_line(error)}{_name_place(error)}"
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


def _read_function(module: ModuleType, name: str) -> Json:
    """Return what `Handler` says of a function, as JSON."""
    function = _find_function(module, name)
    return {
        "parameters": [write_parameter(one) for one in read_parameters(function).values()],
        "is_coroutine": inspect.iscoroutinefunction(_with_code(function)),
        "upstream": _read_upstream(function),
        "untravelled": _why_untravelled(function),
        "has_need": _find_needs(module, name) is not None,
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


def _find_needs(module: ModuleType, handler: str) -> Needs | None:
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
        raise WorkflowError(f"{place}: memory_need raises {_last_line(error)}") from error
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
        return _last_line(error)
    return ""


def _last_line(error: BaseException) -> str:
    text = traceback.format_exception_only(error)[-1].strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
