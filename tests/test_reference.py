"""`make reference`: what is kept of a study, and a report without broken links."""

import gzip
import posixpath
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "workflow/reference.py"
MAIN = ("makespan", "limits", "memory")
KINDS = (*MAIN, "tradeoff", "tasks")
TABLE = "treatment,makespan_s\nt1,1.5\n"


def write_study(folder, *experiments, figure_bytes=10):
    """Lay out a finished study whose report shows 3 figures of every experiment, its pages 5."""
    first = ["# s: all 5 runs ok", "", "- **Use** `t1`.", ""]
    pages = {"machine": '# Machine\n\n<a id="reproduce"></a>\n\n## How to reproduce it\n'}
    for experiment in experiments:
        (folder / "figures" / experiment).mkdir(parents=True)
        first += [f"## `{experiment}`", ""]
        own = ["[← study `s`](../report.md)", "", f"# Experiment `{experiment}`", ""]
        for kind in KINDS:
            image = draw(folder, experiment, kind, figure_bytes)
            first += [image, ""] * (kind in MAIN)
            own += ['<a id="tasks"></a>', "", "## Task by task", ""] * (kind == "tasks")
            own += [image.replace("](", "](../"), ""]
        first += [f"[All of `{experiment}`](report/{experiment}.md)", ""]
        pages[experiment] = "\n".join(own)
    (folder / "report").mkdir()
    for name, text in pages.items():
        (folder / f"report/{name}.md").write_text(text)
    (folder / "report.md").write_text("\n".join([*first, "[Machine](report/machine.md)", ""]))
    for table in ("tables/runs.csv", "claims/claims.csv"):
        (folder / table).parent.mkdir()
        (folder / table).write_text(TABLE)
    (folder / "tables/.snakemake_timestamp").touch()
    return folder


def draw(folder, experiment, kind, figure_bytes):
    name = f"figures/{experiment}/{kind}.png"
    (folder / name).write_bytes(bytes(figure_bytes))
    return f"![{kind} of {experiment}]({name})"


def make_reference(study, target):
    return subprocess.run(
        [sys.executable, SCRIPT, study, target], capture_output=True, text=True, check=False
    )


def list_files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def find_links(folder, name):
    """Return the files and places that a page links or shows, by their paths in the folder."""
    text = (folder / name).read_text()
    folder_of, targets = posixpath.dirname(name), re.findall(r"\]\(([^)]+)\)", text)
    return [
        name + each if each.startswith("#") else posixpath.normpath(posixpath.join(folder_of, each))
        for each in targets
    ]


def find_pages(folder):
    return [name for name in list_files(folder) if name.endswith(".md")]


def check_links(folder):
    """Check that every link and image of a reference leads somewhere; return the images."""
    files, shown = list_files(folder), set()
    for name in find_pages(folder):
        for target in find_links(folder, name):
            path, _, anchor = target.partition("#")
            if path.endswith(".md"):
                assert not anchor or f'<a id="{anchor}">' in (folder / path).read_text()
            assert path in files, (name, target)
            shown |= {path} & {one for one in files if one.startswith("figures/")}
    return shown


@pytest.fixture
def reference(tmp_path):
    done = make_reference(write_study(tmp_path / "study", "a", "b", "c"), tmp_path / "kept/s")
    assert done.returncode == 0, done.stderr
    return tmp_path / "kept/s"


def test_a_reference_has_the_report_twelve_figures_and_compressed_tables(reference):
    figures = {
        f"figures/{experiment}/{kind}.png"
        for kind in ("makespan", "limits", "memory", "tradeoff")
        for experiment in "abc"
    }
    pages = {"report.md", *(f"report/{name}.md" for name in ("a", "b", "c", "machine"))}
    tables = {"tables/runs.csv.gz", "claims/claims.csv.gz"}
    assert list_files(reference) == pages | figures | tables
    assert gzip.decompress((reference / "tables/runs.csv.gz").read_bytes()).decode() == TABLE


def test_every_link_of_a_reference_leads_somewhere(reference):
    assert len(check_links(reference)) == 12
    first, note = (reference / "report.md").read_text().split("\n")[:3:2]
    assert first == "# s: all 5 runs ok"
    assert "12 of the study's 15 figures" in note


def test_a_part_that_has_a_figure_and_nothing_else_goes_with_it(reference):
    assert "Task by task" not in (reference / "report/a.md").read_text()


def test_where_all_figures_are_kept_the_report_is_as_it_was(tmp_path):
    study = write_study(tmp_path / "study", "a")
    assert make_reference(study, tmp_path / "s").returncode == 0
    assert list_files(tmp_path / "s/figures") == list_files(study / "figures")
    for name in find_pages(study):
        assert (tmp_path / "s" / name).read_text() == (study / name).read_text()


def test_a_reference_made_from_a_reference_is_the_same(reference):
    before = {name: (reference / name).read_bytes() for name in list_files(reference)}
    assert make_reference(reference, reference).returncode == 0
    assert {name: (reference / name).read_bytes() for name in list_files(reference)} == before


@pytest.mark.parametrize("missing", ["report.md", "figures/a/tasks.png"])
def test_an_unfinished_study_replaces_no_reference(tmp_path, reference, missing):
    before = list_files(reference)
    study = write_study(tmp_path / "unfinished", "a")
    (study / missing).unlink()
    done = make_reference(study, reference)
    assert done.returncode == 1
    assert missing in done.stderr
    assert "finish the study first" in done.stderr
    assert list_files(reference) == before


def test_a_reference_that_takes_too_much_is_refused(tmp_path):
    study = write_study(tmp_path / "study", "a", "b", figure_bytes=480_000)
    done = make_reference(study, tmp_path / "kept/s")
    assert done.returncode == 1
    assert "takes 4.8 MB, a reference at most 4 MB" in done.stderr
    assert list_files(tmp_path / "kept") == set()


@pytest.mark.parametrize("study", ["published", "causes"])
def test_the_references_kept_here_are_within_the_limits(study):
    folder = ROOT / "docs/reference" / study
    files = list_files(folder)
    shown = check_links(folder)
    assert len(shown) <= 12
    assert shown == {name for name in files if name.startswith("figures/")}
    assert [name for name in files if name.endswith(".csv")] == []
    assert sum((folder / name).stat().st_size for name in files) <= 4e6


def test_of_memory_over_time_only_the_runs_stay_that_figures_show(tmp_path):
    study = write_study(tmp_path / "study", "a")
    runs = "experiment,treatment,replicate,shown\na,t1,1,False\na,t1,2,True\n"
    (study / "tables/runs.csv").write_text(runs)
    courses = "experiment,treatment,replicate,time_s\na,t1,1,0.5\na,t1,2,0.5\na,t1,2,0.75\n"
    (study / "tables/memory.csv").write_text(courses)
    assert make_reference(study, tmp_path / "s").returncode == 0
    kept = gzip.decompress((tmp_path / "s/tables/memory.csv.gz").read_bytes()).decode()
    assert kept == "experiment,treatment,replicate,time_s\na,t1,2,0.5\na,t1,2,0.75\n"
