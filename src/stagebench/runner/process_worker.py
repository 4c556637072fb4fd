"""What runs in a worker process: take a job from a pipe, serve it, send back what came of it.

The pipes between main and a worker process: one each way, as the standard library's pools have.

A socket pair would need one object only. But a read from it brings 200 KiB, and a block of that
size that is freed makes glibc raise the size from which on blocks are mappings of their own
(mallopt(3), M_MMAP_THRESHOLD): up to 30 MiB of results that main had dropped stayed with it. A read
from a pipe brings 64 KiB, and nothing stays.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.runner.transport import pack, unpack
from stagebench.runner.worker import Served, introduce_worker, prepare_worker, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

    from stagebench.runner.worker import WorkerSetup


def run_worker(
    ends: Ends,
    pickled_handler: bytes,
    setup: WorkerSetup,
    transport: str,
) -> None:
    """Serve jobs until main closes the pipe, sends an empty message, or is gone.

    The handler comes as a pickle, so that its module is imported here: in its turn, and in the time
    that the worker takes to be ready.
    """
    started_ns = time.monotonic_ns()
    forget_main_ends()
    # Nor may a child that the handler forks hold ours: if this worker is killed as it sends, main
    # would wait for the rest until that child has ended, too.
    os.register_at_fork(after_in_child=ends.close)
    sys.stdout, sys.stderr = _renew(sys.stdout), _renew(sys.stderr)
    # Ctrl-C in a terminal reaches workers, too: main decides what becomes of them. A function
    # instead of SIG_IGN, which programs that a handler starts would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        prepare_worker(setup)
        handler = pickle.loads(pickled_handler)  # noqa: S301 - written by main
    except BaseException:  # an import may raise anything
        ends.sender.send(traceback.format_exc())
        return
    ends.sender.send(introduce_worker(started_ns))
    while _serve_next(ends, handler, transport):
        pass


def _renew(stream: Any) -> Any:
    """Open a stream's file anew: a thread of main may have been printing when this was forked.

    The stream's own lock would then be held for ever.
    """
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return stream  # None, or no file
    renewed = open(  # noqa: SIM115 - of a descriptor, for as long as the process lives
        descriptor, "w", encoding=stream.encoding, errors=stream.errors, closefd=False
    )
    renewed.reconfigure(line_buffering=stream.line_buffering, write_through=stream.write_through)
    return renewed


def _serve_next(ends: Ends, handler: Callable[..., Any], transport: str) -> bool:
    """Serve one job; False at the end. A function of its own: nothing of a job outlives it."""
    try:
        message = ends.receiver.recv_bytes()
    except (EOFError, OSError):
        return False
    if not message:
        return False
    try:
        arguments, parcel = read_job(message)
    except Exception:  # recorded: a value's own unpickling may raise anything
        error = f"parameters or upstream results cannot be received:\n{traceback.format_exc()}"
        served = Served("failed", error=error)
    else:
        del message
        served = serve(handler, arguments)
        # What was taken from upstream is not kept while the result is on its way.
        del arguments
        served = _lay_down(served, handler, transport, parcel)
    ends.sender.send_bytes(_encode(served, handler))
    return True


def write_job(parameters: object, upstream: tuple[object] | None, parcel: str | None) -> Any:
    """Give the message for a job; `upstream` holds what its handler takes, `parcel` is a name."""
    return ForkingPickler.dumps((parameters, upstream, parcel))


def read_job(message: bytes) -> tuple[dict[str, Any], str | None]:
    """Give the handler's arguments, and the name that its result may be laid down under."""
    parameters, upstream, parcel = pickle.loads(message)  # noqa: S301 - written by main
    if upstream is None:
        return parameters, parcel
    (given,) = upstream
    taken = {k: unpack(v) for k, v in given.items()} if type(given) is Inputs else unpack(given)
    return {**parameters, "upstream": taken}, parcel


class Inputs(dict[str, object]):
    """What several upstream stages have made, by their names."""


def _lay_down(
    served: Served, handler: Callable[..., Any], transport: str, parcel: str | None
) -> Served:
    if parcel is None or served.status != "ok":
        return served
    try:
        return served._replace(result=pack(served.result, transport, parcel))
    except Exception as error:  # recorded: a full disk, or a value's own pickling
        return _fail(served, handler, f"cannot be laid down by {transport}", error)


def _encode(served: Served, handler: Callable[..., Any]) -> Any:
    try:
        return ForkingPickler.dumps(served)
    except Exception as error:  # recorded: a value's own pickling may raise anything
        return ForkingPickler.dumps(_fail(served, handler, "cannot be sent to main", error))


def _fail(served: Served, handler: Callable[..., Any], what: str, error: Exception) -> Served:
    """Say which result it was: of which handler, and of which type."""
    name = getattr(handler, "__qualname__", repr(handler))
    kind = type(served.result).__qualname__
    text = f"the result of {name}, a {kind}, {what}: {type(error).__name__}: {error}"
    return served._replace(status="failed", result=None, error=text)


class Ends(NamedTuple):
    """What one side has of the two pipes of a worker."""

    receiver: Connection[Any, Any]
    sender: Connection[Any, Any]

    def close(self) -> None:
        """Close both."""
        self.receiver.close()
        self.sender.close()


MAIN_ENDS: set[Ends] = set()
"""Main's ends of the pipes of all its workers. A forked worker has copies of them, and closes them:
while somebody holds one, the worker at its other end cannot see that main is gone."""


def open_pipes(context: BaseContext) -> tuple[Ends, Ends]:
    """Open both pipes of a worker; gives main's ends, and the worker's."""
    from_worker, to_main = context.Pipe(duplex=False)
    try:
        from_main, to_worker = context.Pipe(duplex=False)
    except OSError:
        # No descriptors are left for the second.
        Ends(from_worker, to_main).close()
        raise
    ours = Ends(from_worker, to_worker)
    MAIN_ENDS.add(ours)
    return ours, Ends(from_main, to_main)


def forget_main_ends() -> None:
    """Close, in a worker, what it has been given of main's ends by being forked."""
    for ends in MAIN_ENDS:
        ends.close()
    MAIN_ENDS.clear()


def close_main_ends(ends: Ends) -> None:
    """Close main's ends of one worker."""
    MAIN_ENDS.discard(ends)
    ends.close()
