"""What a treatment asks for and cannot have, as far as it is known before anything runs.

The functions that decide are those that the run itself asks: its outcome is then `unsupported`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from stagebench.engines.support import find_engine_limit
from stagebench.handlers.registry import handler_target, is_own
from stagebench.subinterpreter import why_none

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def find_unsupported(specification: Mapping[str, Any]) -> str:
    """Return why a treatment cannot run, or an empty text if nothing is known against it."""
    if limit := find_engine_limit(specification):
        return limit
    reasons = (
        reason
        for stage in specification["stages"]
        for reason in _find_reasons(stage, _read_version(specification))
    )
    return next(reasons, "")


def _find_reasons(stage: Mapping[str, Any], version: tuple[int, int]) -> Iterator[str]:
    if stage["executor"] == "interpreter" and (reason := why_none(version)):
        yield reason
    if is_own(stage["handler"]):
        return
    module = importlib.import_module(handler_target(stage["handler"]).partition(":")[0])
    decide = getattr(module, "why_unsupported", None)
    if decide is not None:
        reason = decide(
            executor=stage["executor"],
            start_method=stage.get("start_method"),
            **stage["parameters"],
        )
        if reason:
            yield reason


def _read_version(specification: Mapping[str, Any]) -> tuple[int, int]:
    """Return the version of the Python that the treatment runs with: its own, or this one."""
    if "python" not in specification:
        return sys.version_info[:2]
    major, minor, *_ = specification["python"]["version"].split(".")
    return int(major), int(minor)
