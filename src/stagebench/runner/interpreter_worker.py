"""A worker in a subinterpreter: serves the jobs that its thread brings, one by one.

These functions are called there. What they take and return are pickles, because objects of one
interpreter cannot be used in another.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from stagebench.runner.worker import (
    Served,
    begin_worker,
    drop_unreadable,
    end_worker,
    fail_result,
    format_error,
    prepare_worker,
    serve,
    serve_first,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_handlers: list[Callable[..., Any]] = []
"""The handler of this interpreter's worker, once that has begun."""

REFUSED, FAILED = "refused", "failed"


def begin(message: bytes) -> bytes:
    """Get ready to serve; return nothing, or a pair: how that went wrong, and a text.

    It is `REFUSED` if the handler, or what is preloaded, cannot be imported here. Main has imported
    both.
    """
    setup, pickled_handler = pickle.loads(message)  # noqa: S301 - written by main
    try:
        prepare_worker(setup)
        handler = pickle.loads(pickled_handler)  # noqa: S301 - written by main
    except (ImportError, AttributeError) as error:
        return pickle.dumps((REFUSED, f"{type(error).__name__}: {error}"))
    except BaseException as error:  # an import may raise anything
        return pickle.dumps((FAILED, format_error(error)))
    try:
        begin_worker(handler)
    except BaseException as error:  # so may a handler
        return pickle.dumps((FAILED, format_error(error)))
    _handlers.append(handler)
    return b""


def serve_first_job(message: bytes) -> bytes:
    """Serve the first job, whose arguments these are; return the outcome."""
    return _serve(message, serve_first)


def serve_job(message: bytes) -> bytes:
    """Serve a job, whose arguments these are; return the outcome."""
    return _serve(message, serve)


def end(_message: bytes) -> bytes:
    """End the worker."""
    end_worker(_handlers.pop())
    return b""


def _serve(message: bytes, act: Callable[..., Served]) -> bytes:
    (handler,) = _handlers
    try:
        arguments = pickle.loads(message)  # noqa: S301 - written by main
    except BaseException as error:  # recorded: a value's own unpickling may raise anything
        text = f"parameters or upstream results cannot be received:\n{format_error(error)}"
        return pickle.dumps(Served("failed", error=text))
    served = act(handler, arguments)
    # Free the upstream results before the result is sent.
    del arguments
    served = drop_unreadable(served, pickle.dumps)
    try:
        return pickle.dumps(served)
    except BaseException as error:  # recorded: a value's own pickling may raise anything
        return pickle.dumps(fail_result(served, handler, "cannot be sent to main", error))
