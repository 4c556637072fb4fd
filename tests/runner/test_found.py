"""What random workflows (test_graphs.py) have found in the runner, each by itself."""

import threading

from tests.runner.conftest import THREAD, run, stage, statuses


def test_closing_does_not_wait_for_a_thread_that_was_given_up():
    released = threading.Event()

    def linger():
        released.wait(20)

    sink = run([stage("s", linger, THREAD, timeout_s=0.05)], 1)
    assert statuses(sink, "s") == ["timed_out"]
    assert not released.is_set()
    assert any(thread.name.startswith("s_") for thread in threading.enumerate())
    released.set()
