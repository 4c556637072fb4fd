"""Memory tools side by side, on programs whose true peak is known.

    python -m benchmarks.memory_head_to_head --out FILE

Each block runs one program of each kind alone and under every tool, at an interval of 10 ms and at
the tool's own, in random order. Reports the error of the peak against what the program itself read
in the same run, the number of children that a tool missed, the CPU time of the tool with its
start-up, and how much longer the program took. Peers are installed into a virtual environment of
their own; one that is missing or fails is reported with the reason. Takes about half an hour; do
nothing else meanwhile.

Most programs wait most of the time, which hides the cost of a tool; the durations of `churn` show
most of it. At 10 ms, stagebench may use as much CPU time as it needs, like the others; at its own
interval it keeps to its budget.
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
from benchmarks.memory_tools import TOOLS, Reading, Tool
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
"""A tool's helpers may outlive it by this time."""

OPTIONS = {"churn": ("--number", "300")}
UNREADABLE = (OSError, ValueError, KeyError, IndexError)


class Job(NamedTuple):
    """One run to make; without a tool, the program runs alone."""

    kind: str
    repeat: int
    tool: Tool | None
    setting: str

    def result(self, **known: Any) -> Result:
        """Return a result of this job."""
        name = self.tool.name if self.tool else ALONE
        return Result(tool=name, setting=self.setting, kind=self.kind, repeat=self.repeat, **known)


class Ran(NamedTuple):
    """A command that has ended with all its descendants."""

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
        help="virtual environment of the peers, created if missing (default: %(default)s)",
    )
    return parser.parse_args()


def describe(tool: Tool, peers: PeerEnvironment) -> str:
    """Describe a tool by the metric of its peak and by its version."""
    version = f" {peers.versions[tool.packages[0]]}" if tool.packages else ""
    return f"{tool.peak_of}{';' if version else ''}{version}"


def draw_jobs(kinds: Sequence[str], repeats: int, seed: int) -> Iterator[Job]:
    """Yield all jobs: each repeat has all kinds, each alone and under every tool."""
    rng = random.Random(seed)
    for repeat in range(repeats):
        for kind in rng.sample(kinds, len(kinds)):
            block = [Job(kind, repeat, tool, setting) for tool in TOOLS for setting in SETTINGS]
            block.append(Job(kind, repeat, None, ALONE))
            yield from rng.sample(block, len(block))


def make_run(
    job: Job, seed: int, interpreter: Interpreter, peers: PeerEnvironment, folder: Path
) -> Result:
    """Make one run; all jobs of a kind and repeat run the same program with the same sizes."""
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
    """Compare what the tool reported with the truth of the program."""
    try:
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        reading = job.tool.read(folder) if job.tool else Reading(None)
    except UNREADABLE as error:
        said = (folder / "said.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
        print(f"{job}: {error!r}\n{said}", file=sys.stderr, flush=True)
        return job.result(failure=f"no readable result of {job.kind} (exit code {ran.exit_code})")
    return job.result(
        error=error_of(reading.peak_bytes, truth),
        upper_error=error_of(reading.upper_bytes, truth),
        children=truth["processes_created"] - 1,
        reported_children=reading.children,
        other_cpu_s=ran.cpu_s - truth["cpu_s"],
        duration_s=(truth["ended_ns"] - truth["started_ns"]) / 1e9,
    )


def error_of(peak_bytes: float | None, truth: dict[str, Any]) -> float | None:
    """Return the error of a reported peak, as a share of the true one."""
    return None if peak_bytes is None else peak_bytes / truth["tree_peak_pss_bytes"] - 1


def run_to_its_end(command: Sequence[str], said: Path) -> Ran:
    """Run a command until all its processes have ended, and add up their CPU time."""
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
    """Wait for all orphans but the strangers; kill them after the deadline."""
    while orphans := set(read_children(os.getpid())) - strangers:
        for pid in orphans:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


if __name__ == "__main__":
    main()
