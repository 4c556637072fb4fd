"""A yielding lock is a lock that causes no convoy."""

import contextlib
import resource
import signal
import sys
import threading

import pytest

from stagebench.locks import TRIES, YieldingLock


@pytest.fixture
def hasty():
    """Make threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(function, count=4):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("hasty")
def test_one_thread_holds_it_at_a_time():
    lock, inside, most = YieldingLock(), [], []

    def pass_through():
        for _ in range(500):
            with lock:
                inside.append(None)
                most.append(len(inside))
                inside.pop()

    in_threads(pass_through)
    assert len(most) == 2000
    assert set(most) == {1}


def test_it_is_released_when_the_block_raises():
    lock = YieldingLock()
    for _ in range(2):
        with pytest.raises(ValueError, match="inside"), lock:
            raise ValueError("inside")


def test_a_thread_that_waits_for_long_gets_it_in_the_end():
    lock, begun, taken = YieldingLock(), threading.Event(), []

    def take():
        begun.set()
        with lock:
            taken.append(True)

    thread = threading.Thread(target=take)
    with lock:
        thread.start()
        begun.wait()
        for _ in range(2 * TRIES):
            threading.Event().wait(0.0001)
        assert not taken
    thread.join(10)
    assert taken


class InterruptedTestError(Exception):
    pass


def interrupt(*_):
    raise InterruptedTestError


def is_free(lock):
    """Report whether another thread can take a lock."""
    taken = []

    def take():
        with lock:
            taken.append(True)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(10)
    return bool(taken)


def test_it_is_free_after_an_interrupt_at_any_moment():
    lock = YieldingLock()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(300):
            with contextlib.suppress(InterruptedTestError):
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * number)
                while True:
                    with lock:
                        pass
            assert is_free(lock)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def switches_of(lock):
    """Return the context switches of two threads that each take a lock ten thousand times."""

    def pass_through():
        for _ in range(10_000):
            with lock:
                sum(range(50))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    in_threads(pass_through, count=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before


def test_threads_that_take_it_in_turn_do_not_switch_every_time():
    # An ordinary lock that causes a convoy has some tenths of a switch each time it is taken.
    assert min(switches_of(YieldingLock()) for _ in range(3)) < 2_000
