"""Handlers of random workflows: what one does to a task is told by a hash, so that it is known."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

# Not where it is used: a worker that is forked while a thread imports it would wait for ever.
import numpy as np

LONG_S = 60
"""What lingers does so for this, unless it is released or ended."""

LARGE = 70_000
RELEASED = threading.Event()
"""Lets threads that were given up end, after all has been looked at that they might hold up."""


class Plan(NamedTuple):
    """What the handler of a stage does; the folder is for what it has to remember of an attempt."""

    seed: int
    stage: str
    acts: tuple[str, ...]
    folder: str
    sources: dict[str, "Plan"]
    """Of the stages that it follows, if it takes what they made."""

    def act_on(self, task):
        """Give what it does to a task."""
        return self.acts[self.draw(task, "act") % len(self.acts)]

    def draw(self, task, what):
        return crc32(f"{self.seed} {self.stage} {task} {what}".encode())


class Odd(BaseException):
    """What no handler should raise."""


class Unsendable(Exception):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


class Unreceivable:
    """A value that can be sent, and then not be read."""

    def __reduce__(self):
        return refuse, ()


def refuse():
    raise ValueError("refused")


def result_of(plan, task):
    """Give the value that a stage makes of a task: small or large, in some forms."""
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
    """Tell whether a value is the one that a stage makes of a task."""
    if plan.act_on(task) in ("unsendable", "unreceivable"):
        return type(value) in (type(threading.Lock()), Unreceivable)
    wanted = result_of(plan, task)
    if type(value) is not type(wanted):
        return False
    return value.tobytes() == wanted.tobytes() if hasattr(value, "tobytes") else value == wanted


def act(*, plan, task):
    """Serve a task that takes nothing from upstream."""
    return perform(plan, task)


def act_on(*, plan, task, upstream):
    """Serve a task that takes what the stages before it have made."""
    check(plan, task, upstream)
    return perform(plan, task)


async def act_later(*, plan, task):
    """Serve a task as a coroutine."""
    return await perform_later(plan, task)


async def act_later_on(*, plan, task, upstream):
    """Serve a task as a coroutine that takes what the stages before it have made."""
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
    """Let every attempt be the first again."""
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
    """Let a child come back from the handler, too."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)


def fork_and_die():
    """Leave a child behind that holds all that is open."""
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
