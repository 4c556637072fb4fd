"""Calls of Snakemake: where its file is, whether another one is at work, how it is ended.

It runs in a process group of its own. So Ctrl-C reaches this process alone, which passes it on once
to all that Snakemake has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import stagebench
from stagebench.conduct.announced import SCREEN
from stagebench.errors import CommandError, MeasureError
from stagebench.measure.cause import describe_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

POLL_S = 0.5
"""How often it is looked whether a call should go on."""

LAST_LINES = 5
"""Lines of what Snakemake printed that are shown if it dies."""

FORCES = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""What the first, second and third Ctrl-C is passed on as."""


class SnakemakeCall(NamedTuple):
    """How Snakemake is called for one study, in the current folder.

    `screen` is the descriptor that our logger plugin writes to; all else that Snakemake and its
    jobs print goes to the file `output`.
    """

    snakefile: Path
    config: Path
    cores: str
    profile: Path | None
    environment: Mapping[str, str]
    screen: int
    output: Path


def find_snakefile() -> Path:
    """Return the Snakefile of the checkout that this package is in, or the one of the package."""
    package = Path(stagebench.__file__).resolve().parent
    paths = package.parents[1] / "Snakefile", package / "rules" / "Snakefile"
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise MeasureError(f"{paths[1]}: the Snakefile is missing; install stagebench again")
    return found


def check_profile(folder: Path) -> None:
    """Raise CommandError if a folder has no profile of Snakemake."""
    names = ("config.yaml", "config.v9+.yaml")
    if not any((folder / name).is_file() for name in names):
        raise CommandError(
            f"--profile {folder}: no {names[0]} there; allowed: the folder of a profile, such as"
            f" {find_snakefile().parent / 'workflow/profiles/slurm'}",
            exit_code=2,
        )


def run_snakemake(
    call: SnakemakeCall, targets: Sequence[str], go_on: Callable[[], bool] = lambda: True
) -> int:
    """Make targets, or the whole study; return the exit code.

    When `go_on` returns False, what runs is ended as by Ctrl-C. Raises KeyboardInterrupt after an
    interruption, when everything has ended.
    """
    # Where one job runs at a time, there is nothing to solve: the other scheduler takes long, and
    # its order by priority is the same.
    arguments = ["--scheduler", "greedy", "--rerun-incomplete", "--logger", "stagebench"]
    # Options that take several words would take the targets, too.
    arguments += ["--", *targets]
    with call.output.open("ab") as output, _start(call, arguments, output) as process:
        interrupted = 0
        while True:
            try:
                code = process.wait(POLL_S)
                break
            except subprocess.TimeoutExpired:
                if interrupted or go_on():
                    continue
                interrupted = 1
                _pass_on(process, FORCES[0])
            except KeyboardInterrupt:
                _pass_on(process, FORCES[min(interrupted, len(FORCES) - 1)])
                interrupted += 1
    if code < 0:
        _pass_on(process, signal.SIGTERM)  # its jobs, which have nobody to report to
    if interrupted and go_on():
        raise KeyboardInterrupt
    return code


def unlock(call: SnakemakeCall) -> bool:
    """Remove the locks that a Snakemake has left that was killed; return whether there were any.

    Raises CommandError if the one that holds them is alive.
    """
    check_alone()
    if not any(Path(".snakemake/locks").glob("*")):
        return False
    with call.output.open("ab") as output, _start(call, ["--unlock"], output) as process:
        code = process.wait()
    if code:
        raise CommandError(f"Snakemake cannot be unlocked; see {call.output}", exit_code=code)
    return True


def check_alone() -> None:
    """Raise CommandError if another study is being run in the current folder."""
    own = (_started(os.getpid()), os.getpid())
    for pid, name in _find_others():
        # Of two that begin at the same time, the earlier one goes on.
        if name == "snakemake" or (_started(pid), pid) < own:
            raise CommandError(
                f"{Path.cwd()}: {name} is running here (process {pid}); allowed: one study at a"
                " time in a folder, so wait for it or end it",
                exit_code=1,
            )


def _start(
    call: SnakemakeCall, arguments: Sequence[str], output: BinaryIO
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(call.snakefile)]
    # A profile says how much is measured at a time, on other machines; their cores are not ours.
    command += ["--profile", str(call.profile)] if call.profile else ["--cores", call.cores]
    command += ["--configfile", str(call.config), *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **call.environment, SCREEN: str(call.screen)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[call.screen],
        process_group=0,
    )


def _pass_on(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def describe_death(code: int, output: Path) -> str:
    """Describe how Snakemake ended; if it could not say so itself, with its last words."""
    lines = [f"Snakemake ended: {describe_end(code)}"]
    if code != 1:  # an error that it has shown
        with contextlib.suppress(OSError):
            text = output.read_text(encoding="utf-8", errors="replace")
            lines += [f"  {line}" for line in text.splitlines()[-LAST_LINES:]]
    return "\n".join([*lines, f"  all that it printed: {output}"])


def _find_others() -> Iterator[tuple[int, str]]:
    """Yield each other process that works on a study in the current folder, with its program."""
    here, own = os.stat("."), os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == own:
            continue
        # A process that has ended meanwhile, or one of another user, which cannot be looked at.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{entry}/cwd"), here):
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
                if name := _name_program(words):
                    yield int(entry), name


def _name_program(words: Sequence[str]) -> str:
    """Return "snakemake" or "stagebench run", if Python runs one of them; else ""."""
    if not os.path.basename(words[0]).startswith("python"):
        return ""
    # After options of Python, -m included, comes the program; its folder does not matter.
    rest = [*dropwhile(lambda word: word.startswith("-"), words[1:]), ""]
    name = os.path.basename(rest[0])
    if name == "snakemake":
        return name
    return "stagebench run" if name == "stagebench" and rest[1] == "run" else ""


def _started(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])  # field 22 of proc(5)
