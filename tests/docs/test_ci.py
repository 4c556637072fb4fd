"""The workflows of docs/ci.md: their commands run, in a workspace as the service makes it.

The study is a tiny one, and `make` says what it would do: how long a setup takes has nothing to do
with whether it is called as it should be.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.conduct.small_study import write_study
from tests.docs.pages import ROOT, list_blocks

GIT, BASH = shutil.which("git"), shutil.which("bash")

FORBIDDEN = 3
"""The exit code of a comparison that found what `--fail-if` forbids: a tiny study may, by noise."""

KEPT = ("pace.html", "pace.json", "new.stagebench.zip")


pytestmark = pytest.mark.skipif(GIT is None, reason="git is not there")


def read_workflow(key):
    found = [yaml.safe_load(one.text) for one in list_blocks("yaml") if "ci.md" in one.place]
    (workflow,) = [one for one in found if key in one]
    return workflow[key]


def make_pipeline(folder):
    """Make the repository of a pipeline, with a study in `bench`."""
    (folder / "bench").mkdir(parents=True)
    write_study(folder / "bench", ["never"], replicates=1)
    return folder


def make_stagebench(folder):
    """Make what a clone of stagebench has of interest here, as if it was set up."""
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-build.lock"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def commit(folder):
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-qm", "It"]):
        subprocess.run([GIT, *words], cwd=folder, check=True)


def run(script, folder, **variables):
    """Run a script as a job does: what it needs, it activates itself."""
    path = os.pathsep.join(
        one for one in os.get_exec_path() if Path(one) != Path(sys.prefix, "bin")
    )
    done = subprocess.run(
        [BASH, "-eo", "pipefail", "-c", script],
        cwd=folder,
        # make only says what it would do.
        env=os.environ | {"PATH": path, "MAKEFLAGS": "n"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    allowed = (0, FORBIDDEN) if "--fail-if" in script else (0,)
    assert done.returncode in allowed, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def on_github(tmp_path_factory):
    """The workspace after the steps of the workflow for GitHub, and what they printed."""
    (job,) = read_workflow("jobs").values()
    folder = tmp_path_factory.mktemp("github")
    make = {"stagebench": make_stagebench, "new": make_pipeline, "old": make_pipeline}
    printed = ""
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            make[step["with"]["path"]](folder / step["with"]["path"])
        printed += run(step["run"], folder) if "run" in step else ""
    return folder, printed


def test_the_workflow_for_github_measures_both_commits_in_turn_and_compares_them(on_github):
    folder, printed = on_github
    assert "pip" in printed  # of make
    assert "new against old" in printed
    assert "Campaigns are compared, 3 with 3" in printed
    results = [path.name for path in (folder / "stagebench/results").iterdir()]
    assert sorted(results) == ["new1", "new2", "new3", "old1", "old2", "old3"]
    (upload,) = [
        step["with"]["path"].split()
        for step in read_workflow("jobs")["compare"]["steps"]
        if step.get("uses", "").startswith("actions/upload-artifact@")
    ]
    kept = [path.name for pattern in upload for path in folder.glob(pattern)]
    assert sorted(kept) == sorted(KEPT)


def measures(script):
    """Return the words that measure a side, wherever a service has checked it out."""
    runs = [line.split() for line in script.splitlines() if "stagebench run" in line]
    return [[word for word in words if "bench/study.yaml" not in word] for words in runs]


def test_the_job_for_gitlab_does_the_same(on_github, tmp_path):
    job = read_workflow("pace")
    project = make_pipeline(tmp_path / "origin")
    commit(project)
    subprocess.run([GIT, "clone", "-q", project, tmp_path / "project"], check=True)
    tool = make_stagebench(tmp_path / "tool")
    # It measures as the other one does, and here what that measured is taken.
    shutil.copytree(on_github[0] / "stagebench" / "results", tool / "results")
    commit(tool)
    (loop,) = [line for line in job["script"] if "stagebench run" in line]
    (other,) = [
        step["run"]
        for step in read_workflow("jobs")["compare"]["steps"]
        if "for turn" in step.get("run", "")
    ]
    assert "for turn in 1 2 3" in loop
    assert "for turn in 1 2 3" in other
    sides = [
        [word.replace("old", "$side").replace("new", "$side") for word in words]
        for words in measures(loop)
    ]
    assert sides == 2 * measures(other)
    studies = [word for word in loop.split() if "bench/study.yaml" in word]
    printed = run(
        # Where they would be measured: the comparison may find what it forbids, and end the job.
        "\n".join(line if line != loop else f"ls {' '.join(studies)}" for line in job["script"]),
        tmp_path / "project",
        STAGEBENCH_REPOSITORY=str(tool),
        CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
    )
    assert "new against old" in printed
    assert "Campaigns are compared, 3 with 3" in printed
    assert studies == ["../old/bench/study.yaml", "../bench/study.yaml"]
    assert set(studies) < set(printed.split())
    assert sorted(job["artifacts"]["paths"]) == sorted(KEPT)
    assert all((tmp_path / "project" / name).stat().st_size > 0 for name in KEPT)
