"""The command line as a newcomer meets it: help, examples, and what is said to a wrong word."""

import re
import shlex
import subprocess

import pytest
from tests.study import STAGEBENCH

from stagebench.cli import make_parser
from stagebench.command_line import EPILOG, GROUPS, WIDTH

FOR_RULES = {"design", "measure", "analyse", "look", "judge", "figures", "report"}
FOR_PEOPLE = [name for names in GROUPS.values() for name in names]


def call(*arguments, cwd=None):
    command = [STAGEBENCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def test_every_command_is_in_a_group_or_is_one_of_the_rules():
    assert set(make_parser().commands.choices) == {*FOR_PEOPLE, *FOR_RULES}


def test_help_lists_the_commands_for_people_alone_and_fits_a_terminal():
    code, text, errors = call("--help")
    assert (code, errors) == (0, "")
    listed = re.findall(r"^  (\w+)  ", text.partition("\noptions:")[0], re.MULTILINE)
    assert listed == FOR_PEOPLE
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("name", [*FOR_PEOPLE, *sorted(FOR_RULES)])
def test_each_command_has_a_help_that_fits_a_terminal(name):
    code, text, errors = call(name, "--help")
    assert (code, errors) == (0, "")
    assert text.startswith(f"usage: stagebench {name}")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert call("help", name) == (code, text, errors)


def test_without_a_command_the_help_is_shown_and_nothing_was_done():
    code, text, _ = call()
    assert code == 2
    assert text == call("--help")[1] == call("help")[1]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("plam", "there is no command 'plam'; did you mean 'plan'?\n"),
        ("exprot", "did you mean 'export'?"),
        ("judg", "there is no command 'judg'\n"),
        ("study.yaml", "'study.yaml' is a study, not a command; to measure it: stagebench run"),
        ("\x1b[2J", r"there is no command '\x1b[2J'"),
        ("x" * 500, "characters left out"),
    ],
)
def test_a_word_that_is_no_command_is_answered_with_one(word, answer):
    code, text, errors = call(word)
    assert (code, text) == (2, "")
    assert errors.startswith("stagebench: ")
    assert answer in errors
    assert "\x1b" not in errors
    assert len(errors) < 300


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["plan", "config/smoke.yaml", "--trail"],
            "'--trail' is not allowed here; did you mean '--t",
        ),
        (["claims", "results/x", "--al=3"], "argument --all: ignored explicit argument"),
        (["advise", "a", "b"], "'b' is not allowed here\n"),
        (["export", "results/x"], "the format is missing; allowed: --perfetto"),
    ],
)
def test_an_argument_that_a_command_does_not_know_is_an_error_of_that_command(arguments, answer):
    code, text, errors = call(*arguments)
    assert (code, text) == (2, "")
    assert errors.startswith(f"usage: stagebench {arguments[0]}")
    assert answer in errors


def test_an_option_without_a_command_is_an_error():
    code, _, errors = call("--verson")
    assert code == 2
    assert "'--verson' is not allowed here; did you mean '--version'?" in errors
    assert "'--' is not allowed here" in call("--")[2]


def test_the_version_is_also_a_word():
    assert call("version") == call("--version")


@pytest.mark.parametrize("text", ["{", "3", '["a"]', ""])
def test_an_override_that_is_no_mapping_is_explained(text):
    code, _, errors = call("plan", "config/smoke.yaml", "--override", text)
    assert code == 2
    assert "allowed: a mapping as JSON, such as '{\"replicates\": 2}'" in errors


def test_every_example_of_the_help_is_a_command_that_parses():
    examples = re.findall(r"^  stagebench (.*?)(?:   .*)?$", EPILOG, re.MULTILINE)
    assert len(examples) == 4
    for example in examples:
        own, _, _ = example.partition(" -- ")
        assert callable(make_parser().parse_args(shlex.split(own)).run)


def test_the_examples_that_need_no_study_work(tmp_path):
    (example,) = re.findall(r"^  stagebench (trace .*?)   ", EPILOG, re.MULTILINE)
    code, _, errors = call(*shlex.split(example), cwd=tmp_path)
    assert code == 0, errors
    assert "peak PSS" in errors
