"""Fixtures of known runs: as folders, as the analysis reads them, and as tables of a study."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from itertools import count

import pandas as pd
import pytest
from tests import known_runs
from tests.commands import analyse_study

from stagebench.analyse.study import judge_study, summarise_treatments
from stagebench.analyse.traces import list_requests, read_trace
from stagebench.present.experiment import split_experiments
from stagebench.present.style import figure_style
from stagebench.replication.pool_memory import PoolMemory
from stagebench.tables.io import read_tables, write_tables
from stagebench.tables.quantities import MEMORY_PARTS
from stagebench.units import MIB

REFERENCE = """experiment,treatment,stage,quantity,unit,stated,logged,place
pipe,,work,parameter.size_mib,1,10,,setup
pipe,p1-fork,,makespan_s,s,50,47,text
pipe,p2-fork,,makespan_s,s,25,23.5,text
pipe,p1-fork,work,stage_efficiency,1,0.4,0.43,text
pipe,p1-fork,,tree_base_bytes,MiB,50,,text
pipe,p1-fork,,tree_peak_bytes,MiB,80,,text
"""


@pytest.fixture
def known_run():
    return known_runs.KnownRun


@pytest.fixture
def make_task():
    return known_runs.task


@pytest.fixture
def make_worker():
    return known_runs.worker


@pytest.fixture
def make_sweep():
    return known_runs.sweep


@pytest.fixture
def make_read():
    return known_runs.read


@pytest.fixture
def make_call():
    return known_runs.call


@pytest.fixture
def make_reading():
    return known_runs.reading


@pytest.fixture
def write_runs(tmp_path):
    """Write runs as a new study at each call; return its plan and raw folder."""
    numbers = count()
    return lambda *runs: known_runs.write_study(tmp_path / f"runs-{next(numbers)}", runs)


@pytest.fixture
def traces(write_runs):
    """Write runs as a study and read them back, in the order of the plan."""

    def read(*runs):
        plan, raw = write_runs(*runs)
        return [read_trace(request, raw) for request in list_requests(plan)]

    return read


@pytest.fixture
def run_trace(traces):
    """Write one run and read it back."""

    def read(run=None):
        return traces(run or known_runs.KnownRun())[0]

    return read


@pytest.fixture
def emulated_run():
    """A run of two workers (born at 11 and 13 s, ended at 14 and 16 s) sampled both ways.

    The published method discovers both at 13.25 s and adds their 20 MiB until the run ends.
    """
    reading = known_runs.reading
    found = (
        reading(9.75, 20, discovered=9.75),
        reading(13.5, 16, 20, 2, 13.25),
        reading(15, 30, 20, 2, 13.25),
        reading(16.75, 26, 20, 2, 13.25),
    )

    def make(*emulated, created=3, **more):
        census = {"means": "ptrace", "created": created, "sampled": created, "bounded_only": 0}
        settings = {
            "emulate": {"interval_s": 0.5, "discovery_s": 5.0},
            "emulated": emulated or found,
            "lives": {200: (11, 14), 201: (13, 16)},
            "run": {"census": census},
        }
        return known_runs.KnownRun(**(settings | more))

    return make


def default_runs():
    """Return runs of two experiments; in the first, one treatment is twice as fast, one failed."""
    known_run = known_runs.KnownRun
    single = (known_runs.STAGES[1] | {"name": "alone", "after": []},)
    tasks = [known_runs.task(n, "alone", (10, 10 + n, 11 + n, 11 + n), cpu=0.5) for n in range(2)]
    threads = (known_runs.sweep(0, 9.5, 20), known_runs.sweep(1, 11, 40))
    return [
        *(known_run(replicate=n + 1, start=20 * n).stretched(2 + n / 10) for n in range(3)),
        *(
            known_run(treatment="p2-fork", baseline=False, replicate=n + 1, start=60 + 20 * n)
            for n in range(3)
        ),
        known_run(
            treatment="p5-fork",
            baseline=False,
            start=120,
            status="timed_out",
            detail="time limit | of <60 s>",
        ),
        known_run(
            experiment="alone",
            treatment="t1",
            start=140,
            stages=single,
            tasks=tuple(tasks),
            sweeps=threads,
            workers=(),
            factors={},
        ),
    ]


_ANALYSED = {}
"""Content of the runs of a study → its files; a third of all tests analyse runs of another one."""


def write_analysed(folder, runs, reference=REFERENCE):
    """Write runs as a study with its plan and tables to `folder`."""
    content = hashlib.sha256(pickle.dumps((runs, reference))).digest()
    if content in _ANALYSED:
        for path, data in _ANALYSED[content].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder
    plan, raw = known_runs.write_study(folder, runs)
    (folder / "plan.json").write_text(json.dumps(plan))
    path = None
    if reference is not None:
        path = folder / "reference.csv"
        path.write_text(reference)
    analyse_study(folder / "plan.json", raw, path, folder / "tables")
    files = [path for path in folder.rglob("*") if path.is_file()]
    _ANALYSED[content] = {path.relative_to(folder): path.read_bytes() for path in files}
    return folder


@pytest.fixture
def analyse(tmp_path):
    """Write and analyse runs as a new study at each call; return its folder."""
    numbers = count()
    return lambda *runs, **options: write_analysed(
        tmp_path / f"study-{next(numbers)}", runs, **options
    )


def bound_peaks(folder, reach):
    """Give every peak of a study an upper end, and judge it again; return the folder.

    `reach` maps treatments, or treatments with a replicate, to how many times as large it is as the
    lower end, by default 1; None leaves it unknown.
    """
    plan = json.loads((folder / "plan.json").read_text())
    tables = read_tables(folder / "tables")
    runs = tables["runs"]
    for part in MEMORY_PARTS:
        places = zip(runs["treatment"], runs["replicate"], strict=True)
        reaches = [reach.get((name, n), reach.get(name, 1.0)) for name, n in places]
        lows = runs[f"{part}_peak_bytes"].astype("float64")
        highs = [
            None if one is None or math.isnan(low) else round(low * one)
            for low, one in zip(lows, reaches, strict=True)
        ]
        runs[f"{part}_peak_upper_bytes"] = pd.array(highs, dtype="Int64")
    tables |= judge_study(tables, plan) | {"treatments": summarise_treatments(runs)}
    write_tables(tables, folder / "tables")
    return folder


@pytest.fixture
def present_bounded(analyse):
    """Return the first experiment of a study of runs whose peaks are bounded by `reach`."""

    def make(*runs, reach=None):
        folder = bound_peaks(analyse(*runs), reach or {})
        return split_experiments(read_tables(folder / "tables"))[0]

    return make


@pytest.fixture
def present(analyse):
    """Return the first experiment of a study of runs."""
    return lambda *runs: split_experiments(read_tables(analyse(*runs) / "tables"))[0]


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Return the folder of the default runs; tests must not write to it."""
    return write_analysed(tmp_path_factory.mktemp("default") / "study", default_runs())


@pytest.fixture(scope="session")
def tables(study):
    return read_tables(study / "tables")


@pytest.fixture(scope="session")
def experiments(tables):
    return {one.name: one for one in split_experiments(tables)}


@pytest.fixture
def pipe(experiments):
    return experiments["pipe"]


@pytest.fixture
def alone(experiments):
    return experiments["alone"]


PARTS = ("pss", "anon", "uss", "rss")


def known_pool(kind="fork", workers=1, *, phases=None, roles=None, **changes):
    """Make a pool with results of 10 MiB.

    Each phase has MiB for each of `PARTS` and then the number of workers. Each role maps columns to
    MiB, except `created`, which is a number.
    """
    by_phase = {
        phase: {f"main_{part}_bytes": size * MIB for part, size in zip(PARTS, sizes, strict=True)}
        | {"workers": beside, "pools_closed": float(phase == "end")}
        for phase, (*sizes, beside) in (phases or {}).items()
    }
    by_role = {
        role: {name: v if name == "created" else v * MIB for name, v in columns.items()}
        for role, columns in (roles or {}).items()
    }
    facts = {"retain": False, "tasks": 10, "result": 10.0 * MIB, "preload": "", "others": "[]"}
    return PoolMemory(
        treatment=f"{'t' if kind == 'thread' else 'p'}{workers}-{kind}",
        kind=kind,
        workers=workers,
        phases=by_phase,
        roles=by_role,
        **facts | changes,
    )


@pytest.fixture
def make_pool():
    return known_pool


@pytest.fixture
def styled():
    with figure_style():
        yield
