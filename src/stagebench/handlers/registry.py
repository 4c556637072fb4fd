"""The handlers that a config can name; only those that are used get imported.

A config refers to a shipped handler by its name, and to any other as `module:function`, or as
`module:pipeline.function` if it is one of a `Pipeline`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError, closest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

HANDLERS = {
    "checksum": "stagebench.handlers.checksum:checksum",
    "download": "stagebench.handlers.download:download",
    "flaky": "stagebench.handlers.flaky:flaky",
    "matrix_product": "stagebench.handlers.matrix_product:matrix_product",
    "payload": "stagebench.handlers.payload:payload",
    "shared_counter": "stagebench.handlers.shared_counter:shared_counter",
    "shared_table": "stagebench.handlers.shared_table:shared_table",
    "sum_squares_native": "stagebench.handlers.sum_squares_native:sum_squares_native",
    "sum_squares_numpy": "stagebench.handlers.sum_squares_numpy:sum_squares_numpy",
    "wait": "stagebench.handlers.wait:wait",
    "wait_async": "stagebench.handlers.wait_async:wait_async",
}
"""Name in a config → "module:function"."""


def handler_target(name: str) -> str:
    """Return "module:function" of a handler; raises WorkflowError for an unknown name."""
    if is_own(name):
        return name
    try:
        return HANDLERS[name]
    except KeyError:
        allowed = sorted(HANDLERS)
        raise WorkflowError(
            f"unknown handler {name!r}; allowed: {', '.join(allowed)}, or module:function"
            f"{closest(name, allowed)}"
        ) from None


def is_own(name: str) -> bool:
    """Return whether a name refers to a user's own handler."""
    return ":" in name


def load_handler(name: str) -> Callable[..., Any]:
    """Import a handler's module and return its function."""
    module, _, place = handler_target(name).partition(":")
    loaded = importlib.import_module(module)
    function: Callable[..., Any] = (
        find_pipeline_function(loaded, place) if "." in place else getattr(loaded, place)
    )
    return function


def find_pipeline_function(module: ModuleType, place: str) -> Callable[..., Any]:
    """Return the handler that a `Pipeline` makes of one of its functions.

    `place` is "pipeline.function"; a function that returns a `Pipeline` will do, too.
    """
    name, _, step = place.partition(".")
    pipeline = getattr(module, name, None)
    if callable(pipeline):
        pipeline = pipeline()
    stages = getattr(pipeline, "stages", None)
    if stages is None:
        raise WorkflowError(f"{name} is no Pipeline, and no function that returns one")
    handlers: dict[str, Callable[..., Any]] = {stage.name: stage.handler for stage in stages}
    if step not in handlers:
        raise WorkflowError(
            f"{name} has no function {step!r}; allowed: {', '.join(handlers)}"
            f"{closest(step, list(handlers))}"
        )
    return handlers[step]
