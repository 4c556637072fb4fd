"""Pages of known studies, and the browser that shows them."""

import json

import pytest
from tests.present.page.browser import PROGRAMS, find_browser, open_browser

from stagebench.present.experiment import split_experiments
from stagebench.present.page.page import render_page
from stagebench.tables.io import read_tables


def render_study(folder, out):
    """Render the page of a study's folder, with a first screen of its own; return its path."""
    experiments = split_experiments(read_tables(folder / "tables"))
    screens = {one.name: f"## {one.name}\n\n**Use it.**\n" for one in experiments}
    study = json.loads((folder / "plan.json").read_text())["study"]
    render_page(study, experiments, screens, out / "report.html")
    return out / "report.html"


@pytest.fixture
def render(analyse):
    """Render the page of a study of runs."""

    def make(*runs):
        folder = analyse(*runs)
        return render_study(folder, folder)

    return make


@pytest.fixture(scope="session")
def page(study, tmp_path_factory):
    """Return the page of the default runs."""
    return render_study(study, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip(f"needs a Chromium, but none of these is on PATH: {', '.join(PROGRAMS)}")
    with open_browser(program, tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def browser(shared_browser):
    """Return a browser that shows nothing yet; a test fails if the page complains."""
    shared_browser.media()
    shared_browser.resize(1300, 900)
    yield shared_browser
    assert shared_browser.complaints == []
