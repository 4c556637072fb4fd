"""Starting a process that will be measured or traced, and ending its whole tree."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from stagebench.sampler.processes import is_resource_tracker
from stagebench.sampler.procfs import read_children

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from stagebench.sampler.processes import Census, Life
    from stagebench.units import Seconds

BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "GOTO_NUM_THREADS",
)
"""Each library reads its own when it is imported; Snakemake sets some of them in every job."""

INHERITED_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME")

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
"""Options of prctl(2), from linux/prctl.h."""

GRACE_S = 0.5
"""Main's helpers (resource tracker, forkserver) get this long to end by themselves."""

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> frozenset[int]:
    """Become the parent of every orphan below this process, so that it can be found and ended.

    Returns the strangers: children that this process has already and that do not belong to the run.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return frozenset(read_children(os.getpid()))


def forbid_core_file() -> None:
    """Prevent a core file of this process, whatever signal ends it."""
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def measured_environment(
    settings: Mapping[str, str | None],
    blas_threads: int,
    inherited: Mapping[str, str],
    code_folder: str | None = None,
) -> dict[str, str]:
    """Compose the measured process's environment variables; a setting of None removes one.

    Python's own variables are not inherited, except those that locate modules: an allocator or
    bytecode setting in the caller's shell would silently become part of the study. Another
    interpreter inherits none, and finds our modules in `code_folder`.
    """
    kept = INHERITED_PYTHON_VARIABLES if code_folder is None else ()
    environment = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("PYTHON") or name in kept
    }
    if environment.get("PYTHONPATH"):  # relative to this process's working directory
        folders = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, folders))
    environment.update(dict.fromkeys(BLAS_VARIABLES, str(blas_threads)))
    for name, value in settings.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    if code_folder is not None:
        own = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
        environment["PYTHONPATH"] = os.pathsep.join([code_folder, *own])
    return environment


class ChildSignals:
    """Waits for SIGCHLD: a child or a traced process has something to report.

    Python's signal handlers run late if the main thread blocks in a system call. So this waits for
    the descriptor to which the interpreter writes at once.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    @property
    def descriptor(self) -> int:
        """The descriptor that becomes readable, for a wait for several."""
        return self._read

    def wait(self, timeout_s: Seconds) -> bool:
        """Wait for a report; False if the time is up first."""
        if not select.select([self._read], [], [], max(0.0, timeout_s))[0]:
            return False
        os.read(self._read, 65536)
        return True


class Started(NamedTuple):
    """A process that was forked but is held before exec until the census follows it.

    Writing to `gate` releases it. `entered` becomes readable when exec has succeeded or the process
    has ended; it contains the error number if exec failed.
    """

    pid: int
    gate: int
    entered: int

    def release(self, census: Census) -> int:
        """Let it exec its program, and wait until it has: until then its memory is a copy of ours.

        Returns 0, or the error number if its program could not be run.
        """
        with contextlib.suppress(BrokenPipeError):  # killed while it waited
            os.write(self.gate, b"g")
        os.close(self.gate)
        while not select.select([self.entered], [], [], 0.001)[0]:
            census.update()
        failure = os.read(self.entered, 1)
        os.close(self.entered)
        census.update()
        return failure[0] if failure else 0

    def cancel(self) -> int:
        """End it without releasing it; returns its exit code, as it may have been killed before."""
        os.close(self.gate)
        os.close(self.entered)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start_program(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int,
    output: int | None,
    folder: Path | None = None,
    enter: Callable[[], None] = lambda: None,
) -> Started:
    """Fork a process in a new session that will exec `command` when it is released.

    Its standard input is the descriptor `stdin`; `output`, if given, gets its standard output and
    error. Its working directory is `folder`, or else this process's. It calls `enter` first. It is
    killed when this process ends.
    """

    def prepare() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        enter()
        os.setsid()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        be_killed_first()
        os.dup2(stdin, 0)
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
        if folder is not None:
            os.chdir(folder)

    return fork_held(command, environment, prepare)


FIRST_BY = 500
"""Thousandths of the memory that ran out, by which a measured process counts as larger."""


def be_killed_first() -> None:
    """Make this process and its descendants the kernel's first choice when memory runs out.

    A process that is traced is held while it ends. Until its memory is free, the kernel may kill
    another one, and that should not be the supervisor.
    """
    # Any user may raise it; some sandboxes forbid it, and then the kernel chooses as ever.
    with (
        contextlib.suppress(PermissionError),
        open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file,
    ):
        score = min(1000, int(file.read()) + FIRST_BY)
        file.seek(0)
        file.write(str(score))


def fork_held(
    command: Sequence[str],
    environment: Mapping[str, str] | Mapping[bytes, bytes],
    prepare: Callable[[], None],
) -> Started:
    """Fork a process that calls `prepare` and will exec `command` when it is released."""
    gate_read, gate_write = os.pipe()
    # Exec closes it, like every descriptor that Python opens, and so reports its own success.
    entered_read, entered_write = os.pipe()
    pid = os.fork()  # this process has one thread
    if pid == 0:
        os.close(gate_write)
        try:
            signal.set_wakeup_fd(-1)
            prepare()
            if os.read(gate_read, 1):
                _exec(command, environment)
        except OSError as error:
            os.write(entered_write, bytes([error.errno or errno.EIO]))
        except ValueError:  # an argument or variable that no program can be given
            os.write(entered_write, bytes([errno.EINVAL]))
        finally:
            os._exit(127)
    os.close(gate_read)
    os.close(entered_write)
    return Started(pid, gate_write, entered_read)


def _exec(
    command: Sequence[str], environment: Mapping[str, str] | Mapping[bytes, bytes]
) -> NoReturn:
    """Run the program that a shell would run: the first one in PATH that can be."""
    folders = os.get_exec_path(environment)  # type: ignore[arg-type]  # bytes are allowed, too
    number = errno.ENOENT
    for program in list_programs(command[0], folders):
        try:
            os.execve(program, list(command), environment)
        except FileNotFoundError:  # the program, or the interpreter that it names
            continue
        except PermissionError as error:
            number = error.errno or errno.EACCES
        except OSError as error:
            if error.errno != errno.ENOEXEC or is_binary(program):
                raise
            # The shell runs a script that does not name its interpreter, as in execvp(3).
            os.execve("/bin/sh", ["sh", program, *command[1:]], environment)
    raise OSError(number, os.strerror(number), command[0])


def list_programs(name: str, folders: Sequence[str]) -> list[str]:
    """List the files that a name may stand for, in the order of `folders`."""
    if "/" in name:
        return [name]
    paths = [os.path.join(folder or ".", name) for folder in folders if name]
    return [path for path in paths if os.path.isfile(path)]


def is_binary(program: str) -> bool:
    """Return whether a file is no script: its first line has a zero byte, by which shells judge."""
    with open(program, "rb") as file:
        return b"\0" in file.read(80).split(b"\n", 1)[0]


def end_tree(census: Census) -> list[str]:
    """Wait for the rest of a tree to end by itself, then kill it; returns what was killed.

    After main's exit its helpers (resource tracker, forkserver) end by themselves.
    """
    _wait_for_end(census)
    return kill_tree(census)


def kill_tree(census: Census) -> list[str]:
    """Kill and reap every process of a tree; returns the command lines of those killed.

    Resource trackers come last. Once all others have ended, they remove the shared memory and the
    semaphores that those left, and end by themselves.
    """
    killed = _kill(census, lambda life: not is_resource_tracker(life.command))
    _wait_for_end(census)
    return list((killed | _kill(census, lambda _: True)).values())


def _kill(census: Census, chosen: Callable[[Life], bool]) -> dict[int, str]:
    killed: dict[int, str] = {}
    gone: set[int] = set()  # a census that was interrupted may have reaped one without noting it
    census.update()
    while pids := [pid for pid, life in census.alive.items() if chosen(life) and pid not in gone]:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                gone.add(pid)
            killed[pid] = census.alive[pid].command
        time.sleep(0.001)
        census.update()
    return killed


def _wait_for_end(census: Census) -> None:
    deadline = time.monotonic() + GRACE_S
    census.update()
    while census.alive and time.monotonic() < deadline:
        time.sleep(0.001)
        census.update()
