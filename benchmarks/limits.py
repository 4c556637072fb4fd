"""Whether the limit of a workflow is found: synthetic workflows, each with one that is known.

    python -m benchmarks.limits [--folder FOLDER] [--only WORD]    # a quarter of an hour

One real study with an experiment for each: workers of one stage, cores, the GIL, arrivals, tasks in
flight, the path of one task, or nothing that is full. In that case the largest part of the critical
path must be the right one. `--folder` keeps the study: another call measures what is missing.

Where other programs used the machine, a resource may not have been full in truth, and a calibration
knows less of the GIL. So what was disturbed is repeated if another limit than the known one was
named: the run, or its calibration beside a spinner. The table says how often that was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.markdown import format_share, format_table

from stagebench.model.measured import find_pipelines
from stagebench.model.path import AWAY, HAND_OVER, START
from stagebench.store import read_json, write_text
from stagebench.tables.io import list_rows, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

Json = dict[str, Any]

STUDY = "limits"
ROOT = Path(__file__).parents[1]
STEPS = Path(__file__).with_name("limit_steps.py")
CORES = len(os.sched_getaffinity(0))

DISTURBED = 0.05
"""The share of the machine that others, or other machines of its host, take from a run."""

LOOSE = 0.1
"""How far apart the bounds of the share with the GIL are after a calibration that was disturbed."""

MOST_REPEATS = 5
"""A disturbed run or calibration is repeated at most as often."""

NOTHING = "nothing"
"""The truth of a workflow of which no resource is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workflow, and what limits it: one of `truth` is named, and the others are full, too.

    `part` is the largest part of its critical path, where that is known.
    """

    kind: str
    name: str
    stages: tuple[Json, ...]
    tasks: int | list[Json]
    truth: tuple[str, ...]
    part: str = ""
    settings: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was said of a case, what others took from its run, and its pipeline if that is loose."""

    case: Case
    named: str
    others: tuple[str, ...]
    above: float
    part: str
    taken: float
    loose: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it is the truth."""
        if self.case.part not in ("", self.part):
            return False
        full = {self.named, *self.others}
        return self.named in self.case.truth and full.issuperset(self.case.truth)


def main() -> None:
    """Run, analyse and judge all cases; fail where one limit is not the known one."""
    parser = argparse.ArgumentParser(description="Whether the limit of a workflow is found.")
    parser.add_argument("--folder", type=Path, help="keep the study here")
    parser.add_argument("--only", default="", metavar="WORD", help="cases that have this in a name")
    options = parser.parse_args()
    cases = [case for case in list_cases() if options.only in case.name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        found, repeated = run_cases(cases, folder)
    print(format_kinds(found, repeated))
    wrong = [each for each in found if not each.is_right]
    print(format_cases(wrong or found))
    print(f"{len(found) - len(wrong)} of {len(found)} limits were named")
    sys.exit(bool(wrong))


def run_cases(cases: list[Case], folder: Path) -> tuple[list[Found], Counter[str]]:
    """Measure and judge all cases; return what was found, and how often each was repeated."""
    repeated: Counter[str] = Counter()
    while True:
        study = run_study(cases, folder)
        found = judge(cases, study)
        again = {
            each.case.name: place
            for each in found
            if not each.is_right and repeated[each.case.name] < MOST_REPEATS
            for place in [_find_disturbed(each)]
            if place
        }
        if not again:
            return found, repeated
        for place in set(again.values()):
            shutil.rmtree(study / place)
        repeated.update(again.keys())


def _find_disturbed(each: Found) -> str:
    """Return the folder of what was disturbed, within that of the study; "" if nothing was."""
    if each.taken > DISTURBED:
        return f"raw/{each.case.name}"
    return each.loose and f"diagnosis/pipelines/{each.loose}/beside"


def run_study(cases: list[Case], folder: Path) -> Path:
    """Measure what is missing of a study of all cases, and analyse it; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(STEPS, folder)
    config = folder / f"{STUDY}.yaml"
    write_text(config, json.dumps(make_config(cases), indent=1))  # JSON is YAML
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", config]
    command = ["snakemake", "--cores", "all", "--quiet", "all", *map(str, arguments)]
    environment = os.environ | {"PATH": path}
    until = ["--until", "design", "measure", "diagnose"]
    # What it prints is of the report, which is not made.
    out = subprocess.DEVNULL
    subprocess.run([*command, *until], cwd=folder, env=environment, check=True, stdout=out)
    study = folder / "results" / STUDY
    files = ["--plan", study / "plan.json", "--raw", study / "raw", "--out", study / "tables"]
    analyse = [sys.executable, "-m", "stagebench", "analyse", *map(str, files)]
    subprocess.run(analyse, env=environment, check=True)
    return study


def make_config(cases: list[Case]) -> Json:
    """Return the config of a study with an experiment for each case."""
    return {
        "study": STUDY,
        "seed": 1,
        "replicates": 1,
        "time_limit_s": 60,
        "quiet_wait_s": 5,
        "warm_memory": "256 MiB",
        "diagnose": True,
        "workflows": [{"name": case.name, "stages": list(case.stages)} for case in cases],
        "experiments": [
            {"name": case.name, "workflow": case.name, "tasks": case.tasks, **case.settings}
            for case in cases
        ],
    }


def judge(cases: list[Case], study: Path) -> list[Found]:
    """Read what the analysis said of each case."""
    tables = {name: read_table(study / "tables" / f"{name}.csv") for name in TABLES}
    pipelines = find_pipelines(read_json(study / "plan.json"))
    loose = {
        row["pipeline"]
        for row in list_rows(tables["alone"])
        if 2 * (row["held_s"] - row["held_least_s"]) > LOOSE * row["cpu_s"] > LOOSE * LEAST_S
    }
    ran, rows = ({r["experiment"]: r for r in list_rows(tables[n])} for n in ("runs", "limits"))
    found = [_read(case, ran[case.name], rows[case.name], tables["paths"]) for case in cases]
    own = [str(pipelines.get(f"{case.name}/only")) for case in cases]
    return [
        replace(one, loose=name if name in loose else "")
        for one, name in zip(found, own, strict=True)
    ]


TABLES = ("runs", "limits", "paths", "alone")

LEAST_S = 0.01
"""What takes less CPU time fills no GIL."""


def _read(case: Case, run: Mapping[str, Any], row: Mapping[str, Any], paths: pd.DataFrame) -> Found:
    own = paths[paths["experiment"] == case.name].groupby("part")["path_s"].sum()
    named = f"{row['resource']} {row['stage']}".strip()
    return Found(
        case=case,
        named=named if row["is_full"] else NOTHING,
        others=tuple(filter(None, row["others_full"].split(", "))),
        above=row["above"],
        part="" if own.empty else str(own.idxmax()),
        taken=float(run["others_cpu_share"] + run["steal_share"]),
    )


# The cases.


def stage(name: str, handler: str, *after: str, workers: int = 1, **more: Any) -> Json:
    """Return a stage of threads, unless `executor` says otherwise; what is no key is a parameter.

    `after` has the names of the stages before it.
    """
    keys = {"executor": "thread", "workers": workers} | {
        key: more.pop(key) for key in ("executor", "start_method") if key in more
    }
    handler = f"limit_steps:{handler}"
    return {"name": name, "after": list(after), "handler": handler, "parameters": more, **keys}


FORK = {"executor": "process", "start_method": "fork"}
SPAWN = {"executor": "process", "start_method": "spawn"}
FORKSERVER = {"executor": "process", "start_method": "forkserver"}


def list_cases() -> list[Case]:
    """Return all cases."""
    return [
        *_list_workers(),
        *_list_cores(),
        *_list_gil(),
        *_list_arrivals(),
        *_list_in_flight(),
        *_list_longest(),
        *_list_nothing(),
        *_list_nodes(),
    ]


def _three(slow: int, workers: int, **pool: Any) -> tuple[Json, ...]:
    """Return three stages that rest, one of which takes longer and has fewer workers."""
    names = ("first", "middle", "last")
    return tuple(
        stage(
            name, "rest", *names[max(0, place - 1) : place], workers=workers, delay_s=0.08, **pool
        )
        if place == slow
        else stage(name, "rest", *names[max(0, place - 1) : place], workers=4, delay_s=0.03)
        for place, name in enumerate(names)
    )


def _list_workers() -> Iterator[Case]:
    for place, name in enumerate(("first", "middle", "last")):
        for workers in (1, 2, 3, 4):
            yield Case(
                kind="workers",
                name=f"rest-{name}-{workers}",
                stages=_three(place, workers),
                tasks=12 * workers,
                truth=(f"workers {name}",),
            )
    for workers in (1, 3):
        yield Case(
            kind="workers",
            name=f"rest-process-{workers}",
            stages=_three(1, workers, **FORK),
            tasks=14 * workers,
            truth=("workers middle",),
        )
    for workers in (1, 4):
        # Coroutines: of their CPU time nothing is known.
        yield Case(
            kind="workers",
            name=f"rest-async-{workers}",
            stages=(
                stage("get", "rest_async", workers=workers, delay_s=0.08, executor="asyncio"),
                stage("put", "rest", "get", workers=4, delay_s=0.03),
            ),
            tasks=12 * workers,
            truth=("workers get",),
        )
    sizes = [0.02, 0.12, 0.05, 0.2, 0.03, 0.15, 0.08, 0.01, 0.1, 0.06, 0.18, 0.04] * 2
    yield Case(
        kind="workers",
        name="rest-unequal",
        stages=(stage("get", "rest", workers=2, delay_s=0.1),),
        tasks=[{"get": {"delay_s": size}} for size in sizes],
        truth=("workers get",),
    )


def _list_cores() -> Iterator[Case]:
    for more in (1, 2):
        workers = CORES + more
        yield Case(
            kind="cores",
            name=f"crunch-process-{more}-more",
            stages=(stage("crunch", "crunch", workers=workers, cpu_s=0.1, **FORK),),
            tasks=8 * workers,
            truth=("cores",),
        )
    yield Case(
        kind="cores",
        name="spin-process",
        stages=(stage("spin", "spin", workers=2 * CORES, cpu_s=0.1, **FORK),),
        tasks=12 * CORES,
        truth=("cores",),
    )
    for workers in (CORES + 1, 2 * CORES):
        yield Case(
            kind="cores",
            name=f"crunch-thread-{workers}",
            stages=(stage("crunch", "crunch", workers=workers, cpu_s=0.1),),
            tasks=6 * workers,
            truth=("cores",),
        )
    yield Case(
        kind="cores",
        name="crunch-two-stages",
        stages=(
            stage("one", "crunch", workers=CORES, cpu_s=0.08),
            stage("other", "crunch", "one", workers=CORES, cpu_s=0.08),
        ),
        tasks=8 * CORES,
        truth=("cores",),
    )
    for handler in ("crunch", "spin"):
        yield Case(
            kind="cores and workers",
            name=f"{handler}-as-many-as-cores",
            stages=(stage(handler, handler, workers=CORES, cpu_s=0.1, **FORK),),
            tasks=10 * CORES,
            truth=(f"workers {handler}", "cores"),
        )


def _list_gil() -> Iterator[Case]:
    for workers in (2, 3, 4):
        yield Case(
            kind="GIL",
            name=f"spin-thread-{workers}",
            stages=(stage("spin", "spin", workers=workers, cpu_s=0.05),),
            tasks=20,
            truth=("GIL",),
        )
    for workers in (1, 2):
        yield Case(
            kind="GIL",
            name=f"spin-two-stages-{workers}",
            stages=(
                stage("one", "spin", workers=workers, cpu_s=0.05),
                stage("other", "spin", "one", workers=workers, cpu_s=0.05),
            ),
            tasks=12,
            truth=("GIL",),
        )
    yield Case(
        kind="GIL",
        name="spin-beside-rest",
        stages=(
            stage("get", "rest", workers=4, delay_s=0.05),
            stage("spin", "spin", "get", workers=3, cpu_s=0.05),
            stage("put", "rest", "spin", workers=4, delay_s=0.05),
        ),
        tasks=20,
        truth=("GIL",),
    )
    yield Case(
        kind="GIL and workers",
        name="spin-thread-1",
        stages=(stage("spin", "spin", workers=1, cpu_s=0.05),),
        tasks=20,
        truth=("GIL", "workers spin"),
    )


def _list_arrivals() -> Iterator[Case]:
    for kind, rates in {"fixed_rate": (15, 40), "poisson": (15, 40)}.items():
        for rate in rates:
            seed = {"seed": 3} if kind == "poisson" else {}
            yield Case(
                kind="arrivals",
                name=f"{kind.replace('_', '-')}-{rate}",
                stages=(
                    stage("get", "rest", workers=4, delay_s=0.03),
                    stage("put", "rest", "get", workers=4, delay_s=0.02),
                ),
                tasks=rate,
                truth=("arrivals",),
                settings={"arrival": {"kind": kind, "rate_per_s": rate} | seed},
            )


def _list_in_flight() -> Iterator[Case]:
    for limit in (1, 2, 3):
        yield Case(
            kind="in flight",
            name=f"in-flight-{limit}",
            stages=(
                stage("get", "rest", workers=6, delay_s=0.05),
                stage("change", "rest", "get", workers=6, delay_s=0.03),
                stage("put", "rest", "change", workers=6, delay_s=0.04),
            ),
            tasks=10 * limit,
            truth=("in flight",),
            settings={"in_flight": limit},
        )


def _list_longest() -> Iterator[Case]:
    yield Case(
        kind="path of a task",
        name="one-task",
        stages=(
            stage("get", "rest", workers=2, delay_s=0.4),
            stage("put", "rest", "get", workers=2, delay_s=0.6),
        ),
        tasks=1,
        truth=("path of a task",),
    )
    yield Case(
        kind="path of a task",
        name="few-tasks",
        stages=(
            stage("get", "rest", workers=4, delay_s=0.4),
            stage("put", "rest", "get", workers=4, delay_s=0.6),
        ),
        tasks=3,
        truth=("path of a task",),
    )
    for executor, pool in {"thread": {}, "process": FORK}.items():
        yield Case(
            kind="path of a task",
            name=f"one-long-{executor}",
            stages=(stage("get", "rest", workers=4, delay_s=0.1, **pool),),
            tasks=[{"get": {"delay_s": 1.0}}, *({} for _ in range(7))],
            truth=("path of a task",),
            part=AWAY,
        )


def _list_nodes() -> Iterator[Case]:
    """Two nodes, which are network namespaces: only root has them."""
    for workers in (4, 6):
        yield Case(
            kind="nodes",
            name=f"node-{workers}",
            stages=(stage("compute", "crunch", workers=workers, cpu_s=0.2, **FORKSERVER),),
            tasks=40 * workers,
            truth=("node",),
            settings={"engine": "dask", "nodes": {"count": 2, "cores": 1}},
        )
    for size_mib in (6, 10):
        yield Case(
            kind="nodes",
            name=f"network-{size_mib}",
            stages=(
                stage("make", "make", workers=2, size_mib=size_mib, **FORKSERVER),
                stage("take", "take", "make", workers=2, **FORKSERVER),
            ),
            tasks=40,
            truth=("network",),
            settings={"engine": "dask", "nodes": {"count": 2, "link_mbit_s": 40}},
        )


def _list_nothing() -> Iterator[Case]:
    for name, pool in {"spawn": SPAWN, "forkserver": FORKSERVER}.items():
        yield Case(
            kind="nothing: cold starts",
            name=f"cold-{name}",
            stages=(stage("get", "rest", workers=2, delay_s=0.02, **pool),),
            tasks=4,
            truth=(NOTHING,),
            part=START,
        )
    for size_mib, tasks in {64: 8, 128: 4}.items():
        yield Case(
            kind="nothing: large results",
            name=f"results-{size_mib}",
            stages=(
                stage("make", "make", workers=1, size_mib=size_mib, **FORK),
                stage("take", "take", "make", workers=1),
            ),
            tasks=tasks,
            truth=(NOTHING,),
            part=HAND_OVER,
        )
    for workers in (2, 3):
        short: list[dict[str, Any]] = [{} for _ in range(5 * workers)]
        yield Case(
            kind="nothing: an uneven last round",
            name=f"uneven-{workers}",
            stages=(stage("get", "rest", workers=workers, delay_s=0.1),),
            tasks=[*short, {"get": {"delay_s": 0.5}}],
            truth=(NOTHING,),
            part=AWAY,
        )


# Text.


def format_kinds(found: list[Found], repeated: Counter[str]) -> str:
    """Format how many limits of each kind were named, and how many runs were repeated."""
    rows = []
    for kind in dict.fromkeys(each.case.kind for each in found):
        own = [each for each in found if each.case.kind == kind]
        again = sum(repeated[each.case.name] for each in own)
        rows.append([kind, *map(str, (len(own), sum(each.is_right for each in own), again))])
    return format_table(["limit", "workflows", "named", "repeated runs"], rows)


def format_cases(found: list[Found]) -> str:
    """Format what was found of single cases."""
    rows = [
        [
            each.case.name,
            " and ".join(each.case.truth),
            each.named,
            ", ".join(each.others),
            format_share(each.above),
            each.part,
            format_share(each.taken),
        ]
        for each in found
    ]
    names = ("limit", "named", "also full", "above the floor", "most of the path", "disturbed")
    return format_table(["workflow", *names], rows)


if __name__ == "__main__":
    main()
