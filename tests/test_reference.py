"""`make reference`: what is kept of a study, and a report without broken links."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "workflow/reference.py"
OVERVIEWS = ("makespan", "limits", "memory", "tradeoff", "times")
TREATMENTS = ("t1", "t2", "p2-fork")
TABLE = "treatment,makespan_s\nt1,1.5\n"


def write_study(folder, *experiments, figure_bytes=10):
    """Lay out a finished study whose report shows 8 figures of every experiment."""
    lines = ["# Study `s`", "", "- All 5 runs succeeded.", ""]
    for experiment in experiments:
        (folder / "figures" / experiment).mkdir(parents=True)
        lines += [f"## Experiment `{experiment}`", ""]
        for kind in OVERVIEWS:
            lines += [draw(folder, experiment, kind, figure_bytes), ""]
    lines += ['<a id="reproduce"></a>', "", "## How to reproduce it", ""]
    for experiment in experiments:
        links = (f"[{one}](#tasks.{experiment}.{one})" for one in TREATMENTS)
        lines += [f"{experiment}: {' · '.join(links)}", ""]
    for experiment in experiments:
        for one in TREATMENTS:
            anchor = f'<a id="tasks.{experiment}.{one}"></a>'
            lines += [anchor, "", draw(folder, experiment, f"tasks-{one}", figure_bytes), ""]
    (folder / "report.md").write_text("\n".join(lines))
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


def find_links(report):
    return re.findall(r"\]\(([^)]+)\)", report)


@pytest.fixture
def reference(tmp_path):
    done = make_reference(write_study(tmp_path / "study", "a", "b", "c"), tmp_path / "kept/s")
    assert done.returncode == 0, done.stderr
    return tmp_path / "kept/s"


def test_a_reference_has_the_report_twelve_figures_and_compressed_tables(reference):
    overviews = {
        f"figures/{experiment}/{kind}.png"
        for kind in ("makespan", "limits", "memory")
        for experiment in "abc"
    } | {"figures/a/tradeoff.png"}
    tasks = {"figures/a/tasks-t1.png", "figures/a/tasks-p2-fork.png"}
    tables = {"tables/runs.csv.gz", "claims/claims.csv.gz"}
    assert list_files(reference) == {"report.md"} | overviews | tasks | tables
    assert gzip.decompress((reference / "tables/runs.csv.gz").read_bytes()).decode() == TABLE


def test_every_link_of_the_report_leads_somewhere(reference):
    report = (reference / "report.md").read_text()
    anchors = {f"#{name}" for name in re.findall(r'<a id="([^"]+)">', report)}
    links = find_links(report)
    assert len([link for link in links if link.startswith("figures/")]) == 12
    assert [link for link in links if link not in anchors | list_files(reference)] == []
    assert "a: [t1](#tasks.a.t1) · [p2-fork](#tasks.a.p2-fork)\n" in report
    assert "b: " not in report
    assert "12 of the study's 24 figures" in report


def test_one_experiment_leaves_room_for_all_its_tasks(tmp_path):
    study = write_study(tmp_path / "study", "a")
    assert make_reference(study, tmp_path / "s").returncode == 0
    assert list_files(tmp_path / "s/figures") == list_files(study / "figures")
    assert (tmp_path / "s/report.md").read_text() == (study / "report.md").read_text()


def test_a_reference_made_from_a_reference_is_the_same(reference):
    before = {name: (reference / name).read_bytes() for name in list_files(reference)}
    assert make_reference(reference, reference).returncode == 0
    assert {name: (reference / name).read_bytes() for name in list_files(reference)} == before


@pytest.mark.parametrize("missing", ["report.md", "figures/a/limits.png"])
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
    study = write_study(tmp_path / "study", "a", "b", figure_bytes=400_000)
    done = make_reference(study, tmp_path / "kept/s")
    assert done.returncode == 1
    assert "takes 4.8 MB, a reference at most 4 MB" in done.stderr
    assert list_files(tmp_path / "kept") == set()


@pytest.mark.parametrize("study", ["published", "causes"])
def test_the_references_kept_here_are_within_the_limits(study):
    folder = ROOT / "docs/reference" / study
    files = list_files(folder)
    report = (folder / "report.md").read_text()
    shown = {link for link in find_links(report) if link.startswith("figures/")}
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
