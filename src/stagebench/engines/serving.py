"""What the workers of every engine run: a handler on one task, with the same clocks.

The worker stamps start, end and CPU time around the handler, so that service times of engines are
comparable. What is sent to it and back is what an engine sends anyway, plus a hundred bytes.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.runner.stage import UPSTREAM
from stagebench.runner.worker import (
    Served,
    Start,
    WorkerSetup,
    introduce_worker,
    prepare_worker,
    serve,
    serve_first,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Errand(NamedTuple):
    """One task in one stage, as it is sent to a worker.

    `sources` names the stages whose results the handler takes; `joins` is whether it takes them as
    a mapping, because its stage follows several.
    """

    task: int
    stage: str
    handler: Callable[..., Any]
    parameters: Mapping[str, Any]
    sources: tuple[str, ...]
    joins: bool
    setup: WorkerSetup


class Performed(NamedTuple):
    """How a task ended in a worker; `start` is known of a worker's first task in a stage."""

    task: int
    served: Served
    pid: int
    thread_id: int
    start: Start | None


_own = threading.local()


def perform(errand: Errand, *inputs: Performed) -> Performed:
    """Serve a task in the calling thread; `inputs` are the outcomes of the errand's sources."""
    start = _begin(errand)
    arguments = dict(errand.parameters)
    if errand.sources:
        results = [one.served.result for one in inputs]
        named = dict(zip(errand.sources, results, strict=True))
        arguments[UPSTREAM] = named if errand.joins else results[0]
    if start is None:
        served = serve(errand.handler, arguments)
    else:
        served = serve_first(errand.handler, arguments)
    return Performed(errand.task, served, os.getpid(), threading.get_native_id(), start)


def _begin(errand: Errand) -> Start | None:
    """Set up the calling thread for its first task in a stage; None if it has served it before.

    A forked process has a copy of what its parent's thread knew, so process ids are compared.
    """
    key = os.getpid(), errand.stage
    known: set[tuple[int, str]] = _own.__dict__.setdefault("known", set())
    if key in known:
        return None
    started_ns = time.monotonic_ns()
    prepare_worker(errand.setup)
    known.add(key)
    return introduce_worker(started_ns)
