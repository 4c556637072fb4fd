"""The page as a file: whole, alone, the same for the same tables, and safe."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from benchmarks.page import LARGEST_BYTES, make_studies, render
from tests.present.page.conftest import render_study
from tests.present.test_report import HOSTILE, hostile_runs

from stagebench.tables.io import read_table
from stagebench.units import MIB


class Parts(HTMLParser):
    """The tags of a page, its text, and what its scripts hold."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.scripts = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if data.strip() and self.tags[-1][0] == "script":
            self.scripts.append(data)
        self.text += data


def test_the_page_is_whole(page):
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    assert "<title>Study known</title>" in text


def test_the_first_screen_is_there_without_a_script(page):
    text = page.read_text()
    first = text.index("<dt>Use</dt>")
    assert text.index("<h2>pipe</h2>") < first < text.index("<script")
    assert "<code>p2-fork</code>" in text[first : first + 300]


def test_no_address_of_a_network_is_in_the_page(page):
    # Not even that of SVG: our script takes it from an element.
    assert not re.search(r"(?:https?|wss?|ftp):", page.read_text())
    assert not re.search(r"""(?:src|href|action)\s*=|@import|url\((?!#)""", page.read_text())


def test_the_browser_is_told_to_load_nothing_and_to_run_no_script_but_ours(page):
    [policy] = [
        attributes["content"]
        for tag, attributes in Parts(page.read_text()).tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


def test_the_same_tables_give_the_same_bytes(page, study, tmp_path):
    assert render_study(study, tmp_path).read_bytes() == page.read_bytes()


def test_failures_are_at_the_top(page):
    text = page.read_text()
    place = text.index("What failed (1)")
    assert "pipe: p5-fork: 1 of 1 run timed out (time limit | of &lt;60 s&gt;)" in text
    assert place < text.index("<h2>pipe</h2>")


def test_a_study_without_failures_does_not_mention_any(make_page, known_run):
    assert "What failed" not in make_page(known_run()).read_text()


def test_many_failures_are_counted_and_some_are_named(make_page, known_run):
    runs = [
        known_run(treatment=f"t{n}", baseline=n == 1, start=20 * n, status="crashed")
        for n in range(1, 31)
    ]
    text = make_page(*runs).read_text()
    assert "What failed (30, the first 12)" in text
    assert text.count("1 of 1 run crashed</li>") == 12


def test_data_ends_no_script_and_is_json(page):
    scripts = Parts(page.read_text()).scripts
    data = [json.loads(text) for text in scripts if not text.lstrip().startswith('"use strict"')]
    assert len(data) == len(scripts) - 1 == 4
    assert {one["name"] for one in data if isinstance(one, dict)} == {"pipe", "alone"}
    assert not any("<" in text for text in scripts if text[0] in "{[")


def test_no_text_of_a_study_is_markup(make_page, known_run, make_task):
    def make(texts):
        runs = hostile_runs(known_run, make_task, texts)
        return Parts(make_page(*runs).read_text())

    plain = make([f"harmless-{number:02}" for number in range(len(HOSTILE))])
    hostile = make(HOSTILE)
    assert hostile.tags == plain.tags
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", hostile.text)


def test_a_name_of_fifty_megabytes_is_cut(make_page, known_run):
    text = "<b>" + 50_000_000 * "x"
    assert make_page(known_run(status="crashed", detail=text)).stat().st_size < MIB


def test_pages_of_large_studies_are_small(tmp_path):
    tables = Path(__file__).parents[3] / "docs/reference/published/tables"
    studies = make_studies(tables, tmp_path)
    for name, runs in (("study", 205), ("1,000 runs", 1000)):
        assert len(read_table(studies[name] / "tables/runs.csv")) == runs
        assert render(studies[name])[1].stat().st_size <= LARGEST_BYTES[name]
