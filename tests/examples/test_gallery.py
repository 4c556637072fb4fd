"""The examples of the gallery are short, can be tried as they are, and do what they say."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples.sales import sales_steps

EXAMPLES = Path(__file__).parents[2] / "examples"
STAGEBENCH = Path(sys.executable).with_name("stagebench")
SHORT = ("sales", "pages")
MOST_LINES = 40
TRIED = ("--trial", "--override", '{"warm_memory": "1 MiB"}')
"""How a study is tried where nobody looks at its times: touching memory would take longest."""


@pytest.mark.parametrize("name", SHORT)
def test_an_example_of_the_gallery_is_short(name):
    files = [*(EXAMPLES / name).glob("*.yaml"), *(EXAMPLES / name).glob("*.py")]
    assert {path.suffix for path in files} == {".yaml", ".py"}
    assert all(len(path.read_text().splitlines()) < MOST_LINES for path in files)


def call(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    """A copy of the example, with the files that its script makes."""
    ignored = shutil.ignore_patterns("data", "results", "__pycache__")
    folder = tmp_path_factory.mktemp("gallery") / "sales"
    shutil.copytree(EXAMPLES / "sales", folder, ignore=ignored)
    call(sys.executable, folder / "make_sales.py")
    return folder


def test_all_treatments_of_the_sales_can_be_tried(sales, tmp_path):
    assert len(list((sales / "data").iterdir())) == 40
    text = call(STAGEBENCH, "plan", sales / "study.yaml", *TRIED, cwd=tmp_path)
    assert text.count(" ok ") == 12


def test_all_treatments_of_the_pages_can_be_tried_beside_their_server(tmp_path):
    text = call(STAGEBENCH, "plan", EXAMPLES / "pages/study.yaml", *TRIED, cwd=tmp_path)
    assert "server: python page_server.py $PORT 0.1, ready within 10 s" in text
    assert text.count(" ok ") == 8


@pytest.mark.parametrize("gives", ["rows", "sums"])
@pytest.mark.parametrize("day", [0, 39])
def test_the_total_of_a_day_is_that_of_its_lines_whatever_is_handed_over(sales, gives, day):
    lines = gzip.decompress((sales / f"data/{day:03}.jsonl.gz").read_bytes()).splitlines()
    read = sales_steps.read(day=day, folder=str(sales / "data"))
    found = sales_steps.total(sales_steps.parse(read, gives=gives))
    assert found == sum(json.loads(line)["price"] for line in lines)
    assert len(lines) == 20_000
