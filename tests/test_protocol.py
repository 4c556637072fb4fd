"""Code that decides about a measurement does not change unnoticed."""

import inspect
import shutil
import sys
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


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package, and a function that hashes it and remembers what it has read."""
    folder = tmp_path_factory.mktemp("copied")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, folder / SOURCE.name, ignore=ignored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", False)  # else nothing would be remembered
        yield (
            folder,
            lambda: describe_protocol(CodeFolder(folder, memory=folder / "read/code.json")),
        )


@pytest.mark.parametrize(
    "module",
    [
        *(handlers, measure, runner, sampler, records, store),
        *(main, payload, process_worker, supervisor, sweep),
    ],
    ids=lambda module: module.__name__,
)
def test_an_edit_of_code_that_decides_about_a_measurement_is_seen(copied, module):
    folder, describe_copy = copied
    path = folder / Path(inspect.getsourcefile(module)).relative_to(SOURCE.parent)
    text, before = path.read_text(), describe_copy()
    path.write_text(prose := f'{text}\n"""Prose."""  # and more\n')
    assert describe_copy() == before == RECORD.read_text().strip()
    path.write_text(f"{prose}\nadded = 1\n")
    assert describe_copy() != before
    path.write_text(text)
