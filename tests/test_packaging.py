"""What can be installed: wheel and sdist, in environments that have nothing else."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from tests.conduct.small_study import count_runs_there, write_study
from tests.study import ROOT, checkout

import stagebench

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None or importlib.util.find_spec("pip") is None,
    reason="setuptools and pip, which build and install it, are not there",
)

BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE")

SCRIPT = """
from stagebench import Pipeline

if __name__ == "__main__":
    pipe = Pipeline().threads(str.upper, workers=2).processes(len, start_method="spawn")
    print(list(pipe.map(["a", "bc", "def"])))
    print(pipe.report())
"""


def build(source, out, kind):
    """Build in a source tree, by what pip would call; without a network, and not isolated."""
    call = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    command = [sys.executable, "-W", "ignore", "-c", call]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return max(out.iterdir(), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = checkout(tmp_path_factory.mktemp("source") / "stagebench")
    for egg_info in (folder / "src").glob("*.egg-info"):
        shutil.rmtree(egg_info)
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of programs of an environment with the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("environment") / "bare"
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", programs / "python", "install"]
    command += ["--quiet", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run(command, check=True, capture_output=True)
    return programs


def call(environment, folder, program, *arguments, **variables):
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment / program, *arguments]
    return subprocess.run(
        command, cwd=folder, env=given | variables, capture_output=True, text=True, check=False
    )


def list_source():
    folder = Path(stagebench.__file__).parent
    files = (
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return {f"stagebench/{path.relative_to(folder)}" for path in files}


def test_the_wheel_has_every_file_of_the_package_and_the_rules_of_a_study(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        rules = {name for name in files if name.startswith("stagebench/rules/")}
        assert {name for name in files if name.startswith("stagebench/")} - rules == list_source()
        for name in rules:
            assert (
                archive.read(name) == (ROOT / name.removeprefix("stagebench/rules/")).read_bytes()
            )
    there = {
        f"stagebench/rules/workflow/rules/{path.name}" for path in ROOT.glob("workflow/rules/*")
    }
    assert there | {"stagebench/rules/Snakefile"} <= rules


def test_the_sdist_builds_the_same_wheel(source, wheel, tmp_path):
    for name in ("sdist", "again", "unpacked"):
        (tmp_path / name).mkdir()
    with tarfile.open(build(source, tmp_path / "sdist", "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()
    again = build(unpacked, tmp_path / "again", "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_the_metadata_require_nothing_without_an_extra(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == stagebench.__version__
    required = metadata.get_all("Requires-Dist")
    assert [line for line in required if "extra ==" not in line] == []
    assert any(line.startswith("snakemake") and "study" in line for line in required)


def test_a_pipeline_needs_the_standard_library_alone(environment, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = call(environment, tmp_path, "python", "script.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("[1, 2, 3]\n")
    assert "upper" in done.stdout


def test_a_trace_needs_the_standard_library_alone_and_names_what_draws_its_figure(
    environment, tmp_path
):
    done = call(environment, tmp_path, "stagebench", "trace", "--out", "t", "--", "sleep", "0.1")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    lines = " ".join(done.stderr.split())
    assert "sleep 0.1" in lines
    brings = 'is not installed; pip install "stagebench[study]" brings it'
    assert f"trace.png: matplotlib {brings}" in lines
    assert (tmp_path / "t/summary.json").exists()
    shown = call(environment, tmp_path, "stagebench", "show", "t")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "sleep 0.1" in shown.stdout
    quiet = ("trace", "--no-figure", "--quiet", "--out", "u", "--", "true")
    assert call(environment, tmp_path, "stagebench", *quiet).stderr == ""


def test_help_and_version_need_the_standard_library_alone(environment, tmp_path):
    assert "trace" in call(environment, tmp_path, "stagebench", "--help").stdout
    version = call(environment, tmp_path, "stagebench", "--version").stdout
    assert version == f"stagebench {stagebench.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [("plan", "study.yaml"), ("run", "study.yaml"), ("advise", "results/x"), ("claims", "x")],
    ids=" ".join,
)
def test_a_command_that_needs_more_says_how_to_install_it(environment, tmp_path, arguments):
    write_study(tmp_path, ["never"], replicates=1)
    done = call(environment, tmp_path, "stagebench", *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"stagebench {arguments[0]}: ")
    assert line.endswith(' is not installed; pip install "stagebench[study]" brings it')


def test_the_wheel_runs_a_study_until_it_is_precise_with_the_packages_that_it_names(
    environment, tmp_path
):
    config = write_study(tmp_path, ["never"], workers=(1, 2))
    text = config.read_text().replace("replicates: 2", "until: {makespan_s: 100 %}\nat_most: 6")
    # Long enough that no disturbance doubles it.
    config.write_text(text.replace("delay_s: 0.005", "delay_s: 0.2"))
    # The packages of this environment, but not this checkout, which its .pth file names.
    packages = sysconfig.get_path("purelib")
    done = call(environment, tmp_path, "stagebench", "run", "study.yaml", PYTHONPATH=packages)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("results/*/report.html")) != []
    assert "1 precise enough" in done.stdout
    # At most there would have been 12.
    assert count_runs_there(tmp_path) == 10
