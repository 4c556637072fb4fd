"""Handlers of random workflows: a hash decides what each does to a task, so tests know it, too."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

# Imported at the top: a worker forked while a thread imports it would wait for ever.
import numpy as np

LONG_S = 60
"""How long a lingering handler lasts, unless it is released or ended."""

LARGE = 70_000
RELEASED = threading.Event()
"""Ends abandoned threads, once everything that they might hold up has been checked."""


class Plan(NamedTuple):
    """What the handler of a stage does; in `folder` it marks tasks that it has attempted."""

    seed: int
    stage: str
    acts: tuple[str, ...]
    folder: str
    sources: dict[str, "Plan"]
    """The plans of the stages that it follows, if it takes their results."""

    def act_on(self, task):
        """Return what the handler does to a task."""
        return self.acts[self.draw(task, "act") % len(self.acts)]

    def draw(self, task, what):
        return crc32(f"{self.seed} {self.stage} {task} {what}".encode())


class Odd(BaseException):
    """An exception that no handler should raise."""


class Unsendable(Exception):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


class Unreceivable:
    """A value that can be pickled but not unpickled."""

    def __reduce__(self):
        return refuse, ()


def refuse():
    raise ValueError("refused")


def result_of(plan, task):
    """Return a stage's result for a task: small or large, of several types."""
    number = plan.draw(task, "value")
    content = number.to_bytes(4, "big") * (LARGE // 4)
    form = number % 5
    if form == 0:
        return content
    if form == 1:
        return bytearray(content)
    if form == 2:
        return {"number": number, "content": content}
    if form == 3:
        return np.frombuffer(content, dtype=np.uint32)
    return number


def is_result(value, plan, task):
    """Return whether a value is a stage's result for a task."""
    if plan.act_on(task) in ("unsendable", "unreceivable"):
        return type(value) in (type(threading.Lock()), Unreceivable)
    wanted = result_of(plan, task)
    if type(value) is not type(wanted):
        return False
    return value.tobytes() == wanted.tobytes() if hasattr(value, "tobytes") else value == wanted


def act(*, plan, task):
    """Serve a task without upstream results."""
    return perform(plan, task)


def act_on(*, plan, task, upstream):
    """Serve a task that takes upstream results."""
    check(plan, task, upstream)
    return perform(plan, task)


async def act_later(*, plan, task):
    """Serve a task as a coroutine."""
    return await perform_later(plan, task)


async def act_later_on(*, plan, task, upstream):
    """Serve a task that takes upstream results as a coroutine."""
    check(plan, task, upstream)
    return await perform_later(plan, task)


def check(plan, task, upstream):
    given = upstream if len(plan.sources) > 1 else dict.fromkeys(plan.sources, upstream)
    if not all(is_result(given[name], source, task) for name, source in plan.sources.items()):
        raise ValueError("WRONG UPSTREAM")


def perform(plan, task):
    name = plan.act_on(task)
    if name.startswith("once_"):
        name = name.removeprefix("once_") if is_first(plan, task) else "return"
    made = DEEDS[name]()
    return result_of(plan, task) if made is None else made


async def perform_later(plan, task):
    name = plan.act_on(task)
    await asyncio.sleep(0.001 * (plan.draw(task, "pause") % 3))
    if name == "stubborn":
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
    elif name == "linger" or (name == "once_linger" and is_first(plan, task)):
        await asyncio.sleep(LONG_S)
    return perform(plan, task) if name not in ("stubborn", "linger") else result_of(plan, task)


def is_first(plan, task):
    try:
        Path(plan.folder, f"{plan.stage}_{task}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def pause():
    time.sleep(0.01)


def speak():
    print("a handler speaks")
    print("and complains", file=sys.stderr)


def forget(plan):
    """Remove all marks, so that the next attempt of every task is the first."""
    for mark in Path(plan.folder).iterdir():
        mark.unlink()


def raise_unsendable():
    raise Unsendable


def raise_odd():
    raise Odd


def leave():
    sys.exit(3)


def vanish():
    os._exit(5)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_return():
    """Return from the handler in a forked child, too."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)


def fork_and_die():
    """Die and leave a child behind that holds all open files."""
    if not os.fork():
        time.sleep(0.3)
        os._exit(0)
    die()


def linger():
    RELEASED.wait(LONG_S)


def nothing():
    pass


DEEDS = {
    "return": nothing,
    "pause": pause,
    "speak": speak,
    "raise": refuse,
    "raise_unsendable": raise_unsendable,
    "raise_odd": raise_odd,
    "leave": leave,
    "vanish": vanish,
    "die": die,
    "fork_and_return": fork_and_return,
    "fork_and_die": fork_and_die,
    "unsendable": threading.Lock,
    "unreceivable": Unreceivable,
    "linger": linger,
}
FAILING = ("raise", "raise_unsendable", "raise_odd", "leave")
DEADLY = ("vanish", "die", "fork_and_die")
LINGERING = ("linger", "stubborn")
