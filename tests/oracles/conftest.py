"""The private interpreter, and one test per kind of program of known memory."""

import pytest
from tests.oracles.interpreter import make_interpreter
from tests.oracles.observe import KINDS


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", KINDS)


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    return make_interpreter(tmp_path_factory.mktemp("interpreter"))
