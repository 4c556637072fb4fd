"""Run folders of known runs, and what the analysis reads of them."""

from itertools import count

import pytest
from tests.known_runs import KnownRun, write_study

from stagebench.analyse.traces import list_requests, read_trace


@pytest.fixture
def study(tmp_path):
    """Write runs as a study, each time another, and give its plan and raw folder."""
    numbers = count()
    return lambda *runs: write_study(tmp_path / f"study-{next(numbers)}", runs)


@pytest.fixture
def traces(study):
    """Write runs as a study and read them back, in the order of the plan."""

    def read(*runs):
        plan, raw = study(*runs)
        return [read_trace(request, raw) for request in list_requests(plan)]

    return read


@pytest.fixture
def trace(traces):
    """Write one run and read it back."""

    def read(run=None):
        return traces(run or KnownRun())[0]

    return read
