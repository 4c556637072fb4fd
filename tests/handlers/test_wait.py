import asyncio
import inspect
import threading
import time

from stagebench.handlers.wait import wait
from stagebench.handlers.wait_async import wait_async


def test_a_wait_takes_at_least_its_delay():
    started = time.monotonic()
    wait(delay_s=0.02)
    assert time.monotonic() - started >= 0.02


def test_waiting_as_a_coroutine_lets_others_wait_on_the_same_thread():
    threads = set()

    async def wait_noting_the_thread():
        await wait_async(delay_s=0.02)
        threads.add(threading.get_ident())

    async def wait_often():
        started = time.monotonic()
        await asyncio.gather(*(wait_noting_the_thread() for _ in range(50)))
        return time.monotonic() - started

    assert 0.02 <= asyncio.run(wait_often()) < 50 * 0.02
    assert len(threads) == 1


def test_one_of_them_is_a_coroutine():
    assert inspect.iscoroutinefunction(wait_async)
    assert not inspect.iscoroutinefunction(wait)
