"""The pages of the documentation, as tests need them: their blocks, spans, links and headings."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")),
    *(ROOT / "results/README.md", *sorted((ROOT / "docs").glob("*.md"))),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: its place, its language, and its text."""

    place: str
    language: str
    text: str


def name_place(page, start):
    line = page.read_text()[:start].count("\n") + 1
    return f"{page.relative_to(ROOT)}:{line}"


def list_blocks(*languages):
    """List the blocks of all pages in some languages; "" is none."""
    return [
        Block(name_place(page, found.start(3)), found[2], found[3])
        for page in PAGES
        for found in FENCE.finditer(page.read_text())
        if found[2] in languages
    ]


def strip_blocks(page):
    """Return the text of a page without its blocks; lines stay where they are."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text())


def list_spans():
    """List the inline code of all pages, with its place."""
    return [
        (name_place(page, found.start()), " ".join(found[1].split()))
        for page in PAGES
        for found in SPAN.finditer(strip_blocks(page))
    ]


def list_anchors(page):
    """Return the anchors of the headings of a page, as they are made for Markdown on the web."""
    headings = re.findall(r"^#+ (.*)$", strip_blocks(page), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    given = re.findall(r'<a id="([^"]+)">', page.read_text())
    return {*words, *given}
