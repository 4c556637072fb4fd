"""Checks of Slurm's nodes before a study's first run: one short job on all that are free."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import __version__
from stagebench.cluster.node import (
    CLOCK_LIMIT_S,
    NodeState,
    answer_path,
    describe_clock,
    describe_unshared,
    leave_note,
)
from stagebench.design.grid import check_cpus, check_memory
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stagebench.design.grid import Treatment

OPTIONS = {
    "slurm_partition": "--partition",
    "slurm_account": "--account",
    "qos": "--qos",
    "constraint": "--constraint",
}
"""Resources of a job that decide which nodes it may have, and the options of srun for them."""

FREE_WITHIN_S = 30
"""How long a free node is waited for."""

MEMORY_MIB = 500
"""Memory of the job that asks a node."""

MINUTES = 2
"""The most time of that job."""

MOST_LINES = 6
"""Lines of what Slurm said that are shown."""

BUSY = "Immediate execution impossible"

UNCHECKED = (
    f"no node was free within {FREE_WITHIN_S} s, so none was checked. Each will be before its first"
    " run, but for a clock that is ahead"
)


class SlurmRequest(NamedTuple):
    """A study that is about to be measured on nodes of Slurm.

    `resources` are those of a measurement's job, and `nodes` is how many blocks run at a time.
    """

    results: Path
    campaign: str
    treatments: Sequence[Treatment]
    allow_insufficient_memory: bool
    resources: Mapping[str, Any]
    nodes: int


class Asked(NamedTuple):
    """The answers of `number` nodes, between two readings of the caller's clock."""

    number: int
    began_s: float
    states: Sequence[NodeState]
    ended_s: float


def check_nodes(request: SlurmRequest) -> list[str]:
    """Check the nodes that are free now, and return warnings; raises ConfigError.

    The others check by themselves what they can, before their first run.
    """
    leave_note(request.results, request.campaign)
    done, asked = _ask(request)
    if BUSY in done.stderr:
        return [UNCHECKED]
    problems = [one for state in asked.states for one in _find_problems(request, asked, state)]
    if done.returncode:
        problems.append(_describe_refusal(done.stderr))
    elif len(asked.states) < asked.number:
        problems.append(
            f"{len(asked.states)} of {asked.number} nodes gave an answer that can be read; allowed:"
            f" stagebench {__version__} on each, as here"
        )
    if problems:
        raise ConfigError(problems, file="cluster")
    return list(_find_warnings(request, asked.states))


def _ask(request: SlurmRequest) -> tuple[subprocess.CompletedProcess[str], Asked]:
    number = _count_free(request)
    command = [_find_program("srun"), f"--nodes={number}"]
    command += ["--ntasks-per-node=1", "--cpus-per-task=1"]
    command += [f"--mem={MEMORY_MIB}", f"--time={MINUTES}", f"--immediate={FREE_WITHIN_S}"]
    command += [
        f"{option}={request.resources[name]}"
        for name, option in OPTIONS.items()
        if request.resources.get(name)
    ]
    command += [sys.executable, "-P", "-m", "stagebench.cluster.node", str(request.results)]
    began_s = time.time()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    ended_s = time.time()
    states = sorted(_read_states(done.stdout), key=lambda state: state.node)
    return done, Asked(number, began_s, states, ended_s)


def _count_free(request: SlurmRequest) -> int:
    """Return how many nodes can be asked at once: those that are free, or 1 that is waited for.

    A range such as --nodes=1-4 gets fewer than are free. Which meet a constraint is not known.
    """
    if request.resources.get("constraint"):
        return 1
    options = ["--Node", "--states=idle,mixed", "--format=%N"]
    if partition := request.resources.get("slurm_partition"):
        options.append(f"--partition={partition}")
    return max(1, min(len(set(_call_sinfo(options))), request.nodes))


def _find_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        why = f"{name} is not installed here; allowed: a machine from which jobs can be submitted"
        raise ConfigError([why], file="cluster")
    return path


def _read_states(text: str) -> Iterator[NodeState]:
    names = {field.name for field in fields(NodeState)}
    for line in text.splitlines():
        # A prolog of the cluster may print, too.
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and set(found) == names:
            yield NodeState(**found)


def _find_problems(request: SlurmRequest, asked: Asked, state: NodeState) -> Iterator[str]:
    yield from _find_unshared(request, state)
    # It read its clock between the two readings of ours.
    if ahead_s := _least_difference(state.time_s - asked.ended_s, state.time_s - asked.began_s):
        yield describe_clock(state.node, ahead_s, platform.node())
    if state.stagebench != __version__:
        yield f"{state.node} has stagebench {state.stagebench}; allowed: {__version__}, as here"
    allow = request.allow_insufficient_memory
    checks = (
        partial(check_cpus, request.treatments, range(state.cores)),
        partial(check_memory, request.treatments, state.memory_bytes, allow=allow),
    )
    for check in checks:
        try:
            check()
        except ConfigError as error:
            yield from (f"{state.node}: {problem}" for problem in error.problems)


def _find_unshared(request: SlurmRequest, state: NodeState) -> Iterator[str]:
    answer = answer_path(request.results, state.node)
    if state.campaign != request.campaign:
        yield describe_unshared(state.node, request.results)
    elif not answer.exists():
        yield (
            f"what {state.node} writes into {request.results.absolute()} is not seen here; allowed:"
            " a folder on a file system that all nodes share"
        )
    answer.unlink(missing_ok=True)


def _least_difference(low_s: float, high_s: float) -> float:
    """Return the least difference of an interval that is beyond the limit as a whole, else 0."""
    if low_s > CLOCK_LIMIT_S:
        return low_s
    return high_s if high_s < -CLOCK_LIMIT_S else 0.0


def _find_warnings(request: SlurmRequest, states: Sequence[NodeState]) -> Iterator[str]:
    given = request.resources.get("cpus_per_task")
    for state in states:
        if given is None or given < state.cores:
            yield (
                f"{state.node} has {state.cores} cores, and cpus_per_task of the profile is"
                f" {given or 'not set'}: Slurm may keep runs to fewer cores than there are"
            )
        elif given > state.cores:
            yield (
                f"{state.node} has {state.cores} cores, fewer than cpus_per_task of the profile,"
                f" {given}: no block can run there"
            )
        if state.python != platform.python_version():
            yield (
                f"{state.node} has Python {state.python}, and {platform.python_version()} is here:"
                " runs there are those of another interpreter"
            )
    for name, values in _list_kinds(states).items():
        if len(values) > 1:
            words = "; ".join(f"{value}: {', '.join(nodes)}" for value, nodes in values.items())
            yield f"nodes differ in {name} ({words}); treatments are compared within a node"


def _list_kinds(states: Iterable[NodeState]) -> dict[str, dict[str, list[str]]]:
    kinds: dict[str, dict[str, list[str]]] = {"cores": {}, "CPU": {}}
    for state in states:
        kinds["cores"].setdefault(str(state.cores), []).append(state.node)
        kinds["CPU"].setdefault(str(state.cpu_model), []).append(state.node)
    return kinds


def _describe_refusal(text: str) -> str:
    """Say what Slurm said, and what can be set."""
    # Of a traceback, the last line alone.
    lines = [line for line in text.splitlines() if line[:1].strip() and "Traceback" not in line]
    said = "; ".join(line.removeprefix("srun: error: ") for line in lines[:MOST_LINES])
    if "artition" in text:
        known = ", ".join(sorted(set(_call_sinfo(["--format=%R"]))))
        return f"Slurm: {said}; allowed for slurm_partition: {known or 'see sinfo'}"
    if "account" in text.lower():
        return f"Slurm: {said}; set slurm_account in default-resources of the profile"
    if "stagebench" in text or "execve" in text:
        return f"Slurm: {said}; allowed: nodes that see this Python environment, {sys.prefix}"
    return f"Slurm: {said or 'srun failed and said nothing'}"


def _call_sinfo(options: Sequence[str]) -> list[str]:
    done = subprocess.run(
        [_find_program("sinfo"), "--noheader", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.stdout.split()
