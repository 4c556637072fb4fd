"""A worker process: read a job from a pipe, serve it, send back the outcome.

Main and a worker share two pipes, one each way, as in the standard library's pools. One socket pair
would do, but a read from it returns 200 KiB, and freeing a block of that size makes glibc raise the
size from which blocks get a mapping of their own (mallopt(3), M_MMAP_THRESHOLD): main then kept up
to 30 MiB of results that it had dropped. A read from a pipe returns 64 KiB, and main keeps nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pickle
import select
import signal
import sys
import time
from collections import deque
from multiprocessing.process import parent_process
from multiprocessing.reduction import ForkingPickler
from struct import pack as pack_numbers
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.runner.transport import pack, remove_folder, unpack
from stagebench.runner.worker import (
    Served,
    begin_worker,
    describe_error,
    end_worker,
    format_error,
    introduce_worker,
    prepare_worker,
    serve,
    serve_first,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

    from stagebench.runner.worker import WorkerSetup


def run_worker(
    ends: Ends, setup: WorkerSetup, transport: str, folder: str | None, batches: str | None
) -> None:
    """Serve jobs until main closes the pipe, sends an empty message, or has ended.

    `folder` is where results are stored for the transport "path". `batches` is None if jobs come
    one at a time; if they come in batches, it is how their outcomes return, `TOGETHER` or `SINGLY`.

    The handler arrives pickled, as the first message, so that its module is imported here: after
    the set-up, and within the time that the worker takes to get ready.
    """
    started_ns = time.monotonic_ns()
    forget_main_ends()
    _end_with_main(folder)
    # A child that the handler forks must not hold our ends: if this worker is killed while it
    # sends, main would wait for the rest until that child has ended, too.
    os.register_at_fork(after_in_child=ends.close)
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        _unlock(stream)
    # Ctrl-C in a terminal reaches workers, too, but main decides when they end. This is a function
    # because programs that a handler starts would inherit SIG_IGN.
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        pickled_handler = ends.receiver.recv_bytes()
    except (EOFError, OSError):
        return  # main has ended
    try:
        prepare_worker(setup)
        handler = pickle.loads(pickled_handler)  # noqa: S301 - written by main
        begin_worker(handler)
    except BaseException as error:  # an import may raise anything
        ends.sender.send(format_error(error))
        return
    ends.sender.send(introduce_worker(started_ns))
    try:
        _serve_all(ends, handler, transport, batches)
    finally:
        end_worker(handler)


def _serve_all(
    ends: Ends, handler: Callable[..., Any], transport: str, batches: str | None
) -> None:
    if batches is not None:
        _serve_batches(ends, handler, transport, together=batches == TOGETHER)
    elif _serve_next(ends, handler, transport, serve_first):
        while _serve_next(ends, handler, transport, serve):
            pass


def _end_with_main(folder: str | None) -> None:
    """End when main is killed, in the middle of a task, too, and remove the folder that it leaves.

    multiprocessing holds a pipe to each process that it starts, and never writes to it. Its end
    sends SIGIO, so no thread has to wait for it.
    """
    parent = parent_process()
    if parent is None or not hasattr(fcntl, "F_SETOWN"):
        return
    life, own_pid = parent.sentinel, os.getpid()

    ended = select.poll()
    ended.register(life)

    def end(*_: object) -> None:
        if os.getpid() != own_pid or not ended.poll(0):
            return  # a child that a handler forked, or a signal of something else
        for pid in stop_family(own_pid, stop_first=False):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if folder is not None:
            remove_folder(folder)
        os._exit(1)

    signal.signal(signal.SIGIO, end)
    fcntl.fcntl(life, fcntl.F_SETOWN, own_pid)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def _unlock(stream: object) -> None:
    """Renew the lock of a stream: it is stuck if a thread of main printed during the fork.

    The stream stays the same object, because others may hold it: logging, or what shows its text in
    two places. A second object on its descriptor would write into the next file that gets the same
    number, once the first one is closed. Text that main had not written yet is dropped here: main
    writes it. Streams that are no text files, such as those of Jupyter, have no such lock.
    """
    if not issubclass(type(stream), io.TextIOWrapper):
        return
    with contextlib.suppress(ValueError):  # closed, or detached from its buffer
        buffer: Any = stream.buffer  # type: ignore[attr-defined]
        if type(buffer) in (io.BufferedWriter, io.BufferedRandom):
            file = buffer.raw
            buffer.__init__(_Nowhere())
            stream.flush()  # type: ignore[attr-defined]
            buffer.__init__(file)


class _Nowhere(io.RawIOBase):
    """A file that takes everything and keeps nothing."""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        return 0

    def write(self, data: Any, /) -> int:
        return len(data)


def _serve_next(
    ends: Ends, handler: Callable[..., Any], transport: str, act: Callable[..., Served]
) -> bool:
    """Serve one job; return False at the end. A separate function, so no job outlives it."""
    try:
        message = ends.receiver.recv_bytes()
    except (EOFError, OSError):
        return False
    if not message:
        return False
    try:
        arguments, parcel = read_job(message)
    except BaseException as error:  # recorded: a value's own unpickling may raise anything
        text = f"parameters or upstream results cannot be received:\n{format_error(error)}"
        served = Served("failed", error=text)
    else:
        del message
        served = act(handler, arguments)
        # Free the upstream results before the result is sent.
        del arguments
        served = _pack_result(served, handler, transport, parcel)
    ends.sender.send_bytes(_encode(served, handler))
    return True


TOGETHER, SINGLY = "together", "singly"


def _serve_batches(
    ends: Ends, handler: Callable[..., Any], transport: str, *, together: bool
) -> None:
    """Serve batches until the end."""
    act: Callable[..., Served] = serve_first
    while (batch := _receive_batch(ends.receiver)) is not None:
        through = Ends(batch, batch if together else ends.sender)  # type: ignore[arg-type]
        while batch.jobs:
            _serve_next(through, handler, transport, act)
            act = serve
        write_parts(ends.sender.fileno(), batch.outcomes)
        # Keep nothing of it while waiting for the next.
        del batch, through


def _receive_batch(receiver: Connection[Any, Any]) -> _Batch | None:
    """Return the next batch, whose number of jobs comes first; None at the end."""
    try:
        number = receiver.recv_bytes()
        return _Batch(receiver.recv_bytes() for _ in range(int(number))) if number else None
    except (EOFError, OSError):
        return None


class _Batch:
    """The messages of a batch, in place of both pipes: its jobs, and the outcomes to be written."""

    def __init__(self, jobs: Iterable[bytes]) -> None:
        self.jobs = deque(jobs)
        self.outcomes: list[memoryview] = []

    def recv_bytes(self) -> bytes:
        return self.jobs.popleft()

    def send_bytes(self, message: Any) -> None:
        self.outcomes += frame(message)


def frame_batch(messages: Sequence[Any]) -> list[memoryview]:
    """Return the jobs of a batch as the parts that its worker reads: their number, and each."""
    parts = frame(str(len(messages)).encode())
    for message in messages:
        parts += frame(message)
    return parts


def write_job(parameters: object, upstream: tuple[object] | None, parcel: str | None) -> Any:
    """Return the message for a job.

    `upstream` holds the handler's input, `parcel` is the name to store the result under.
    """
    dumps = pickle.dumps if _is_plain(parameters, upstream) else ForkingPickler.dumps
    return dumps((parameters, upstream, parcel))


def _is_plain(parameters: object, upstream: tuple[object] | None) -> bool:
    """Return whether all that a job has are values that every pickler writes in the same way.

    ForkingPickler knows how to send connections and locks. To set it up takes several times as long
    as to pickle a few numbers.
    """
    return (
        type(parameters) is dict
        and (upstream is None or type(upstream[0]) in _PLAIN)
        and all(type(value) in _PLAIN for value in parameters.values())
    )


_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})


_MOST_PARTS = 1024
"""How many parts one call may write: IOV_MAX of Linux and macOS."""


def write_parts(descriptor: int, parts: list[memoryview]) -> None:
    """Write as much of some parts as a pipe takes without waiting, and remove that from the list.

    Raises OSError if nobody reads the pipe any more.
    """
    while parts:
        try:
            written = os.writev(descriptor, parts[:_MOST_PARTS])
        except BlockingIOError:
            return
        while parts and written >= parts[0].nbytes:
            written -= parts.pop(0).nbytes
        if written:
            parts[0] = parts[0][written:]


def frame(message: Any) -> list[memoryview]:
    """Return a message as the parts that `Connection.recv_bytes` reads: its length, and itself.

    `Connection.send_bytes` would wait until everything is read; the pipe of a worker that imports
    its modules takes 64 KiB.
    """
    content = memoryview(message)
    short = content.nbytes <= 0x7FFFFFFF
    head = pack_numbers("!i", content.nbytes) if short else pack_numbers("!iQ", -1, content.nbytes)
    return [memoryview(head), content]


def read_job(message: bytes) -> tuple[dict[str, Any], str | None]:
    """Return the handler's arguments, and the name that its result may be stored under."""
    parameters, upstream, parcel = pickle.loads(message)  # noqa: S301 - written by main
    if upstream is None:
        return parameters, parcel
    (sent,) = upstream
    taken = {k: unpack(v) for k, v in sent.items()} if type(sent) is Inputs else unpack(sent)
    return {**parameters, "upstream": taken}, parcel


class Inputs(dict[str, object]):
    """The results of several upstream stages, by the stages' names."""


def _pack_result(
    served: Served, handler: Callable[..., Any], transport: str, parcel: str | None
) -> Served:
    if parcel is None or served.status != "ok":
        return served
    try:
        return served._replace(result=pack(served.result, transport, parcel))
    except BaseException as error:  # recorded: a full disk, or a value's own pickling
        return _fail(served, handler, f"cannot be stored for transport {transport!r}", error)


def _encode(served: Served, handler: Callable[..., Any]) -> Any:
    if served.status == "failed" and served.result is not None:
        served = _check_error(served)
    # As a plain tuple, which takes half the time on both sides: main knows what it is.
    try:
        dumps = pickle.dumps if type(served.result) in _PLAIN else ForkingPickler.dumps
        return dumps(tuple(served))
    except BaseException as error:  # recorded: a value's own pickling may raise anything
        return pickle.dumps(tuple(_fail(served, handler, "cannot be sent to main", error)))


def _check_error(served: Served) -> Served:
    """Drop the exception object of a failure if main could not unpickle it: its text stays."""
    try:
        pickle.loads(ForkingPickler.dumps(served.result))  # noqa: S301 - our own
    except BaseException:  # its own pickling may raise anything
        return served._replace(result=None)
    return served


def _fail(served: Served, handler: Callable[..., Any], what: str, error: BaseException) -> Served:
    """Turn an outcome into a failure that names the result's handler and type."""
    name = getattr(handler, "__qualname__", repr(handler))
    kind = type(served.result).__qualname__
    text = f"the result of {name}, a {kind}, {what}: {describe_error(error)}"
    return served._replace(status="failed", result=None, error=text)


class Ends(NamedTuple):
    """One side's ends of a worker's two pipes."""

    receiver: Connection[Any, Any]
    sender: Connection[Any, Any]

    def close(self) -> None:
        """Close both."""
        self.receiver.close()
        self.sender.close()


MAIN_ENDS: set[Ends] = set()
"""Main's ends of the pipes of all its workers. A forked worker inherits copies and closes them:
while any process holds such an end, the worker at the other end cannot see that main has ended."""


def open_pipes(context: BaseContext) -> tuple[Ends, Ends]:
    """Open both pipes of a worker; return main's ends and the worker's."""
    from_worker, to_main = context.Pipe(duplex=False)
    try:
        from_main, to_worker = context.Pipe(duplex=False)
    except OSError:
        # No descriptors are left for the second.
        Ends(from_worker, to_main).close()
        raise
    ours = Ends(from_worker, to_worker)
    os.set_blocking(to_worker.fileno(), False)  # see frame
    MAIN_ENDS.add(ours)
    return ours, Ends(from_main, to_main)


def forget_main_ends() -> None:
    """Close, in a forked worker, its copies of main's ends."""
    for ends in MAIN_ENDS:
        ends.close()
    MAIN_ENDS.clear()


def close_main_ends(ends: Ends) -> None:
    """Close main's ends of one worker."""
    MAIN_ENDS.discard(ends)
    ends.close()


def stop_family(pid: int, *, stop_first: bool = True) -> list[int]:
    """Stop a process and its descendants, so that they start no more; return the descendants.

    Without /proc, none are known. A resource tracker is not one of them: it ends by itself, and
    first removes what the others leave.
    """
    family = [pid]
    for member in family:  # grows meanwhile
        if stop_first or member != pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGSTOP)
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{member}/task"):
                children = _read(f"/proc/{member}/task/{thread}/children").split()
                family += [child for child in map(int, children) if not _is_tracker(child)]
    return family[1:]


def _is_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in _read(f"/proc/{pid}/cmdline")
    except OSError:
        return False


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
