"""Every command of the documentation runs, by the real programs, in a folder with what it names.

What would take minutes is run as far as is cheap: Snakemake and make say what they would do, which
reads their options and files, and `stagebench run` is parsed, and its config planned. A command in
a page is found by its program; nothing lists the commands here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.docs.pages import PAGES, ROOT, list_blocks, list_spans
from tests.study import SNAKEMAKE, checkout

from stagebench.cli import make_parser, split_command

BIN = Path(sys.executable).parent
PROGRAMS = ("stagebench", "snakemake", "make", "python")

STUDY = """
study: default
seed: 1
replicates: 1
time_limit_s: 60
quiet_wait_s: 0
warm_memory: 16 MiB
claims: some_claims.yaml
workflows:
  - name: pipeline
    stages:
      - {name: fetch, handler: wait, executor: thread, workers: 2, parameters: {delay_s: 0.01}}
      - name: count
        after: [fetch]
        handler: sum_squares_native
        executor: "{executor}"
        start_method: "{start_method}"
        workers: "{workers}"
        parameters: {elements: 20000}
experiments:
  - name: runtime
    workflow: pipeline
    tasks: 4
    factors:
      workers: [1, 2]
      executor: [thread, process]
      start_method: {levels: [fork], when: {executor: process}}
    baseline: {workers: 1, executor: thread}
"""
CLAIMS = """
experiments: {runtime: small.yaml}
claims:
  - id: threads-take-time
    kind: comparison
    says: It takes some time.
    experiment: runtime
    tests: [{quantity: makespan_s, of: t1, to: t2, expect: {above: 0}}]
"""
WORK = "import sys, time\nassert sys.argv[1:] in ([], ['--all'])\ntime.sleep(0.3)\n"

NAMES = {
    "FOLDER": "trace-of-work",
    "FILE.png": "trace-of-work.png",
    "COMMAND...": "python work.py",
    "STUDY": "default",
    "RUN": "results/default/raw/runtime/t1/r1",
    "N": "1",
}
"""What stands for any name of its kind in the documentation, and what is taken for it."""

PROCESS = {"4711", "PID"}
"""What stands for a process that runs."""


def find_block(page, opening, language="python"):
    """Return the one block of a page that begins with a line."""
    texts = [one.text for one in list_blocks(language) if one.place.startswith(page)]
    (text,) = [text for text in texts if text.startswith(f"# {opening}")]
    return text


def list_commands():
    """List all commands in fenced blocks, each once: [(place, words)]."""
    found = {}
    for block in list_blocks("", "sh", "bash", "console"):
        for number, line in enumerate(block.text.splitlines()):
            if block.language == "console" and not line.startswith("$ "):
                continue
            for part in line.removeprefix("$ ").split("&&"):
                program = part.split()[:1]
                if program and program[0].rpartition("/")[2] in PROGRAMS and "─" not in part:
                    page, _, first = block.place.rpartition(":")
                    found.setdefault(
                        " ".join(part.split("#")[0].split()), f"{page}:{int(first) + number}"
                    )
    return [pytest.param(command, id=f"{found[command]} {command}") for command in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkout with what the commands name: studies, and the results of a small one."""
    folder = checkout(tmp_path_factory.mktemp("docs") / "stagebench")
    ignored = shutil.ignore_patterns("results", "data", "__pycache__")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignored)
    for path in (ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("requirements*")):
        shutil.copy(path, folder)
    (folder / "mine").mkdir()
    (folder / "mine/steps.py").write_text(find_block("README.md", "mine/steps.py"))
    (folder / "mine/pages.py").write_text(find_block("README.md", "mine/pages.py"))
    (folder / "mine/study.yaml").write_text(find_block("README.md", "mine/study.yaml", "yaml"))
    (folder / "config/mine.yaml").write_text(
        find_block("config/README.md", "config/mine.yaml", "yaml")
    )
    (folder / "config/small.yaml").write_text(STUDY)
    (folder / "config/some_claims.yaml").write_text(CLAIMS)
    (folder / "my-study.yaml").write_text(STUDY.replace("claims:", "# claims:"))
    (folder / "work.py").write_text(WORK)
    command = [SNAKEMAKE, "--cores", "2", "--configfile", "config/small.yaml", "--quiet"]
    call(folder, command)
    shutil.copytree(folder / "results/default", folder / "results/mine")
    trace = [
        "stagebench",
        "trace",
        "--no-figure",
        "--out",
        "trace-of-work",
        "--",
        "python",
        "work.py",
    ]
    call(folder, trace)
    call(folder, ["stagebench", "pack", "results/default", "--out", "old.stagebench.zip"])
    for name, tool in (("bench", "pyperf"), ("commands", "hyperfine")):
        shutil.copy(ROOT / f"tests/compare/{tool}.json", folder / f"{name}.json")
    return folder


def call(folder, words):
    """Run a command with our programs; it must succeed."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}{done.stderr}"
    return done.stdout


def complete(command):
    """Return the words of a command, with something that exists for each name in it."""
    text = re.sub(r"<(\w+)>", "mine", command.replace("[", "").replace("]", ""))
    return [word for name in shlex.split(text) for word in shlex.split(NAMES.get(name, name))]


def make_cheap(words):
    """Return what is run of a command that would take minutes."""
    program = words[0].rpartition("/")[2]
    if program == "make":
        return ["make", "--dry-run", *words[1:]]
    if program == "snakemake" and "--unlock" not in words:
        allow = ["--config", "allow_insufficient_memory=True"]  # the tests' machine may be small
        return ["snakemake", "--dry-run", "--quiet", *words[1:], *allow]
    if words[:2] == ["stagebench", "run"]:
        make_parser().parse_args(words[1:])
        return ["stagebench", "plan", *(word for word in words if word.endswith(".yaml"))]
    if (
        words[:2] == ["stagebench", "plan"]
        and "--trial" in words
        and "mine/study.yaml" not in words
    ):
        make_parser().parse_args(words[1:])
        return [word for word in words if word != "--trial"]
    return [program, *words[1:]]


@pytest.mark.parametrize("command", list_commands())
def test_a_command_of_the_documentation_runs(folder, command):
    words = complete(command)
    if not PROCESS & set(words):
        call(folder, make_cheap(words))
        return
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"]) as process:
        time.sleep(0.2)
        call(folder, [str(process.pid) if word in PROCESS else word for word in words])


def test_commands_of_every_kind_are_found():
    found = [param.values[0] for param in list_commands()]
    assert {command.split()[0] for command in found} >= {"stagebench", "snakemake", "make"}
    assert "stagebench run mine/study.yaml" in found
    assert len(found) >= 15


@pytest.fixture(scope="module")
def helps():
    """What Snakemake says of its options."""
    return call(ROOT, ["snakemake", "--help"])


def list_mentions(program):
    """List the distinct inline mentions of a program with at least one argument."""
    spans = dict.fromkeys(span for _, span in list_spans())
    return [span for span in spans if span.split()[0] == program and " " in span]


@pytest.mark.parametrize("mention", list_mentions("stagebench"))
def test_a_subcommand_and_its_options_that_the_text_mentions_exist(mention):
    words, _ = split_command(complete(mention.removeprefix("stagebench ")))
    parser = make_parser()
    commands = next(action.choices for action in parser._actions if action.choices)
    if words[0].startswith("-"):
        known = parser._option_string_actions
    else:
        assert words[0] in commands
        known = commands[words[0]]._option_string_actions
    assert [word for word in words if word.startswith("--") and word not in known] == []


@pytest.mark.parametrize("mention", list_mentions("snakemake"))
def test_an_option_of_snakemake_that_the_text_mentions_exists(mention, helps):
    options = [word.split("=")[0] for word in mention.split() if word.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b(?!-)", helps)] == []


@pytest.mark.parametrize("mention", list_mentions("make"))
def test_a_target_that_the_text_mentions_exists(mention, folder):
    call(folder, make_cheap(complete(mention)))


@pytest.mark.parametrize("mention", list_mentions("python"))
def test_a_module_or_script_that_the_text_mentions_exists(mention, folder):
    words = complete(mention)
    name = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
    assert (folder / name).exists() or (ROOT / name).exists()


def test_all_pages_are_read():
    assert len(PAGES) >= 12
