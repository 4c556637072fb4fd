"""How large a result of a stage is, where its specification tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.units import MIB

if TYPE_CHECKING:
    from stagebench.units import Bytes


def result_bytes(specification: dict[str, Any], stage: dict[str, Any]) -> Bytes | None:
    """Give the size of each result of a stage; missing if unknown or not of one size."""
    if stage["handler"] != "payload" or "size_mib" not in stage["parameters"]:
        return None
    if _is_overridden(specification["tasks"], stage["name"]):
        return None
    return int(stage["parameters"]["size_mib"] * MIB)


def _is_overridden(tasks: int | list[Any] | dict[str, Any], stage: str) -> bool:
    """Tell whether a task may have a size of its own: by a list of tasks, or a file's column."""
    if isinstance(tasks, int):
        return False
    if isinstance(tasks, dict):
        return f"{stage}.size_mib" in tasks["columns"]
    return any("size_mib" in task.get(stage, {}) for task in tasks)
