from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from tests.commands import draw_figures

from stagebench.errors import StoreError

OVERVIEWS = {"makespan.png", "efficiency.png", "peaks.png", "memory.png"}


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "pipe"
    draw_figures(study / "tables", "pipe", folder)
    return folder


def test_an_experiment_has_its_overviews_and_a_figure_a_treatment(drawn):
    tasks = {"tasks-p1-fork.png", "tasks-p2-fork.png", "tasks-p5-fork.png"}
    assert {path.name for path in drawn.iterdir()} == OVERVIEWS | tasks | {"ratios.png"}


def test_every_figure_shows_something(drawn):
    for path in drawn.iterdir():
        pixels = imread(path)[:, :, :3]
        assert np.ptp(pixels) > 0.5, path.name


def test_the_same_tables_give_the_same_bytes_in_place_of_what_was_there(drawn, study, tmp_path):
    (tmp_path / "tasks-gone.png").write_bytes(b"")
    draw_figures(study / "tables", "pipe", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in drawn.iterdir()}
    for path in drawn.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_an_unknown_experiment_is_an_error_that_names_those_there_are(study, tmp_path):
    with pytest.raises(StoreError, match=r"no experiment 'pip'; there are \['pipe', 'alone'\]"):
        draw_figures(study / "tables", "pip", tmp_path)
