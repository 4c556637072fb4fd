"""How sure a verdict has to be, for the analysis that decides and for the report that tells it."""

from __future__ import annotations

ALPHA = 0.05
"""How often a test may find what is not there; an effect is found where its p is below."""

CONFIDENCE = 1 - ALPHA
"""How often an interval holds what it estimates."""
