"""No command lets the text of studies, files and programs reach the terminal as it is."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from tests.study import ROOT, SNAKEMAKE

from stagebench import cli, store
from stagebench.tables.io import make_table, write_tables
from stagebench.terminal import escape_controls

HOSTILE = (
    "esc \x1b]0;owned\x07 \x1b[31mred \x9b2J cr \r bs \x08 del \x7f turn \u202e \u2066 nul \x01 end"
)
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SHOWN = r"\x1b[31mred"

STUDY = """
study: mine
seed: 1
replicates: 1
time_limit_s: 9
reference: null
workflows:
  - name: flow
    stages: [{name: work, handler: wait, executor: thread, workers: 1, parameters: {delay_s: 0.0}}]
experiments:
  - name: one
    workflow: flow
    tasks: 1
    factors: {KEY: [VALUE]}
"""


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Call a command in this process; return what it printed, checked for control characters."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = 0
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
        printed = "".join(capsys.readouterr())
        assert not OBEYED.search(printed), repr(printed)
        return code, printed

    return call


@pytest.fixture
def hostile_name():
    """Return the name of a file or folder, none of which exists."""
    return HOSTILE.replace("/", "") + ".yaml"


def quoted(text):
    return json.dumps(text)


def test_a_text_that_a_terminal_obeys_is_shown():
    assert escape_controls("a\tb\n\x1b[0m\x9b\u202e\ud800 é 日") == (
        "a\tb\n\\x1b[0m\\x9b\\u202e\\ud800 é 日"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 1", f"seed: {quoted(HOSTILE)}"),
        ("seed: 1", f"{quoted(HOSTILE)}: 1"),
        ("name: flow", f"name: {quoted(HOSTILE)}"),
        ("handler: wait", f"handler: {quoted(HOSTILE)}"),
        ("delay_s", quoted(HOSTILE)),
        ("tasks: 1", f"tasks: {{file: {quoted(HOSTILE)}}}"),
        ("KEY", quoted(HOSTILE)),
        ("VALUE", quoted(HOSTILE)),
        ("study: mine", f"extends: {quoted(HOSTILE)}"),
        ("reference: null", f"reference: {quoted(HOSTILE)}"),
        ("reference: null", f"claims: {quoted(HOSTILE)}"),
        ("study: mine", f"study: {quoted(HOSTILE)}"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--resolved"]], ids=["plan", "resolved"])
def test_what_a_config_holds_is_shown_and_not_obeyed(say, tmp_path, old, new, more):
    config = tmp_path / "study.yaml"
    config.write_text(STUDY.replace(old, new).replace("KEY: [VALUE]", ""))
    say("plan", config, *more)


def test_every_command_shows_names_of_files_as_they_are(say, hostile_name, tmp_path):
    bad = hostile_name
    folders = ["--tables", bad, "--out", bad]
    for arguments in (
        ["plan", bad],
        ["design", "--config", bad, "--out", bad],
        ["analyse", "--plan", bad, "--raw", bad, "--out", bad],
        ["judge", "--study", bad, "--claims", bad],
        ["figures", "--experiment", bad, *folders],
        ["report", "--plan", bad, "--figures", bad, *folders],
        ["show", bad],
        ["show", bad, "--figure", bad],
        ["claims", bad],
        ["trace", "--no-figure", "--", bad],
        ["trace", "--out", tmp_path, "--", bad],
    ):
        code, printed = say(*arguments)
        assert code
        assert SHOWN in printed, arguments


def test_wrong_arguments_are_shown_as_they_are(say):
    for arguments in (
        ["plan", "a", HOSTILE],
        [HOSTILE],
        ["plan", "a", "--override", HOSTILE],
        ["trace", "--interval", HOSTILE, "--", "true"],
        ["trace", "--census", HOSTILE, "--", "true"],
        ["trace", HOSTILE],
    ):
        assert say(*arguments)[0] == 2


def test_claims_are_shown_as_they_are(say, tmp_path):
    names = ("id", "says", "kind", "sentence", "reason", "otherwise", "experiment")
    row = dict.fromkeys(names, HOSTILE)
    rows = [row | {"verdict": verdict} for verdict in ("supported", "refuted", "not testable")]
    folder = tmp_path / HOSTILE
    folder.mkdir()
    write_tables({"claims": make_table("claims", rows)}, folder / "claims")
    write_tables({"claim_tests": make_table("claim_tests", [])}, folder / "claims")
    store.write_json(folder / "plan.json", {})
    code, printed = say("claims", folder, "--all")
    assert (code, printed.count(SHOWN) > 3) == (0, True), printed
    code, printed = say("claims", folder)
    assert (code, SHOWN[:30] in printed) == (0, True), printed


def test_a_trace_is_shown_without_what_its_command_is_named(tmp_path):
    program = tmp_path / "\x1b[31mred"
    shutil.copy("/bin/sh", program)
    command = [sys.executable, "-m", "stagebench", "trace", "--no-figure", "--out", "out\x1b[0m"]
    command += ["--", program, "-c", "sleep 0.1; exit 5", HOSTILE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert r"out\x1b[0m" in done.stderr
    assert not OBEYED.search(done.stderr)


def test_no_error_needs_an_encoding_that_knows_the_text(tmp_path):
    command = [sys.executable, "-m", "stagebench", "plan", "日本 \x1b.yaml"]
    environment = {"PYTHONIOENCODING": "ascii:strict", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert r"\u65e5\u672c \x1b.yaml" in done.stderr


def test_snakemake_is_given_errors_without_control_characters(tmp_path):
    config = tmp_path / "study.yaml"
    config.write_text(STUDY.replace("handler: wait", f"handler: {quoted(HOSTILE)}"))
    command = [SNAKEMAKE, "--dry-run", "--directory", ROOT, "--configfile", config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert SHOWN in done.stdout + done.stderr
    assert not OBEYED.search(done.stdout + done.stderr)
