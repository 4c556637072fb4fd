"""Memory tools side by side, on programs whose true peak is known.

    python -m benchmarks.memory_head_to_head --out FILE

Each block runs one program of each kind alone and under every tool, at an equal interval of 10 ms
and at the tool's own, in random order. Told are the error of the peak against what the program
itself read in that very run, how many children a tool did not meet, the CPU time of the tool with
its start, and how much longer the program took. Peers come into a virtual environment of their own;
one that is missing or fails is told with the reason. About half an hour; do nothing else meanwhile.

Most programs wait most of the time, which hides what a tool costs them: of the durations, those of
`churn` tell the most. stagebench at 10 ms is given as much CPU time as it takes, like the others;
on its own terms it keeps to its budget.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.memory_tables import ALONE, Result, format_report
from benchmarks.memory_tools import TOOLS, Told, Tool
from benchmarks.peer_environment import PeerEnvironment, make_environment
from tests.oracles.interpreter import Interpreter, environment, make_interpreter
from tests.oracles.observe import KINDS

from stagebench.measure.process import adopt_orphans
from stagebench.measure.supervisor import measurement_lock
from stagebench.sampler.procfs import read_children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SETTINGS = {"10 ms": 0.01, "the tool's own": None}

TIME_LIMIT_S = 120
GRACE_S = 5
"""A tool's helpers may outlive it by so much."""

OPTIONS = {"churn": ("--number", "300")}
UNREADABLE = (OSError, ValueError, KeyError, IndexError)


class Job(NamedTuple):
    """One run to be made; no tool means the program alone."""

    kind: str
    repeat: int
    tool: Tool | None
    setting: str

    def result(self, **known: Any) -> Result:
        """Give the result of this job."""
        name = self.tool.name if self.tool else ALONE
        return Result(tool=name, setting=self.setting, kind=self.kind, repeat=self.repeat, **known)


class Ran(NamedTuple):
    """A command that has ended, and all that it left, too."""

    exit_code: int
    cpu_s: float


def main() -> None:
    """Make all runs and print the tables."""
    options = parse_options()
    adopt_orphans()
    peers = make_environment(options.environment)
    with tempfile.TemporaryDirectory(prefix="head-to-head-") as scratch:
        folder = Path(scratch)
        (folder / "interpreter").mkdir()
        interpreter = make_interpreter(folder / "interpreter")
        jobs = draw_jobs(options.kinds, options.repeats, options.seed)
        results = [
            make_run(job, options.seed, interpreter, peers, folder / str(number))
            for number, job in enumerate(jobs)
        ]
    report = format_report(results, {tool.name: describe(tool, peers) for tool in TOOLS})
    print(report)
    if options.out:
        options.out.write_text(report, encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("kinds", nargs="*", default=KINDS, help="default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the tables")
    parser.add_argument(
        "--environment",
        type=Path,
        default=Path("results/peers"),
        help="virtual environment of the peers, made if need be (default: %(default)s)",
    )
    return parser.parse_args()


def describe(tool: Tool, peers: PeerEnvironment) -> str:
    """Say what a tool's peak is of, and its version."""
    version = f" {peers.versions[tool.packages[0]]}" if tool.packages else ""
    return f"{tool.peak_of}{';' if version else ''}{version}"


def draw_jobs(kinds: Sequence[str], repeats: int, seed: int) -> Iterator[Job]:
    """Yield all jobs: in each repeat all kinds, of each the program alone and under every tool."""
    rng = random.Random(seed)
    for repeat in range(repeats):
        for kind in rng.sample(kinds, len(kinds)):
            block = [Job(kind, repeat, tool, setting) for tool in TOOLS for setting in SETTINGS]
            block.append(Job(kind, repeat, None, ALONE))
            yield from rng.sample(block, len(block))


def make_run(
    job: Job, seed: int, interpreter: Interpreter, peers: PeerEnvironment, folder: Path
) -> Result:
    """Make one run; every job of a repeat has the same program, sizes and all."""
    for package in job.tool.packages if job.tool else ():
        if package in peers.missing:
            return job.result(failure=peers.missing[package])
    folder.mkdir()
    options = OPTIONS.get(job.kind, ())
    program = interpreter.program(job.kind, seed + job.repeat, folder / "truth.json", *options)
    command = program
    if job.tool:
        command = job.tool.command(peers.programs, folder, SETTINGS[job.setting], program)
    with measurement_lock():
        ran = run_to_its_end(command, folder / "said.txt")
    return read_result(job, folder, ran)


def read_result(job: Job, folder: Path, ran: Ran) -> Result:
    """Compare what the tool told with the program's own truth."""
    try:
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        told = job.tool.read(folder) if job.tool else Told(None)
    except UNREADABLE as error:
        said = (folder / "said.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
        print(f"{job}: {error!r}\n{said}", file=sys.stderr, flush=True)
        return job.result(failure=f"no readable result of {job.kind} (exit code {ran.exit_code})")
    return job.result(
        error=error_of(told.peak_bytes, truth),
        upper_error=error_of(told.upper_bytes, truth),
        children=truth["processes_created"] - 1,
        told_children=told.children,
        other_cpu_s=ran.cpu_s - truth["cpu_s"],
        duration_s=(truth["ended_ns"] - truth["started_ns"]) / 1e9,
    )


def error_of(told_bytes: float | None, truth: dict[str, Any]) -> float | None:
    """Give how far a told peak is from the true one, as a share of it."""
    return None if told_bytes is None else told_bytes / truth["tree_peak_pss_bytes"] - 1


def run_to_its_end(command: Sequence[str], said: Path) -> Ran:
    """Run a command until nothing of it is left, and add up the CPU time of all that it was."""
    strangers = frozenset(read_children(os.getpid()))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with said.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment())
        try:
            exit_code = process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            exit_code = process.wait()
    reap_orphans(strangers, time.monotonic() + GRACE_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(exit_code, cpu_s)


def reap_orphans(strangers: frozenset[int], deadline: float) -> None:
    """Wait for all that was left behind, but not for strangers; kill it after the deadline."""
    while orphans := set(read_children(os.getpid())) - strangers:
        for pid in orphans:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


if __name__ == "__main__":
    main()
