import os

import pytest

from stagebench.measure.process import BLAS_VARIABLES, measured_environment

SHELL = {"HOME": "/h", "PYTHONPATH": "/mine", "PYTHONHOME": "/p", "PYTHONMALLOC": "debug"}


def test_only_variables_that_locate_modules_are_inherited_of_pythons_own():
    found = measured_environment({}, 2, SHELL)

    assert found == {
        "HOME": "/h",
        "PYTHONPATH": "/mine",
        "PYTHONHOME": "/p",
        **dict.fromkeys(BLAS_VARIABLES, "2"),
    }


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "/code"),
        ({"PYTHONPATH": "/theirs"}, f"/code{os.pathsep}/theirs"),
        ({"PYTHONPATH": None}, "/code"),
    ],
)
def test_another_interpreter_finds_our_code_first_and_what_a_study_sets_after_it(settings, path):
    found = measured_environment(settings | {"PYTHON_GIL": "0"}, 1, SHELL, "/code")

    assert {name: one for name, one in found.items() if name.startswith("PYTHON")} == {
        "PYTHONPATH": path,
        "PYTHON_GIL": "0",
    }
