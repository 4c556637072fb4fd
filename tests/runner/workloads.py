"""Handlers for the runner's tests, in a module so that spawned workers can import them."""

import asyncio
import contextlib
import functools
import importlib
import os
import signal
import sys
import threading
import time


def double(*, value=1):
    return 2 * value


def return_later(*, task):
    time.sleep(0.001)
    return task


def import_module(*, name, seconds=0.0, fail=False):
    importlib.import_module(name)
    time.sleep(seconds)
    if fail:
        raise ValueError(name)


async def import_later(*, name):
    await asyncio.sleep(0)
    importlib.import_module(name)


def by_position(value, /):
    return value


def take(*, seconds):
    time.sleep(seconds)


def burn(*, seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def refuse(*, value=0):
    raise ValueError(f"refused {value}")


def raise_switch_interval():
    raise ValueError(f"interval {sys.getswitchinterval()}")


def leave():
    sys.exit(7)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_if(*, value, fatal=3):
    if value == fatal:
        die()


def bear_a_child_that_returns():
    os.fork()
    return os.getpid()


def print_much():
    print("x" * 1000)
    print("y" * 1000, file=sys.stderr)
    return 1


def fail_until(*, path, attempts):
    """Leave a mark and fail, until there have been `attempts` attempts."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < attempts:
        raise ValueError("not yet")


def die_until(*, path, attempts):
    try:
        fail_until(path=path, attempts=attempts)
    except ValueError:
        die()


def length_of(*, upstream):
    return len(upstream)


def length_of_one(*, upstream):
    return len(str(upstream))


def describe(*, upstream):
    """Raise the upstream results as an error, so that they appear in a record."""
    raise ValueError(f"took {upstream!r}")


def array_of(*, size):
    import numpy as np

    return {"data": np.arange(size), "text": "x"}


def sum_of(*, upstream):
    total = int(upstream["data"].sum())
    raise ValueError(f"sum {total} writeable {upstream['data'].flags.writeable}")


def keep(*, upstream, kept=[]):  # noqa: B006 - shared between calls on purpose
    kept.append(upstream)
    return len(kept)


async def wait_async(*, seconds=0.0, value=1):
    await asyncio.sleep(seconds)
    return value


async def refuse_async():
    raise ValueError("refused")


async def take_async(*, upstream):
    await asyncio.sleep(0)
    return 2 * upstream


async def ignore_cancellation(*, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(end - time.monotonic())


async def generate_async():
    yield 1


def hidden_async(**given):
    return wait_async(**given)


class Asynchronous:
    async def __call__(self):
        await asyncio.sleep(0)
        return 7


class Unseen:
    def __call__(self, **given):
        return length_of(**given)


def _hide(function):
    def inner(*args, **given):
        return function(*args, **given)

    return inner


unseen = _hide(length_of)
seen = functools.wraps(length_of)(_hide(length_of))


def run_a_workflow_within(*, start_method):
    """Run a workflow of processes inside a worker; return the results of its only stage."""
    from stagebench import ListSink, Stage, Workflow

    inner = Stage(
        name="inner",
        handler=double,
        executor="process",
        start_method=start_method,
        workers=1,
        retain=True,
    )
    with Workflow([inner], ListSink()) as workflow:
        workflow.run(2)
        return workflow.results("inner")


def return_lock():
    return threading.Lock()


def bytes_of(*, size):
    return bytes(size)


class Unprintable(Exception):  # fails when it is pickled
    def __reduce__(self):
        raise TypeError("cannot be pickled")


def raise_unpicklable():
    raise Unprintable


def keep_nothing(*, content):
    return len(content)
