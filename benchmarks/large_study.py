"""A made study of 5,000 runs of 500 treatments whose true makespans and peaks are known.

    python -m benchmarks.large_study --out results/large

One run of every pool is measured: workers × executor × start method. All others are simulated:
copies of its records whose times and sizes are scaled by the effects of two further factors, of
which one has none, and by noise of the block and of the run, from a seed. `truth.csv` has each
treatment's true makespan and the factor of its peak. `config.yaml` is the study itself, for
Snakemake. Records have all checks that those of real runs have.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import os
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import store
from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.units import NS_PER_S, to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = """\
study: large
seed: {seed}
replicates: {replicates}
time_limit_s: 60
quiet_wait_s: 0
warm_memory: false
reference: null
diagnose: false
precision: {{makespan_s: 0.05}}

workflows:
  - name: pipeline
    stages:
      - name: fetch
        handler: download
        executor: thread
        workers: 5
        parameters: &small
          {{file_size_mb: 0.0625, bandwidth_mbps: 100, latency_ms: 2, chunk_bytes: "{{chunk}}"}}
      - name: work
        after: [fetch]
        handler: sum_squares_native
        executor: "{{executor}}"
        start_method: "{{start_method}}"
        workers: "{{workers}}"
        parameters: {{elements: 300000}}
      - name: store
        after: [work]
        handler: download
        executor: thread
        workers: 5
        parameters: *small

experiments:
  - name: tuning
    workflow: pipeline
    tasks: 20
    same_work: true
    process: {{blas_threads: "{{blas}}"}}
    factors:
      workers: {workers}
      executor: [thread, process]
      start_method:
        levels: [fork, spawn, forkserver]
        when: {{executor: process}}
      chunk: {{levels: {chunks}, tags: {{{chunk_tags}}}}}
      blas: {{levels: {widths}, tags: {{{width_tags}}}}}
    baseline: {{workers: {first}, executor: thread, chunk: {chunk}, blas: 1}}
"""

CHUNKS = (65536, 32768, 16384, 8192, 4096)
CHUNK_STEP = 0.12
"""The smaller the chunks, the longer every run: by so much of a logarithm a level."""

NOISE_OF_RUN, NOISE_OF_BLOCK = 0.04, 0.03
"""Standard deviations of a makespan's logarithm; a block's is the same for all of its runs."""

NOISE_OF_PEAK, STEP_OF_PEAK = 0.01, 0.05
EPOCH, EPOCH_NS = datetime(2026, 11, 29, tzinfo=UTC), NS_PER_S
"""When the first run starts, on both clocks."""

QUIET = {"load_before": 0.0, "load_after": 0.0, "steal_share": 0.0, "others_cpu_share": 0.0}
"""What others did meanwhile: nothing, whatever they did to the templates."""

PAUSE_S = 1.0
"""From the end of one run to the start of the next."""

DURATIONS = ("cpu_ns", "core_wait_ns", "spinner_ns", "spinner_wait_ns")
"""Columns that are no moments."""

POOL = ("workers", "executor", "start_method")


class Shape(NamedTuple):
    """How large a made study is."""

    workers: Sequence[int] = (1, 2, 3, 4, 5)
    chunks: int = 5
    widths: int = 5
    replicates: int = 10
    seed: int = 1


class Scale(NamedTuple):
    """What a simulated run has of its template: times and sizes that are so many times as large.

    Its supervisor starts at `start_ns`, which is a time since the first run of the study.
    """

    time: float
    size: float
    start_ns: int


def main() -> None:
    """Make a study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="new folder of the study")
    parser.add_argument("--replicates", type=int, default=Shape().replicates)
    parser.add_argument("--seed", type=int, default=Shape().seed)
    options = parser.parse_args()
    make_study(options.out, Shape(replicates=options.replicates, seed=options.seed))


def make_study(folder: Path, shape: Shape) -> dict[str, Any]:
    """Write config, plan, runs and truth of a made study; return its plan."""
    folder.mkdir(parents=True)
    plan = write_plan(folder, shape)
    templates = measure_templates(plan, folder / "templates")
    write_truth(folder / "truth.csv", plan, templates)
    write_runs(folder / "raw", plan, templates)
    return plan


def write_plan(folder: Path, shape: Shape) -> dict[str, Any]:
    """Write the config of a study, and its plan; return the plan."""
    chunks, widths = CHUNKS[: shape.chunks], range(1, shape.widths + 1)
    config = CONFIG.format(
        seed=shape.seed,
        replicates=shape.replicates,
        workers=list(shape.workers),
        first=shape.workers[0],
        chunks=list(chunks),
        chunk=chunks[0],
        chunk_tags=", ".join(f"{size}: c{size // 1024}" for size in chunks),
        widths=list(widths),
        width_tags=", ".join(f"{width}: b{width}" for width in widths),
    )
    (folder / "config.yaml").write_text(config)
    plan = make_plan(load_study(folder / "config.yaml", {}))
    store.write_json(folder / "plan.json", plan)
    return plan


def pool_of(treatment: Mapping[str, Any]) -> str:
    """Name the pool of a planned treatment: what decides which processes and workers a run has."""
    factors = treatment["specification"]["factors"]
    return "-".join(str(factors[name]) for name in POOL if name in factors)


def measure_templates(plan: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Measure the first treatment of every pool; return the run's folder by the pool's name."""
    folders: dict[str, Path] = {}
    for treatment in plan["treatments"].values():
        pool = pool_of(treatment)
        if pool in folders:
            continue
        folders[pool] = folder / pool
        command = [sys.executable, "-P", "-m", "stagebench", "measure", "--study", plan["study"]]
        command += ["--specification", store.canonical_json(treatment["specification"])]
        for name in ("replicate", "seed", "block", "position", "rank"):
            command += [f"--{name}", "1"]
        command += ["--time-limit", "60", "--quiet-wait", "0", "--out", str(folders[pool])]
        subprocess.run(command, check=True)
        if (status := store.read_run(folders[pool])["status"]) != "ok":
            sys.exit(f"{folders[pool]}: {status}; a template has to be ok")
    return folders


def true_scale(plan: Mapping[str, Any], treatment: Mapping[str, Any]) -> tuple[float, float]:
    """Return how many times its template's makespan and peak the truth of a treatment is."""
    chunk = treatment["specification"]["factors"]["chunk"]
    place = plan["experiments"][0]["factors"]["chunk"].index(chunk)
    return math.exp(CHUNK_STEP * place), math.exp(STEP_OF_PEAK * place)


def write_truth(path: Path, plan: Mapping[str, Any], templates: Mapping[str, Path]) -> None:
    """Write what is true of every treatment: a median makespan, and the scale of its peak."""
    own = {pool: read_makespan_s(folder) for pool, folder in templates.items()}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["treatment", "pool", "makespan_s", "peak_scale"])
        for one in plan["treatments"].values():
            time, size = true_scale(plan, one)
            writer.writerow([one["treatment"], pool_of(one), own[pool_of(one)] * time, size])


def read_makespan_s(folder: Path) -> float:
    """Return the time from the first submission to the last receipt of a run."""
    rows = _read_rows(folder / store.TASKS_FILE)
    names, tasks = rows[0], rows[1:]
    submitted, received = (names.index(name) for name in ("submitted_ns", "received_ns"))
    begun, ended = (
        min(int(row[submitted]) for row in tasks),
        max(int(row[received]) for row in tasks),
    )
    return to_seconds(ended - begun)


def write_runs(raw: Path, plan: Mapping[str, Any], templates: Mapping[str, Path]) -> None:
    """Simulate every planned run, one after another, as in a study of one campaign."""
    rng = random.Random(plan["seed"])
    blocks = [rng.gauss(0, NOISE_OF_BLOCK) for _ in range(plan["replicates"] + 1)]
    jobs: dict[str, list[tuple[Mapping[str, Any], Scale]]] = {pool: [] for pool in templates}
    spans = {pool: _span_ns(folder) for pool, folder in templates.items()}
    clock_ns = 0
    for run in sorted(plan["runs"], key=lambda run: run["rank"]):
        treatment = plan["treatments"][f"{run['experiment']}/{run['treatment']}"]
        time, size = true_scale(plan, treatment)
        time *= math.exp(blocks[run["block"]] + rng.gauss(0, NOISE_OF_RUN))
        size *= math.exp(rng.gauss(0, NOISE_OF_PEAK))
        pool = pool_of(treatment)
        jobs[pool].append((run, Scale(time, size, clock_ns)))
        clock_ns += round(time * spans[pool] + PAUSE_S * NS_PER_S)
    simulate = partial(_simulate_pool, raw=raw, treatments=plan["treatments"])
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        list(processes.map(simulate, templates.values(), jobs.values()))


def _span_ns(template: Path) -> int:
    run = store.read_run(template)
    return int(run["supervisor_ended_ns"] - run["supervisor_started_ns"])


def _simulate_pool(
    template: Path,
    jobs: Sequence[tuple[Mapping[str, Any], Scale]],
    raw: Path,
    treatments: Mapping[str, Any],
) -> None:
    run = store.read_run(template)
    files = {path.name: _read_rows(path) for path in sorted(template.glob("*.csv"))}
    for planned, scale in jobs:
        folder = raw / planned["experiment"] / planned["treatment"] / f"r{planned['replicate']}"
        specification = treatments[f"{planned['experiment']}/{planned['treatment']}"][
            "specification"
        ]
        _simulate_run(folder, run, files, {**planned, "specification": specification}, scale)


def _simulate_run(
    folder: Path,
    run: Mapping[str, Any],
    files: Mapping[str, list[list[str]]],
    identity: Mapping[str, Any],
    scale: Scale,
) -> None:
    """Write the records of one run: those of its template, scaled."""
    folder.mkdir(parents=True)
    origin_ns = run["supervisor_started_ns"]

    def move(name: str, value: Any) -> Any:
        if type(value) not in (int, float):
            return value
        if name in DURATIONS or name in ("cpu_user_s", "cpu_system_s"):
            return type(value)(value * scale.time)
        if name.endswith("_ns") and type(value) is int:
            return EPOCH_NS + scale.start_ns + round((value - origin_ns) * scale.time)
        return value

    def resize(name: str, value: Any) -> Any:
        return round(value * scale.size) if name.endswith("_bytes") and value else value

    changed = {name: move(name, value) for name, value in run.items()} | dict(identity)
    for part in ("sampler", "cgroup"):
        changed[part] = {name: resize(name, value) for name, value in run[part].items()}
    for part in ("machine_before", "machine_after"):
        moved = {"time_ns": move("time_ns", run[part]["time_ns"])}
        changed[part] = run["machine_before"] | run[part] | moved
        changed[part]["pressure"] = run["machine_before"]["pressure"]
    changed["noise"], changed["quiet"] = QUIET, run["quiet"] | {"quiet": True}
    changed["campaign"] = EPOCH.isoformat()
    started_at = EPOCH + timedelta(seconds=to_seconds(scale.start_ns))
    changed["started_at"] = started_at.isoformat()
    for name, (header, *rows) in files.items():
        columns = [
            [str(resize(column, move(column, int(text)))) if text else "" for text in texts]
            if column.endswith(("_ns", "_bytes"))
            else texts
            for column, texts in zip(header, itertools.zip_longest(*rows), strict=False)
        ]
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(zip(*columns, strict=True))
    (folder / "output.txt").touch()
    changed["files"] = store.describe_files(folder)
    (folder / store.RUN_FILE).write_text(json.dumps(changed, indent=1) + "\n")


def _read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


if __name__ == "__main__":
    main()
