"""Workers that are threads, each with a subinterpreter of its own.

    dispatch --> inbox --> thread --> subinterpreter --> thread --> crew.finish

A thread calls its subinterpreter as it would call a handler: the same thread goes on in there, so
times and CPU times are its own. Arguments and outcomes are pickled, as for processes.
"""

from __future__ import annotations

import pickle
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from stagebench.errors import UnsupportedError
from stagebench.runner import interpreter_worker
from stagebench.runner.stage import find_pickle_error, name_of
from stagebench.runner.thread_pool import ThreadPool
from stagebench.runner.worker import Served, describe_error, format_error
from stagebench.subinterpreter import Subinterpreter, why_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stagebench.runner.jobs import PoolPlan


class InterpreterPool(ThreadPool):
    """A stage's subinterpreters; see jobs.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        super().__init__(plan)
        reason = why_none(sys.version_info[:2])
        if reason:
            raise UnsupportedError(reason)
        # Each has a switch interval of its own, as a process has.
        self._setup = plan.setup
        self._handler = self._pickle_handler()
        self._own = threading.local()
        self._acts = (
            partial(self._serve_there, interpreter_worker.serve_first_job),
            partial(self._serve_there, interpreter_worker.serve_job),
        )

    def _pickle_handler(self) -> bytes:
        handler = self._stage.handler
        error = find_pickle_error(handler)
        if error:
            raise UnsupportedError(self._refuse(error))
        return pickle.dumps(handler)

    def _refuse(self, reason: str) -> str:
        return (
            f"stage {self._stage.name!r}: {name_of(self._stage.handler)} cannot run in a"
            f" subinterpreter ({reason})"
        )

    def close(self, *, cancel: bool) -> None:  # noqa: ARG002 - a task there cannot be left behind
        """End the subinterpreters, and wait for running jobs in any case.

        The process could not end while one runs.
        """
        super().close(cancel=False)

    def _begin(self) -> None:
        self._own.interpreter = interpreter = Subinterpreter(sys.path)
        message = pickle.dumps((self._setup, self._handler))
        answer = interpreter.call(interpreter_worker.begin, message)
        if not answer:
            return
        interpreter.close()
        how, text = pickle.loads(answer)  # noqa: S301 - written by our own worker
        if how == interpreter_worker.REFUSED:
            raise UnsupportedError(self._refuse(text))
        raise RuntimeError(f"in a subinterpreter:\n{text}")

    def _end(self) -> None:
        interpreter = self._own.interpreter
        interpreter.call(interpreter_worker.end, b"")
        interpreter.close()

    def _serve_there(
        self,
        serve: Callable[[bytes], bytes],
        _handler: Callable[..., Any],
        arguments: Mapping[str, Any],
    ) -> Served:
        try:
            message = pickle.dumps(dict(arguments))
        except BaseException as error:  # recorded: a value's own pickling may raise anything
            text = "parameters or upstream results cannot be sent to a subinterpreter"
            return Served("failed", error=f"{text}: {describe_error(error)}")
        answer = self._own.interpreter.call(serve, message)
        try:
            served: Served = pickle.loads(answer)  # noqa: S301 - written by our own worker
        except BaseException as error:  # recorded: a value's own unpickling may raise anything
            text = f"the result cannot be received by main:\n{format_error(error)}"
            return Served("failed", error=text)
        return served
