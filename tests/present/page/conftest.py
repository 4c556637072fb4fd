"""Pages of known studies, and the browser that shows them."""

import pytest
from tests.browser import PROGRAMS, find_browser, open_browser

from stagebench.present.answer import make_screen
from stagebench.present.experiment import split_experiments
from stagebench.present.page.page import render_page
from stagebench.store import read_json
from stagebench.tables.io import read_tables


def render_study(folder, out):
    """Render the page of a study's folder; return its path."""
    tables = read_tables(folder / "tables")
    screen = make_screen(tables, read_json(folder / "plan.json"))
    render_page(screen, split_experiments(tables), out / "report.html")
    return out / "report.html"


@pytest.fixture
def make_page(analyse):
    """Render the page of a study of runs."""

    def make(*runs):
        folder = analyse(*runs)
        return render_study(folder, folder)

    return make


@pytest.fixture(scope="session")
def page(study, tmp_path_factory):
    """Return the page of the default runs."""
    return render_study(study, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")  # other tests look at the children of this process
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
