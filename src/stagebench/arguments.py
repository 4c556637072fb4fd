"""Values of the command line's options, checked as they are read."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def number_from(allowed: str, least: float, most: float) -> Callable[[str], float]:
    """Give the reader of a number between two ends, which `allowed` puts into words."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give {allowed}")
        return value

    return parse
