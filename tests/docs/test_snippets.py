"""Python and YAML of the documentation are what the programs accept, and links lead somewhere.

The library's guide has a test of its own, as it is a session that builds on itself.
"""

import shutil

import pytest
from ruamel.yaml import YAML
from tests.docs.pages import LINK, PAGES, ROOT, list_anchors, list_blocks, strip_blocks

from stagebench.design.config import load_study

SNIPPETS = [one for one in list_blocks("python") if ">>>" not in one.text]
CONFIGS = list_blocks("yaml")


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda one: one.place)
def test_a_python_snippet_defines_what_it_shows(block, tmp_path, monkeypatch):
    if "from steps import" in block.text:  # the README's program, which test_library_guide runs
        compile(block.text, block.place, "exec")
        return
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "snippet"}
    exec(compile(block.text, block.place, "exec"), names)  # noqa: S102 - our own documentation
    assert [name for name in names if not name.startswith("__")]


@pytest.mark.parametrize("block", CONFIGS, ids=lambda one: one.place)
def test_a_piece_of_yaml_can_be_read(block):
    pieces = block.text.split("# and in")  # two pieces of one config
    for piece in pieces:
        assert YAML(typ="safe", pure=True).load(f"# {piece}" if piece != pieces[0] else piece)


STUDIES = [one for one in CONFIGS if "\nstudy: " in f"\n{one.text}"]


@pytest.mark.parametrize("block", STUDIES, ids=lambda one: one.place)
def test_a_whole_study_is_valid(block, tmp_path):
    folder = shutil.copytree(ROOT / "config", tmp_path / "config")
    for one in SNIPPETS:
        if one.text.startswith("# mine/steps.py"):
            (folder / "steps.py").write_text(one.text)
    (folder / "shown.yaml").write_text(block.text)
    assert load_study(folder / "shown.yaml").treatments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in LINK.findall(strip_blocks(page)):
        path, _, anchor = link.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        target = (page.parent / path) if path else page
        is_page = target.suffix == ".md" and target.exists()
        if not target.exists() or (anchor and is_page and anchor not in list_anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_names_every_page_of_the_documentation():
    text = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in sorted(pages) if f"]({name}" not in text] == []
