"""A comparison as a page: one file that loads nothing, with the words of the terminal."""

import re

from stagebench.compare.comparison_page import render_comparison
from stagebench.compare.findings import compare_sources
from stagebench.compare.sources import read_sources

STEADY = [0.99, 1.0, 1.01, 0.995, 1.005]


def render(write_side, base, other, **environment):
    folders = [write_side(base), write_side(other, environment=environment or None)]
    return render_comparison(compare_sources(read_sources(map(str, folders))))


def test_a_page_loads_nothing_and_runs_no_script(write_side):
    page = render(write_side, {"t1": STEADY}, {"t1": STEADY})
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<img|<link|src=|href=|@import|url\(", page)


def test_each_compared_treatment_has_an_interval_as_a_bar(write_side):
    runs = {"t1": STEADY, "t2": STEADY, "p1": [1.0]}
    page = render(write_side, runs, runs | {"t2": [2 * value for value in STEADY]})
    assert page.count("<circle") == page.count("<svg") >= 3
    assert 'class="worse"' in page
    assert "2.00 × slower" in page


def test_names_cannot_be_markup(write_side):
    runs = {"t1<script>alert(1)</script>": STEADY}
    page = render(write_side, runs, runs, host="<b>x</b>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;x" in page
