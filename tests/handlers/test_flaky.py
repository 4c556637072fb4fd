import time
from itertools import count

import pytest

from stagebench.handlers import flaky as module
from stagebench.handlers.flaky import flaky


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    monkeypatch.setattr(module, "_calls", count(1))


def outcomes(calls, **parameters):
    """Return the result of each call, or the name of the exception it raises."""
    found = []
    for _ in range(calls):
        try:
            found.append(flaky(**parameters))
        except ConnectionError as error:
            found.append(type(error).__name__)
    return found


def test_every_nth_call_fails_and_the_next_attempt_does_not():
    failed = "ConnectionError"
    assert outcomes(7, fail_every=3) == [1, 2, failed, 4, 5, failed, 7]


def test_every_nth_call_takes_longer():
    started = time.monotonic()
    assert outcomes(2, hang_every=2, hang_s=0.03) == [1, 2]
    assert time.monotonic() - started >= 0.03


def test_nothing_fails_or_hangs_by_default():
    assert outcomes(3) == [1, 2, 3]
