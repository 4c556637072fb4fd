"""The tools that memory_head_to_head.py compares: how to start each and read its results."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.oracles.observe import trace_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MIB = 1 << 20
PEERS = Path(__file__).parent / "peers"


class Reading(NamedTuple):
    """What a tool reports on one program; None where it reports nothing.

    `children` counts those in the tool's records. Only a bracket has an upper bound.
    """

    peak_bytes: float | None
    upper_bytes: float | None = None
    children: int | None = None


class Tool(NamedTuple):
    """A tool: the packages that it needs (its own first), the metric of its peak, and its use.

    `command` takes the folder of the peers' executables, the folder to write to, the interval in
    seconds (None for the tool's own) and the program; `read` takes the folder that was written to.
    """

    name: str
    packages: tuple[str, ...]
    peak_of: str
    command: Callable[[Path, Path, float | None, Sequence[str]], list[str]]
    read: Callable[[Path], Reading]


def stagebench_command(
    _peers: Path, folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Trace; a requested interval is kept at any cost, as by all other tools."""
    asked = () if interval_s is None else ("--interval", str(interval_s), "--cpu-budget", "1")
    return trace_command(program, folder / "trace", *asked)


def read_stagebench(folder: Path) -> Reading:
    """Read both bounds and the number of all processes but main."""
    summary = json.loads((folder / "trace" / "summary.json").read_text(encoding="utf-8"))
    bracket = summary["peak"]["tree"]
    children = summary["processes"]["created"] - 1
    return Reading(bracket["lower_bytes"], bracket["upper_bytes"], children)


def psrecord_command(
    peers: Path, folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Record with children; without an interval, psrecord samples as often as it can."""
    command = [str(peers / "psrecord"), "exec " + shlex.join(program), "--include-children"]
    command += ["--log", str(folder / "psrecord.csv"), "--log-format", "csv"]
    return command if interval_s is None else [*command, "--interval", str(interval_s)]


def read_psrecord(folder: Path) -> Reading:
    """Read the largest sum of RSS; psrecord counts processes, but does not identify them."""
    with (folder / "psrecord.csv").open(encoding="utf-8", newline="") as file:
        sums = [float(row["mem_real"]) for row in csv.DictReader(file)]
    return Reading(max(sums) * MIB if sums else None)


def mprof_command(
    peers: Path, folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Profile PSS with children."""
    command = [str(peers / "mprof"), "run", "--nopython", "--include-children"]
    command += ["--backend", "psutil_pss", "--output", str(folder / "mprof.dat")]
    return [*command, *([] if interval_s is None else ["-T", str(interval_s)]), *program]


def mprof_each_command(
    peers: Path, folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Profile PSS with children, and also record each child."""
    command = mprof_command(peers, folder, interval_s, program)
    return [*command[:2], "--multiprocess", *command[2:]]


def read_mprof(folder: Path) -> Reading:
    """Read the largest sum; children have no records of their own."""
    lines = (folder / "mprof.dat").read_text(encoding="utf-8").splitlines()
    sums = [float(line.split()[1]) for line in lines if line.startswith("MEM ")]
    return Reading(max(sums) * MIB if sums else None)


def read_mprof_each(folder: Path) -> Reading:
    """Read the largest sum and the number of children with a record; 0 marks a lost child."""
    lines = (folder / "mprof.dat").read_text(encoding="utf-8").splitlines()
    children = {line.split()[1] for line in lines if line.startswith("CHLD ")} - {"0"}
    return read_mprof(folder)._replace(children=len(children))


def duct_command(
    peers: Path, folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Run and keep the logs, even if the program fails."""
    command = [str(peers / "con-duct"), "run", "--log-level", "ERROR", "--fail-time", "0"]
    command += ["--output-prefix", f"{folder}/duct-"]
    asked = [] if interval_s is None else ["--sample-interval", str(interval_s)]
    return [*command, *asked, *program]


def read_duct(folder: Path) -> Reading:
    """Read the largest sum of RSS, and the number of recorded processes but main."""
    info = json.loads((folder / "duct-info.json").read_text(encoding="utf-8"))
    lines = (folder / "duct-usage.jsonl").read_text(encoding="utf-8").splitlines()
    processes = {pid for line in lines for pid in json.loads(line)["processes"]}
    return Reading(info["execution_summary"]["peak_rss"], children=max(0, len(processes) - 1))


def snakemake_command(
    peers: Path, _folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Run under the sampler of `benchmark:`."""
    interval = "default" if interval_s is None else str(interval_s)
    return [str(peers / "python"), str(PEERS / "snakemake_benchmark.py"), interval, *program]


def read_snakemake(folder: Path) -> Reading:
    """Read the largest sum of PSS from the last line printed."""
    *_, last = (folder / "said.txt").read_text(encoding="utf-8").splitlines()
    peak = json.loads(last)["max_pss"]
    return Reading(None if peak is None else peak * MIB)


def tadween_command(
    peers: Path, folder: Path, interval_s: float | None, program: Sequence[str]
) -> list[str]:
    """Run under the collector."""
    interval = "default" if interval_s is None else str(interval_s)
    script = [str(peers / "python"), str(PEERS / "tadween_memory.py")]
    return [*script, str(folder / "tadween.log"), interval, *program]


def read_tadween(folder: Path) -> Reading:
    """Read the largest sum of the latest samples of main and of children."""
    latest = {"0": 0.0, "1": 0.0}
    peak = 0.0
    for line in (folder / "tadween.log").read_text(encoding="utf-8").splitlines():
        role, *values = line.split("|")
        if role in latest:
            latest[role] = float(values[1])
            peak = max(peak, sum(latest.values()))
    return Reading(peak * MIB if peak else None)


TOOLS = (
    Tool("stagebench", (), "PSS", stagebench_command, read_stagebench),
    Tool("psrecord", ("psrecord",), "RSS", psrecord_command, read_psrecord),
    Tool("mprof", ("memory-profiler",), "PSS", mprof_command, read_mprof),
    Tool("mprof -M", ("memory-profiler",), "PSS", mprof_each_command, read_mprof_each),
    Tool("con-duct", ("con-duct",), "RSS", duct_command, read_duct),
    Tool("Snakemake", ("snakemake",), "PSS", snakemake_command, read_snakemake),
    Tool("tadween-core", ("tadween-core", "boto3", "pandas"), "PSS", tadween_command, read_tadween),
)
