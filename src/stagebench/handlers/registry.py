"""The handlers that a config can name, and how they are found without importing the others."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError, closest

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.handlers.bounds import MemoryNeed

HANDLERS = {
    "download": "stagebench.handlers.download:download",
    "matrix_product": "stagebench.handlers.matrix_product:matrix_product",
    "payload": "stagebench.handlers.payload:payload",
    "sum_squares_native": "stagebench.handlers.sum_squares_native:sum_squares_native",
    "sum_squares_numpy": "stagebench.handlers.sum_squares_numpy:sum_squares_numpy",
}
"""Name in a config → "module:function"."""


def handler_target(name: str) -> str:
    """Return "module:function" of a handler; raises WorkflowError for an unknown name."""
    try:
        return HANDLERS[name]
    except KeyError:
        allowed = sorted(HANDLERS)
        raise WorkflowError(
            f"unknown handler {name!r}; allowed: {', '.join(allowed)}{closest(name, allowed)}"
        ) from None


def load_handler(name: str) -> Callable[..., Any]:
    """Import a handler's module and return its function."""
    module, _, function = handler_target(name).partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


def memory_need(name: str, parameters: dict[str, Any]) -> MemoryNeed:
    """Ask a handler's module what one call with `parameters` needs."""
    module = importlib.import_module(handler_target(name).partition(":")[0])
    need: MemoryNeed = module.memory_need(**parameters)
    return need


def source_hash(name: str) -> str:
    """Hash the source file of a handler (SHA-256, 12 hex digits), without importing it.

    Part of every specification: an edited handler is another treatment and is measured anew.
    """
    spec = importlib.util.find_spec(handler_target(name).partition(":")[0])
    if spec is None or spec.origin is None:
        raise WorkflowError(f"handler {name!r}: its module has no source file to hash")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:12]
