"""Handlers of the thumbnails pipeline: read a picture, resize it, write its thumbnail.

Pixels travel between the stages as NumPy arrays. The pictures are made by the program itself, each
when it is read for the first time, and are the same everywhere: their number decides about them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from PIL import Image

from stagebench import Bounds, MemoryNeed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    """Height × width × 3 colours."""

SHAPES = ((4, 3), (3, 4), (16, 9))
"""Width to height of the pictures, in turn."""


def read(
    *, number: int, folder: str, width: Annotated[int, Bounds(at_least=1, at_most=65_000)] = 1600
) -> Pixels:
    """Give the pixels of a picture; one that is not in the folder yet is made first.

    A picture lies under a name that holds all that it was made from, so that a file which is there
    is the right one.
    """
    path = Path(folder) / f"{number:03d}-{width}.jpg"
    if not path.exists():
        save(make_picture(number, width), path, quality=90)
    with Image.open(path) as picture:
        return np.asarray(picture)


def memory_need_read(*, width: int = 1600, **_others: object) -> MemoryNeed:
    """Tell a study how large decoded pictures are; the largest are 4:3."""
    pixels_bytes = 3 * width * width * 3 // 4
    return MemoryNeed(working_bytes=2 * pixels_bytes, result_bytes=pixels_bytes)


def resize(*, upstream: Pixels, size: Annotated[int, Bounds(at_least=1)] = 200) -> Pixels:
    """Give the picture at a size at which it just fits into a square of `size` pixels."""
    height, width, _ = upstream.shape
    picture = Image.fromarray(upstream)
    return np.asarray(picture.resize(fit(width, height, size), Image.Resampling.LANCZOS))


def write(
    *,
    upstream: Pixels,
    number: int,
    folder: str,
    quality: Annotated[int, Bounds(at_least=1, at_most=95)] = 80,
) -> str:
    """Write a thumbnail as JPEG; gives its path."""
    path = Path(folder) / f"{number:03d}.jpg"
    save(upstream, path, quality)
    return str(path)


def fit(width: int, height: int, size: int) -> tuple[int, int]:
    """Scale a size so that its longer side is `size`, and its shorter one at least a pixel.

    >>> fit(1600, 1200, 200), fit(1600, 900, 200), fit(10, 9000, 200)
    ((200, 150), (200, 112), (1, 200))
    """
    longer = max(width, height)
    return max(1, round(width * size / longer)), max(1, round(height * size / longer))


def picture_size(number: int, width: int) -> tuple[int, int]:
    """Give width and height of a picture whose longer side is `width`."""
    across, up = SHAPES[number % len(SHAPES)]
    return fit(across * 1000, up * 1000, width)


def make_picture(number: int, width: int) -> Pixels:
    """Draw hills of colour with some grain: about as hard to decode as a photograph."""
    across, up = picture_size(number, width)
    random = np.random.default_rng(number)
    hills = Image.fromarray(random.integers(0, 256, (up // 50 + 2, across // 50 + 2, 3), np.uint8))
    smooth = np.asarray(hills.resize((across, up), Image.Resampling.BICUBIC), np.int16)
    grain = random.integers(-12, 13, (up, across, 1), np.int16)
    pixels: Pixels = (smooth + grain).clip(0, 255).astype(np.uint8)
    return pixels


def save(pixels: Pixels, path: Path, quality: int) -> None:
    """Write pixels as JPEG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    Image.fromarray(pixels).save(unfinished, "JPEG", quality=quality)
    unfinished.replace(path)
