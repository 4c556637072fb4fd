"""A server beside a run: started before it, and ended with all its processes after it.

Its processes are not in the measured tree. A keeper, which the supervisor forks, is their parent:
it adopts the orphans among them, and ends them all, also if the supervisor is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from stagebench.errors import MeasureError
from stagebench.measure import process
from stagebench.measure.cause import describe_end, describe_error, find_traceback
from stagebench.sampler.procfs import children_reader
from stagebench.sampler.sweep import walk_tree
from stagebench.store import PORT, SERVER_FILE
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stagebench.units import Seconds

HOST = "127.0.0.1"

READY_FILE = "READY_FILE"
"""The variable that names the file that a server writes when it is ready, if the config says so."""

STEP_S = 0.02
"""Time between two checks whether the server is ready."""

GRACE_S = 2.0
"""The server gets this long to end after SIGTERM."""

LAST_LINES = 3
"""Lines of a server's output that an error quotes."""

LONGEST_END = 1000
"""Bytes of the keeper's report; less than a pipe takes at once."""


class Server:
    """A server that runs, or has ended meanwhile.

    `keeper` is the process that started it. The keeper ends it when `lifeline` is closed, and
    writes to `ended` if it ends by itself. `variables` are for the measured process.
    """

    def __init__(self, keeper: int, lifeline: int, ended: int, port: int) -> None:
        self.keeper = keeper
        self.variables = {PORT: str(port)}
        self._lifeline = lifeline
        self._ended = ended
        self._end = ""

    def find_end(self) -> str:
        """Return how the server has ended by itself; an empty text while it runs."""
        if not self._end and select.select([self._ended], [], [], 0)[0]:
            self._end = os.read(self._ended, LONGEST_END).decode(errors="replace") or "was killed"
        return self._end

    def has_ended(self) -> bool:
        """Return whether the server has ended by itself."""
        return self.find_end() != ""

    def read_cpu_s(self) -> Seconds:
        """Return the CPU time that all its processes have used so far, to the kernel's tick."""
        tree = [self.keeper, *(pid for pid, _ in walk_tree(self.keeper, children_reader()))]
        return sum(map(_read_cpu_ticks, tree)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End all processes of the server."""
        os.close(self._lifeline)
        os.waitpid(self.keeper, 0)
        os.close(self._ended)


def _read_cpu_ticks(pid: int) -> int:
    """Read the CPU time of a process and of the children that it has reaped; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # Fields 14 to 17 of proc(5): utime, stime, cutime and cstime.
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))


@contextlib.contextmanager
def run_server(
    specification: Mapping[str, Any], folder: Path, beside: Path | None
) -> Iterator[Server | None]:
    """Start the server of a specification, if it has one, and end it when the block is left.

    The server is ready when the block is entered; raises MeasureError with its last output if it
    does not become ready. Its output goes to `SERVER_FILE` in `folder`. It runs in the config's
    folder, `beside`.
    """
    settings = specification.get("server")
    if settings is None:
        yield None
        return
    port, ready_file = find_free_port(), (folder / "server-ready").absolute()
    inherited = process.measured_environment(
        {}, specification["process"]["blas_threads"], os.environ
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    environment = inherited | {"PATH": path, PORT: str(port), READY_FILE: str(ready_file)}
    server = start_server(settings["command"], environment, port, folder / SERVER_FILE, beside)
    try:
        reason = wait_until_ready(server, settings, port, ready_file)
        ready_file.unlink(missing_ok=True)
        if reason:
            raise MeasureError(f"the server {reason}{quote_output(folder, beside)}")
        yield server
    finally:
        server.close()
        ready_file.unlink(missing_ok=True)


def find_free_port() -> int:
    """Return a port that nothing listens to at this moment."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


def wait_until_ready(
    server: Server, settings: Mapping[str, Any], port: int, ready_file: Path
) -> str:
    """Wait until the server is ready; return why it is not if it ends or takes too long."""
    limit_s, ready = settings["ready_s"], settings["ready"]
    deadline_s = time.monotonic() + limit_s
    while not (end := server.find_end()):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            lacking = {
                "port": f"nothing listens to port {port} of {HOST}, which it finds in ${PORT}",
                "file": f"it has not written the file that ${READY_FILE} names",
            }.get(ready, f"{ready} is not answered at port {port} of {HOST}")
            return f"was not ready after {format_seconds(limit_s)}: {lacking}"
        if is_ready(ready, port, ready_file, left_s):
            return ""
        time.sleep(STEP_S)
    return f"{end} before it was ready"


def is_ready(ready: str, port: int, ready_file: Path, limit_s: Seconds) -> bool:
    """Return whether the port is open, the file is there, or the path of the URL is answered."""
    if ready == "file":
        return ready_file.exists()
    try:
        if ready == "port":
            socket.create_connection((HOST, port), timeout=limit_s).close()
            return True
        return _asks_well(ready, port, limit_s)
    except OSError:
        return False


def _asks_well(path: str, port: int, limit_s: Seconds) -> bool:
    import http.client  # only when needed: every run starts a supervisor

    asking = http.client.HTTPConnection(HOST, port, timeout=limit_s)
    try:
        asking.request("GET", path)
        return asking.getresponse().status < http.client.BAD_REQUEST
    except http.client.HTTPException:
        return False
    finally:
        asking.close()


def quote_output(folder: Path, beside: Path | None) -> str:
    """Return the error that a server has printed, or else its last lines."""
    try:
        output = (folder / SERVER_FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        output = ""
    if error := find_traceback(output):
        return f"; {describe_error(error, beside)}"
    lines = [line.strip() for line in output.splitlines() if line.strip()][-LAST_LINES:]
    return f"; its last output: {' / '.join(lines)}" if lines else "; it printed nothing"


def start_server(
    command: str, environment: Mapping[str, str], port: int, output: Path, beside: Path | None
) -> Server:
    """Fork the keeper, which starts the server; this process must have one thread."""
    lifeline_read, lifeline_write = os.pipe()
    ended_read, ended_write = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        try:
            os.close(lifeline_write)
            _keep(command, environment, output, beside, lifeline_read, ended_write)
        finally:
            os._exit(1)
    os.close(lifeline_read)
    os.close(ended_write)
    return Server(keeper, lifeline_write, ended_read, port)


def _keep(
    command: str,
    environment: Mapping[str, str],
    output: Path,
    beside: Path | None,
    lifeline: int,
    ended: int,
) -> NoReturn:
    """Start the server, report if it ends, and end all its processes when the lifeline is cut."""
    os.setsid()  # Ctrl-C is for the supervisor
    process.adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signals = process.ChildSignals()
    with output.open("wb") as file:
        try:
            server = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=beside,
                env=dict(environment),
            )
        except OSError as error:
            _report(ended, f"could not be started: {error.strerror}")
            server = None
    while lifeline not in select.select([lifeline, signals.descriptor], [], [])[0]:
        signals.wait(0)
        for pid, status in _reap():
            if server is not None and pid == server.pid:
                end = describe_end(os.waitstatus_to_exitcode(status))
                _report(ended, end if end.startswith("ended") else f"ended with {end}")
    _end_children()
    os._exit(0)


def _report(ended: int, text: str) -> None:
    """Tell the supervisor that the server has ended, and wake it up."""
    os.write(ended, text.encode()[:LONGEST_END])
    os.kill(os.getppid(), signal.SIGCHLD)


def _reap() -> Iterator[tuple[int, int]]:
    """Yield the children that have ended, with their statuses."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _end_children() -> None:
    """End all descendants: first by SIGTERM, later by SIGKILL."""
    deadline_s = time.monotonic() + GRACE_S
    _send(signal.SIGTERM)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if time.monotonic() > deadline_s:
            _send(signal.SIGKILL)
        time.sleep(0.005)


def _send(number: signal.Signals) -> None:
    for pid, _ in walk_tree(os.getpid(), children_reader()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
