"""Workers that are coroutines on one event loop, in a thread of its own.

Their CPU time is unknown, because they share the thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from stagebench.errors import WorkerLostError
from stagebench.runner.jobs import CrewThread
from stagebench.runner.worker import (
    Served,
    begin_worker,
    end_worker,
    format_error,
    introduce_worker,
    keep_error,
    list_new,
    prepare_worker,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.runner.jobs import Job, PoolPlan

PATIENCE_S = 1.0
"""How long `close` waits for coroutines that it cancels; those that go on are left alone."""


class CoroutinePool:
    """A stage's event loop; see jobs.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        self._stage = plan.stage
        self._setup = plan.setup._replace(switch_interval_s=None)
        self._crew = plan.crew
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._has_loop = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_served = False

    def open(self, requested_ns: int) -> None:
        """Start the thread and wait for its event loop."""
        name = f"{self._stage.name}_loop"
        thread = CrewThread(self._crew, self._run, requested_ns, name=name)
        thread.start()
        self._thread = thread
        self._has_loop.wait()

    def dispatch(self, job: Job) -> None:
        """Start a coroutine for a job; may be called from any thread."""
        self._call(self._begin, job)

    def abandon(self, job: Job) -> None:
        """Cancel the coroutine of a job; the coroutine may ignore that."""
        self._call(self._cancel, job)

    def relieve(self) -> None:
        """Do nothing: a coroutine that holds up the loop cannot be told from one that computes."""

    def close(self, *, cancel: bool) -> None:  # noqa: ARG002 - see jobs.Pool
        """End the loop: cancel what still runs, such as a coroutine that ignored its time-out."""
        if self._closing is not None:
            self._call(self._closing.set)
        if self._thread is not None:
            self._crew.join(self._thread, PATIENCE_S)

    def _call(self, function: object, *arguments: object) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]
        except RuntimeError:
            pass  # the loop has ended, and its coroutines with it

    def _run(self, requested_ns: int) -> None:
        try:
            # Raises if there can be no loop, or if a handler has stopped it.
            with asyncio.Runner() as runner:
                runner.run(self._live(requested_ns))
        finally:
            self._has_loop.set()

    async def _live(self, requested_ns: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._has_loop.set()
        started_ns = time.monotonic_ns()
        try:
            prepare_worker(self._setup)
            begin_worker(self._stage.handler)
        except BaseException as error:  # an import may raise anything
            reason = f"an event loop could not start:\n{format_error(error)}"
            self._crew.fail(WorkerLostError(f"stage {self._stage.name!r}: {reason}"))
            return
        self._context = copy_context()
        self._start = introduce_worker(started_ns)
        self._crew.ready(self._stage, self._start, requested_ns)
        try:
            await self._closing.wait()
        finally:
            end_worker(self._stage.handler)

    def _begin(self, job: Job) -> None:
        """Serve a job in a task and a context of its own: handlers change both."""
        loop, context = asyncio.get_running_loop(), self._context.copy()
        self._tasks[job] = loop.create_task(self._work(job), context=context)

    def _cancel(self, job: Job) -> None:
        task = self._tasks.get(job)
        if task is not None:
            task.cancel()

    async def _work(self, job: Job) -> None:
        """Serve a job as a task of its own, then begin the one that follows it."""
        try:
            served = await self._serve(job)
            del self._tasks[job]
            following = self._crew.finish(job, served, self._start)
            if following is not None:
                self._begin(following)
        except Exception as error:  # as of a thread of ours: it ends the run
            self._crew.fail(error)

    async def _unpack_inputs(self, job: Job) -> object:
        """Return a job's inputs; they are unpickled in a thread, since that may hang."""
        taken: asyncio.Future[Callable[[], object]] = asyncio.get_running_loop().create_future()

        def settle(give: Callable[[], object]) -> None:
            if not taken.done():
                taken.set_result(give)

        def take() -> None:
            try:
                inputs = job.take_inputs()
            except BaseException as error:  # raised again in the coroutine
                self._call(settle, partial(_raise, error))
            else:
                self._call(settle, lambda: inputs)

        name = f"{self._stage.name}_inputs"
        threading.Thread(target=take, name=name, daemon=True).start()
        return (await taken)()

    async def _serve(self, job: Job) -> Served:
        pid = os.getpid()
        result, error = None, None
        # Of the loop's first task: the number of modules that there are.
        known = 0 if self._has_served else len(sys.modules)
        self._has_served = True
        started_ns = job.begin(self._start)
        try:
            if job.has_packed_inputs():
                upstream = await self._unpack_inputs(job)
            else:
                upstream = job.take_inputs()
            arguments = job.arguments(upstream)
            result = await self._stage.handler(**arguments)
        except BaseException as raised:  # a handler that exits must not end the loop
            if isinstance(raised, GeneratorExit) and os.getpid() != pid:
                raise  # a forked worker frees its copy of a coroutine whose loop has ended
            result, error = keep_error(self._stage.handler, raised), format_error(raised)
        finished_ns = time.monotonic_ns()
        if os.getpid() != pid:
            # As in `serve`: a child that the handler forked must not continue the loop.
            os._exit(0)
        status = "ok" if error is None else "failed"
        imported = list_new(known) if known else None
        return Served(status, result, error, started_ns, finished_ns, None, imported)


def _raise(error: BaseException) -> None:
    raise error
