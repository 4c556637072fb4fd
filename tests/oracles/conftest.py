"""The private interpreter, and a test for every kind of program of known truth."""

import pytest
from tests.oracles.interpreter import make_interpreter
from tests.oracles.observe import KINDS


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", KINDS)


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    return make_interpreter(tmp_path_factory.mktemp("interpreter"))
