"""Limits of a handler's parameter and its need of memory, declared where the handler is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Closed or half-open range of a number; used as `Annotated[float, Bounds(above=0)]`."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def allows(self, value: float) -> bool:
        """Tell whether `value` lies inside."""
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        limits = [
            f"{sign} {limit:g}"
            for sign, limit in ((">", self.above), (">=", self.at_least), ("<=", self.at_most))
            if limit is not None
        ]
        return " and ".join(limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What one call of a handler needs: `working_bytes` while it runs, `result_bytes` returned."""

    working_bytes: int
    result_bytes: int
