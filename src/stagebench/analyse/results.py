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
    tasks = specification["tasks"]
    overrides = [] if isinstance(tasks, int) else [task.get(stage["name"], {}) for task in tasks]
    if any("size_mib" in override for override in overrides):
        return None
    return int(stage["parameters"]["size_mib"] * MIB)
