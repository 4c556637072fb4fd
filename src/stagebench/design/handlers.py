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
import json
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TextIO

from stagebench.design.imported import (
    NO_NEED,
    answer_questions,
    find_needs,
    last_line,
    read_function,
)
from stagebench.design.problems import show, unknown
from stagebench.design.python_checks import sound_interpreter
from stagebench.design.signatures import Parameter, restore_parameters
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import MemoryNeed
from stagebench.handlers.registry import HANDLERS, handler_target, is_own
from stagebench.handlers.source import find_module, module_file, module_hash, source_hash
from stagebench.interpreters import foreign_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from stagebench.design.imported import Needs

Json = dict[str, Any]

LONGEST_S = 30.0
"""How long a module's import, or its estimates of memory for one treatment, may take."""

_MEASURED = "stagebench.measure.main"

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[\w-]+)?", re.ASCII)


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
def find_handler(name: str, beside: Path | None, python: str | None = None) -> Handler | str:
    """Return a handler by its name in a config, or a text that says what is wrong with it.

    `beside` is the config's folder, `python` the interpreter that runs it if that is another one.
    Results are cached: a later edit of the module is not seen.
    """
    if not is_own(name) and name not in HANDLERS:
        return f"{unknown('handler', name, sorted(HANDLERS))}, or module:function"
    if is_own(name) and not _TARGET.fullmatch(name):
        return f"{show(name)} is not allowed; allowed: a handler's name, or module:function"
    try:
        return _load_handler(name, beside, python)
    except WorkflowError as error:
        where = f" with {show(python)}" if python else ""
        return f"handler '{name}'{where}: {error}"


def known_handler(name: object, beside: Path | None, python: str | None = None) -> Handler | None:
    """Return a handler, or None if its name is unknown or something is wrong with it."""
    found = find_handler(name, beside, python) if isinstance(name, str) else None
    return found if isinstance(found, Handler) else None


def sound_handler(name: str, beside: Path | None, python: str | None = None) -> Handler:
    """Return a checked handler; raises WorkflowError if something is wrong with it."""
    found = find_handler(name, beside, python)
    if isinstance(found, str):
        raise WorkflowError(found)
    return found


def memory_need(handler: Handler, *given: Mapping[str, Any]) -> MemoryNeed:
    """Return the most memory that one call needs by the handler's module, or 0 without an estimate.

    Raises WorkflowError if the estimate fails.
    """
    if handler.need is None:
        return NO_NEED
    return handler.need(given)


@cache
def find_preload(module: str, beside: Path | None, python: str | None = None) -> str:
    """Return what is wrong with a module that is to be preloaded, or an empty text."""
    top = module.partition(".")[0]
    try:
        if python is not None:
            pass  # found where it is imported
        elif beside is not None and module_file(top, beside) is not None:
            find_module(module, beside)
        elif top in sys.stdlib_module_names and importlib.util.find_spec(module):
            return ""
        open_module(module, beside, python)
    except ImportError as error:  # of a package of the standard library
        return f"importing {module} raises {last_line(error)}"
    except WorkflowError as error:
        return str(error)
    return ""


@cache
def preload_source(module: str, beside: Path | None, python: str | None = None) -> str | None:
    """Return the hash of a preloaded module beside the config; None for one of the environment."""
    if beside is None or module_file(module.partition(".")[0], beside) is None:
        return None
    if python is not None:
        return _ask_source(module, module, beside, python, preload=True)
    return module_hash(module, beside)


def find_packages(modules: Iterable[str], beside: Path | None, python: str) -> dict[str, str]:
    """Return the versions of the packages that importing some modules imports, in an interpreter.

    What a handler imports only when it is called is not among them.
    """
    found: dict[str, str] = {}
    where = None if beside is None else str(beside)
    for module in modules:
        found |= open_module(module, beside, python).ask({"versions": where})
    return dict(sorted(found.items()))


def _load_handler(name: str, beside: Path | None, python: str | None) -> Handler:
    module, _, function = handler_target(name).partition(":")
    need: Needs | None
    if python is None:
        find_module(module, beside)
    if is_own(name) or python is not None:
        found = open_module(module, beside, python).ask({"function": function})
        need = partial(_ask_need, name, beside, python) if found.pop("has_need") else None
    else:
        found = read_function(importlib.import_module(module), function)
        need = find_needs(importlib.import_module(module), name)
        del found["has_need"]
    parameters = restore_parameters(found.pop("parameters"))
    source = (
        source_hash(name, beside)
        if python is None
        else _ask_source(module, name, beside, python, preload=False)
    )
    return Handler(name=name, parameters=parameters, source=source, need=need, **found)


def _ask_need(
    name: str, beside: Path | None, python: str | None, given: Sequence[Mapping[str, Any]]
) -> MemoryNeed:
    module = open_module(handler_target(name).partition(":")[0], beside, python)
    return MemoryNeed(**module.ask({"need": name, "given": given}))


def _ask_source(module: str, name: str, beside: Path | None, python: str, *, preload: bool) -> str:
    """Return the hash of a source as the interpreter finds it that runs it."""
    where = None if beside is None else str(beside)
    question = {"name": name, "beside": where, "preload": preload}
    answer = open_module(module, beside, python).ask({"source": question})
    return str(answer["source"])


class OwnModule:
    """A module that is imported in a process of its own, and can be asked about its functions."""

    def __init__(self, name: str, beside: Path | None, python: str | None) -> None:
        self._name = name
        self.is_late = False
        self._ended = ""
        questions, answers = os.pipe(), os.pipe()
        program = f"from {answer_questions.__module__} import {answer_questions.__name__} as answer"
        program += "; answer()"
        executable, path, environment = sys.executable, sys.path, None
        if python is not None:
            executable, path = sound_interpreter(python, beside).executable, []
            environment = foreign_environment(os.environ)
            # So that what cannot run there is known, and that no run has to compile it.
            program = f"import {_MEASURED}; {program}"
        self._process = subprocess.Popen(
            [executable, "-P", "-c", program, str(answers[1])],
            env=environment,
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
        own = [] if beside is None else [str(beside.absolute())]
        self.ask({"module": name, "path": [*path, *own] if path else [], "more": own})

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
def open_module(name: str, beside: Path | None, python: str | None = None) -> OwnModule:
    """Import a module in a process of its own, which answers questions about it."""
    return OwnModule(name, beside, python)


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
