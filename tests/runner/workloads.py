"""Handlers for the runner's tests: in a module, so that spawned workers can import them."""

import os
import signal
import sys
import threading
import time


def double(*, value=1):
    return 2 * value


def take(*, seconds):
    time.sleep(seconds)


def burn(*, seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def refuse(*, value=0):
    raise ValueError(f"refused {value}")


def refuse_telling_the_switch_interval():
    raise ValueError(f"interval {sys.getswitchinterval()}")


def leave():
    sys.exit(7)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def return_lock():
    return threading.Lock()


def bytes_of(*, size):
    return bytes(size)


class Unprintable(Exception):  # noqa: N818 - its text is what fails
    def __reduce__(self):
        raise TypeError("cannot be pickled")


def raise_unpicklable():
    raise Unprintable
