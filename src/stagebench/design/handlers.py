"""Find the handlers that a config names: import them, read their signatures, report problems.

Importing a user's own handler runs its code, here and later in the measured process. Whatever it
does, short of ending the interpreter, is reported as a problem.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pickle
import re
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.design.problems import show, unknown
from stagebench.design.signatures import UPSTREAM, Parameter, read_parameters
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import MemoryNeed
from stagebench.handlers.registry import HANDLERS, handler_target, is_own
from stagebench.handlers.source import find_module, source_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

_LONGEST = 200
"""Most characters that a message quotes of an exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A usable handler, as described by its signature and its module.

    `upstream`: "no" parameter of this name, an "optional" one, or a "required" one. `untravelled`:
    why it cannot be sent to a process, or an empty text. `need` estimates the memory of one call:
    the module's function memory_need_<name>, or memory_need for all its handlers, or None.
    """

    name: str
    parameters: Mapping[str, Parameter]
    source: str
    is_coroutine: bool
    upstream: str
    untravelled: str
    need: Callable[..., MemoryNeed] | None


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


def memory_need(handler: Handler, parameters: Mapping[str, Any]) -> MemoryNeed:
    """Return what one call needs by the estimate of the handler's module, or 0 without one.

    Raises WorkflowError if the estimate fails.
    """
    if handler.need is None:
        return MemoryNeed(working_bytes=0, result_bytes=0)
    place = f"handler '{handler.name}': memory_need"
    try:
        need = handler.need(**parameters)
    except Exception as error:
        raise WorkflowError(f"{place} raises {_last_line(error)}") from error
    if not isinstance(need, MemoryNeed):
        raise WorkflowError(f"{place} returns {need!r}; allowed: a MemoryNeed")
    return need


def _load_handler(name: str, beside: Path | None) -> Handler:
    module_name, _, attribute = handler_target(name).partition(":")
    find_module(module_name, beside)
    with _importable(beside):
        module = _import_quietly(module_name)
        function = _find_function(module, attribute)
        untravelled = _why_untravelled(function)
    return Handler(
        name=name,
        parameters=read_parameters(function),
        source=source_hash(name, beside),
        is_coroutine=inspect.iscoroutinefunction(function),
        upstream=_read_upstream(function),
        untravelled=untravelled,
        need=_find_need(module, attribute),
    )


@contextlib.contextmanager
def _importable(beside: Path | None) -> Iterator[None]:
    """Make modules of the config's folder importable, then unload them for the next config."""
    if beside is None:
        yield
        return
    path = list(sys.path)
    sys.path.append(str(beside))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        own = {name for name, module in sys.modules.items() if _lies_beside(name, module, beside)}
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]


def _lies_beside(name: str, module: ModuleType, beside: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file) in (beside / f"{name}.py", beside / name / "__init__.py")


def _import_quietly(name: str) -> ModuleType:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A module may also call sys.exit, or raise something that is no Exception.
        raise WorkflowError(f"importing {name} raises {_last_line(error)}") from error
    if said.getvalue():
        text = f"importing {name} prints {show(said.getvalue())}"
        raise WorkflowError(f"{text}; allowed: a module that prints nothing when it is imported")
    return module


def _find_function(module: ModuleType, name: str) -> Callable[..., Any]:
    functions = [n for n, value in vars(module).items() if _is_function(value) and n[0] != "_"]
    value = getattr(module, name, None)
    if value is None:
        raise WorkflowError(unknown("function", name, functions))
    if not _is_function(value):
        kind = type(value).__name__
        raise WorkflowError(f"{name} is a {kind}; allowed: a function written in Python")
    function: Callable[..., Any] = value
    return function


def _find_need(module: ModuleType, function: str) -> Callable[..., MemoryNeed] | None:
    """Return the estimate of the memory of a call: the function's own, or the module's."""
    whole = getattr(module, "memory_need", None)
    need: Callable[..., MemoryNeed] | None = getattr(module, f"memory_need_{function}", whole)
    return need


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
