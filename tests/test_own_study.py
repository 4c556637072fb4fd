"""A study of own handlers and a file of tasks, by the real Snakemake: what is measured anew."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.study import checkout

from stagebench import store
from stagebench.design.config import load_study
from stagebench.design.handlers import close_modules
from stagebench.design.plan import make_plan

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
STAGEBENCH = Path(sys.executable).with_name("stagebench")

CONFIG = """
study: own
seed: 1
replicates: 1
time_limit_s: 20
quiet_wait_s: 0
workflows:
  - name: mine
    stages:
      - {name: make, handler: "steps_mine:make", executor: thread, workers: 1}
      - name: take
        after: [make]
        handler: "steps_mine:{kind}"
        executor: process
        start_method: spawn
        workers: 1
  - name: other
    stages:
      - {name: ask, handler: "steps_other:ask", executor: asyncio, workers: 2}
  - name: served
    stages:
      - {name: load, handler: "steps_served:load", executor: thread, workers: 1}
experiments:
  - {name: served, workflow: served, tasks: 1, server: {command: "python serve_mine.py $PORT"}}
  - name: mine
    workflow: mine
    tasks: {file: sizes.csv}
    factors: {kind: [measure]}
  - {name: other, workflow: other, tasks: 2}
warm_memory: 16 MiB
"""
FILES = {
    "config.yaml": CONFIG,
    "steps_mine.py": (
        "from steps_parts import longest\n\n"
        "def make(size: int = 1):\n    return 'x' * size\n\n"
        "def measure(upstream: str):\n    return longest(upstream)\n"
    ),
    "steps_parts.py": "def longest(text):\n    return len(text)\n",
    "steps_other.py": "async def ask():\n    return 1\n",
    "steps_served.py": (
        "import os, urllib.request\n\n"
        "def load(file: str = 'sizes.csv'):\n"
        "    url = f'http://127.0.0.1:{os.environ[\"PORT\"]}/{file}'\n"
        "    with urllib.request.urlopen(url) as answer:\n"
        "        assert answer.read() == open(file, 'rb').read()\n"
    ),
    "serve_mine.py": (
        "import sys\nfrom http.server import SimpleHTTPRequestHandler, test\n\n"
        "test(SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')\n"
    ),
    "sizes.csv": 'make.size\n1\n20\n""\n',
}


def call(folder, *arguments):
    """Run all measurements of the study that stands in a folder beside the checkout."""
    command = [SNAKEMAKE, "--cores", "1", "--configfile", "../mine/config.yaml", *arguments]
    return subprocess.run(
        command, cwd=folder / "checkout", capture_output=True, text=True, check=False
    )


def measured_anew(folder):
    """Measure what is to be measured; gives the experiments of the runs that were made."""
    raw = folder / "checkout/results/own/raw"
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("run.json")}
    done = call(folder, "--until", "measure")
    assert done.returncode == 0, done.stdout + done.stderr
    after = {path: path.stat().st_mtime_ns for path in raw.rglob("run.json")}
    for path in after:
        assert store.read_run(path.parent)["status"] == "ok", path.with_name(
            "output.txt"
        ).read_text()
    return {p.relative_to(raw).parts[0] for p in after if after[p] != before.get(p)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The study, measured once; a test that edits something works on a copy."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "checkout").mkdir()
    shutil.copy(ROOT / "Snakefile", folder / "checkout")
    for name in ("workflow", "src", "config"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=ignored)
    (folder / "mine").mkdir()
    for name, text in FILES.items():
        (folder / "mine" / name).write_text(text)
    assert measured_anew(folder) == {"mine", "other", "served"}
    return folder


@pytest.fixture
def copy(measured, tmp_path):
    return shutil.copytree(measured, tmp_path / "moved")


def test_every_task_of_the_file_passed_every_stage(measured):
    (folder,) = (measured / "checkout/results/own/raw/mine").rglob("r1")
    assert len((folder / store.TASKS_FILE).read_text().splitlines()) == 1 + 3 * 2


def test_a_checkout_that_moves_is_not_measured_anew(copy):
    assert measured_anew(copy) == set()


def specify(folder):
    """Return the specifications of the treatments: a run is made again if its own has changed."""
    try:
        treatments = make_plan(load_study(folder / "mine/config.yaml"))["treatments"]
    finally:
        close_modules()
    return {name.partition("/")[0]: one["specification"] for name, one in treatments.items()}


@pytest.mark.parametrize(
    ("name", "edited"),
    [
        ("steps_mine.py", {"mine"}),
        ("steps_parts.py", {"mine"}),
        ("steps_other.py", {"other"}),
        ("steps_served.py", {"served"}),
        ("serve_mine.py", {"served"}),
    ],
)
def test_an_edited_own_handler_or_helper_changes_its_treatments_and_no_others(
    measured, copy, name, edited
):
    with (copy / "mine" / name).open("a") as file:
        file.write("\n# edited\n")
    before, after = specify(measured), specify(copy)
    assert {one for one in after if after[one] != before[one]} == edited


def test_what_is_edited_is_measured_anew_and_nothing_else(copy):
    for name in ("steps_parts.py", "serve_mine.py"):
        with (copy / "mine" / name).open("a") as file:
            file.write("\n# edited\n")
    assert measured_anew(copy) == {"mine", "served"}


def test_an_edited_file_of_tasks_measures_its_treatments_anew(copy):
    with (copy / "mine/sizes.csv").open("a") as file:
        file.write("3\n")
    assert measured_anew(copy) == {"mine"}
    assert call(copy, "--until", "design").returncode == 0
    plan = store.read_json(copy / "checkout/results/own/plan.json")
    assert plan["treatments"]["mine/kind-measure"]["specification"]["tasks"]["number"] == 4


def test_every_error_of_own_handlers_is_told_at_once_before_anything_is_measured(copy):
    (copy / "mine/steps_mine.py").write_text("print('hello')\n")
    (copy / "mine/steps_other.py").write_text("import no_such_module\n")
    (copy / "mine/sizes.csv").write_text("make.size\nx\n")
    shutil.rmtree(copy / "checkout/results")

    done = call(copy)

    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    assert "workflows[mine].stages[make].handler: handler 'steps_mine:make': importing" in said
    assert "workflows[other].stages[ask].handler: handler 'steps_other:ask': importing" in said
    assert not (copy / "checkout/results").exists()
    planned = subprocess.run(
        [STAGEBENCH, "plan", copy / "mine/config.yaml"], capture_output=True, text=True, check=False
    )
    assert planned.returncode == 1
    assert "../mine/config.yaml:10: workflows[mine].stages[make].handler: " in said
    assert re.findall(r"workflows\[.*", planned.stderr) == re.findall(r"workflows\[.*", said)


CLAIMS = """
experiments: {mine: config.yaml}
claims:
  - id: quick
    kind: cause
    says: It is quick.
    experiment: mine
    tests: [{quantity: makespan_s, of: kind-mesure, expect: {below: 1 s}}]
"""


def test_wrong_claims_stop_a_study_before_anything_is_measured(copy):
    (copy / "mine/config.yaml").write_text(CONFIG + "claims: claims.yaml\n")
    (copy / "mine/claims.yaml").write_text(CLAIMS)
    shutil.rmtree(copy / "checkout/results")

    done = call(copy)

    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "claims.yaml:8: claims[0].tests[0].of: unknown treatment 'kind-mesure'" in said
    assert "did you mean 'kind-measure'?" in said
    assert not (copy / "checkout/results/own/raw").exists()


def test_a_study_may_extend_another_and_takes_keys_of_the_command_line(copy):
    (copy / "mine/more.yaml").write_text(
        "extends: config.yaml\nwithout: [experiments.other, experiments.served]\nstudy: more\n"
    )
    command = [SNAKEMAKE, "--cores", "1", "--configfile", "../mine/more.yaml", "--until", "design"]
    for config, status in (("replicates=3", 0), ("replicates=0", 1)):
        done = subprocess.run(
            [*command, "--config", config],
            cwd=copy / "checkout",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
    assert "command line: replicates: 0 is not allowed; allowed: a whole number" in done.stderr
    plan = store.read_json(copy / "checkout/results/more/plan.json")
    assert {run["experiment"] for run in plan["runs"]} == {"mine"}
    assert len(plan["runs"]) == plan["replicates"] == 3


def test_several_configs_are_refused(copy):
    command = [
        SNAKEMAKE,
        "--cores",
        "1",
        "--configfile",
        "../mine/config.yaml",
        "../mine/config.yaml",
    ]
    done = subprocess.run(
        command, cwd=copy / "checkout", capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "--configfile: 2 files; allowed: one, which may extend another" in done.stderr


def test_paths_may_have_braces_blanks_and_quotes(tmp_path):
    folder = checkout(tmp_path / "a {checkout} of 'mine'")
    own = folder / "my {own}"
    own.mkdir()
    for name, text in FILES.items():
        (own / name.replace("config", "the {config} $HOME")).write_text(text)
    environment = tmp_path / "v{e}nv"
    environment.symlink_to(Path(sys.prefix))
    command = [environment / "bin/python", "-m", "snakemake", "--cores", "1"]
    command += ["--configfile", "my {own}/the {config} $HOME.yaml", "--until", "design", "measure"]

    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    runs = sorted((folder / "results/own/raw").glob("*/*/r1"))
    assert [store.read_run(run)["status"] for run in runs] == ["ok"] * 3


def test_published_values_below_a_folder_with_braces_are_refused_in_words(tmp_path):
    folder = checkout(tmp_path / "checkout")
    own = folder / "my {own}"
    own.mkdir()
    for name, text in FILES.items():
        (own / name).write_text(text)
    (own / "config.yaml").write_text(CONFIG + "reference: values.csv\n")
    command = [SNAKEMAKE, "--cores", "1", "--configfile", "my {own}/config.yaml", "--dry-run"]

    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "my {own}/values.csv: Snakemake takes braces in the path" in done.stdout + done.stderr


def test_make_passes_the_name_of_a_config_as_one_word():
    command = ["/usr/bin/env", "make", "--dry-run", "--always-make", "study", "CONFIG=my file.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert "stagebench run 'my file.yaml'" in done.stdout


def test_a_reader_that_ends_early_is_no_fault_of_a_plan():
    process = subprocess.Popen(
        [STAGEBENCH, "plan", ROOT / "config/smoke.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait() == 128 + signal.SIGPIPE
    process.stderr.close()
