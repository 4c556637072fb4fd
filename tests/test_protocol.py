"""Code that decides about a measurement does not change unnoticed."""

import inspect
import shutil
from pathlib import Path

import pytest

import stagebench
from stagebench import handlers, measure, records, runner, sampler, store
from stagebench.design.code_hash import CodeFolder, describe_protocol
from stagebench.handlers import payload
from stagebench.measure import main, supervisor
from stagebench.runner import process_worker
from stagebench.sampler import sweep

SOURCE = Path(stagebench.__file__).parent
RECORD = Path(__file__).with_name("protocol.txt")


def test_the_code_that_decides_about_a_measurement_is_the_recorded_one():
    found, recorded = describe_protocol(), RECORD.read_text().strip()
    assert found == recorded, (
        f"the code of runner, sampler, measure or handlers has changed: {found}; recorded in"
        f" tests/{RECORD.name}: {recorded}. If what a measurement means has changed, raise PROTOCOL"
        f" in store.py (now {store.PROTOCOL}): all runs are then made anew. In either case call"
        " `make protocol`, which records the new hash."
    )


@pytest.fixture
def copied(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, tmp_path / SOURCE.name, ignore=ignored)
    return tmp_path


def append(folder, module, text):
    place = Path(inspect.getsourcefile(module)).relative_to(SOURCE.parent)
    with (folder / place).open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    "module",
    [
        *(handlers, measure, runner, sampler, records, store),
        *(main, payload, process_worker, supervisor, sweep),
    ],
    ids=lambda module: module.__name__,
)
def test_an_edit_of_code_that_decides_about_a_measurement_is_seen(copied, module):
    append(copied, module, '\n"""Prose."""  # and more\n')
    assert describe_protocol(CodeFolder(copied)) == describe_protocol()
    append(copied, module, "\nadded = 1\n")
    assert describe_protocol(CodeFolder(copied)) != describe_protocol()
