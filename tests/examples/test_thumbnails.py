"""The thumbnails that the example makes."""

import numpy as np
import pytest
from examples.thumbnails import thumbnail_steps
from PIL import Image
from tests.examples.conftest import fits_a_terminal, run_script

PICTURES = 6
SIZES = [(200, 150), (150, 200), (200, 112)] * 2
"""Pictures of 4:3, 3:4 and 16:9 that fit a square of 200 pixels."""


@pytest.fixture(scope="module")
def made(tmp_path_factory, pool):
    """Return the folder of a run with few and small pictures, and its output."""
    folder = tmp_path_factory.mktemp("thumbnails")
    options = ["--pictures", str(PICTURES), "--width", "400", "--folder", str(folder)]
    if "process" in pool:
        options += ["--transport", "shared_memory"]
    return folder, run_script("thumbnails/make_thumbnails.py", *pool, *options)


def images(folder):
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            image.load()
        yield image


def test_every_picture_has_a_thumbnail_that_just_fits_the_square(made):
    folder, _ = made
    assert [image.size for image in images(folder / "thumbnails")] == SIZES


def test_a_thumbnail_shows_its_own_picture(made):
    folder, _ = made
    pairs = zip(images(folder / "pictures"), images(folder / "thumbnails"), strict=True)
    for picture, thumbnail in pairs:
        coarse = [np.asarray(image.resize((4, 4)), float) for image in (picture, thumbnail)]
        assert np.abs(coarse[0] - coarse[1]).max() < 8


def test_the_summary_is_short_and_has_every_stage(made):
    folder, printed = made
    assert fits_a_terminal(printed.replace(str(folder), ""))
    assert [line.split()[:2] for line in printed.splitlines()[3:6]] == [
        [stage, str(PICTURES)] for stage in ("read", "resize", "write")
    ]


def test_a_picture_is_the_same_whenever_it_is_made(tmp_path):
    first, again, other = (
        thumbnail_steps.read(number=number, folder=str(tmp_path / folder), width=60)
        for number, folder in ((3, "a"), (3, "b"), (0, "a"))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_picture_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    first = thumbnail_steps.read(number=1, folder=str(tmp_path), width=60)
    monkeypatch.delattr(thumbnail_steps, "make_picture")
    assert np.array_equal(first, thumbnail_steps.read(number=1, folder=str(tmp_path), width=60))


def test_resizing_takes_pixels_that_it_may_not_change():
    pixels = thumbnail_steps.make_picture(0, 400)
    pixels.flags.writeable = False
    assert thumbnail_steps.resize(upstream=pixels, size=20).shape == (15, 20, 3)
