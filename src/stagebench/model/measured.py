"""What was measured of each stage of each run, taken apart so that the model can put it together.

The CPU time of a task is its own. What it was away from the CPU beyond what its handler is away
alone, it has waited for the GIL or a core, and the model finds that waiting anew for other numbers
of workers. What handlers take alone is known from the calibrations of diagnosing runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from stagebench.model.replay import Alone
from stagebench.model.resources import NodeLoad
from stagebench.model.sharing import SWITCH_INTERVAL_S, Mix
from stagebench.records import OWN_INTERPRETER, TREATMENT
from stagebench.store import canonical_json
from stagebench.tables.io import list_rows
from stagebench.tables.schema import NODES_BETWEEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from stagebench.units import Seconds

Json = dict[str, Any]


class Calibrated(NamedTuple):
    """What one task takes alone: its times in seconds, and how often it asks and wakes.

    `held_s` is the part of `cpu_s` with the GIL, in the middle of what is known, `held_least_s` the
    least that it can be. `asks` is how often it gets the GIL anew after it has given it up by
    itself. If tasks differ in their parameters (`varies`), other tasks have only the proportions of
    these in common.
    """

    cpu_s: Seconds
    away_s: Seconds
    held_s: Seconds
    asks: float
    wakes: float
    held_least_s: Seconds = 0.0
    varies: bool = False

    @property
    def total_s(self) -> Seconds:
        """How long it takes."""
        return self.cpu_s + self.away_s

    def allow_away(self, cpu_s: Seconds) -> Seconds:
        """Return how long a task of this CPU time may be away without waiting for anybody.

        A handler that is mostly away, for a time that differs, says nothing of that of other tasks.
        """
        if not self.varies:
            return self.away_s
        return self.away_s / self.cpu_s * cpu_s if self.away_s < self.cpu_s else math.inf


Known: TypeAlias = "dict[tuple[str, str], Calibrated]"
"""What tasks take alone, by handler and parameters."""

Handed: TypeAlias = "tuple[str, str, str, bool, int, str]"


class Conditions(NamedTuple):
    """Under which conditions a stage is served.

    `python` identifies the interpreter if it is not the one that runs stagebench: with another one,
    the same handler takes another time.
    """

    handler: str
    parameters: str
    executor: str
    start_method: str | None
    workers: int
    retain: bool = False
    transport: str = "pickle"
    prefetch: int = 0
    python: str = ""

    @property
    def work(self) -> tuple[str, str, str]:
        """What decides how long a task takes: handler, parameters, and interpreter."""
        return self.handler, self.parameters, self.python

    @property
    def handed(self) -> Handed:
        """What decides about its hand-overs.

        Handler, parameters, transport, what is kept, how much is sent ahead, and the interpreter.
        """
        sent = self.transport, self.retain, self.prefetch
        return self.handler, self.parameters, *sent, self.python

    @property
    def shares_gil(self) -> bool:
        """Whether its workers share the GIL of main."""
        return self.executor not in OWN_INTERPRETER


class ServedTask(NamedTuple):
    """One task in one stage of one run; times in seconds, `first` of its worker."""

    task: int
    worker: int
    is_first: bool
    due_s: Seconds
    submitted_s: Seconds
    started_s: Seconds
    finished_s: Seconds
    received_s: Seconds
    cpu_s: Seconds | None
    queue_s: Seconds
    start_s: Seconds
    send_s: Seconds

    @property
    def service_s(self) -> Seconds:
        """How long it was served."""
        return self.finished_s - self.started_s

    @property
    def return_s(self) -> Seconds:
        """How long its result took to main."""
        return self.received_s - self.finished_s


class StageRun(NamedTuple):
    """A stage in one run; `starts_s` is when its workers were ready after they were asked for.

    Its tasks may differ in their parameters (`varies`).
    """

    name: str
    after: tuple[int, ...]
    conditions: Conditions
    queue_size: int | None
    batch: int
    served: Sequence[ServedTask]
    starts_s: tuple[Seconds, ...]
    calibrated: Calibrated | None
    varies: bool = False


class MeasuredRun(NamedTuple):
    """An ok run of a treatment: its stages in the order of the workflow.

    `cores` is what was there, `free_cores` what others (programs, other machines of the host, the
    sampler) left of them. `due_s` is when each task was due, from the first on. `engine` is "" if
    the runner ran it: the model is of its way to hand tasks over. `nodes` are those of a run that
    has several.
    """

    experiment: str
    treatment: str
    replicate: int
    makespan_s: Seconds
    cores: int
    free_cores: float
    cpu_s: Seconds
    switch_s: Seconds
    has_gil: bool
    in_flight: int | None
    arrival: Json | None
    due_s: Mapping[int, Seconds]
    stages: Sequence[StageRun]
    engine: str = ""
    nodes: Sequence[NodeLoad] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Experiment and treatment."""
        return self.experiment, self.treatment


def measure_work(served: ServedTask, calibrated: Calibrated | None) -> Seconds:
    """Return what serving a task takes without waiting for the GIL or for a core."""
    if served.cpu_s is None or calibrated is None:
        return served.service_s
    cpu_s = min(served.cpu_s, served.service_s)
    return cpu_s + min(served.service_s - cpu_s, calibrated.allow_away(cpu_s))


def find_mix(stage: StageRun, switch_s: Seconds) -> Mix:
    """Return what the workers of a stage do while they have everything to themselves."""
    own = [each for each in stage.served if each.cpu_s is not None]
    total = sum(measure_work(each, stage.calibrated) for each in own)
    if not total:
        return Mix()
    share = min(1.0, sum(each.cpu_s or 0.0 for each in own) / total)
    known = stage.calibrated
    if known is None or not known.total_s:
        held = share if stage.conditions.shares_gil else 0.0
        return Mix(cpu=share, held=held, asks=held / switch_s)
    held = share * min(1.0, known.held_s / known.cpu_s) if known.cpu_s else 0.0
    asks = known.asks / known.total_s + held / switch_s
    wakes = known.wakes / known.total_s
    if not stage.conditions.shares_gil:
        return Mix(cpu=share, wakes=wakes)
    return Mix(cpu=share, held=held, asks=asks, wakes=wakes)


class Draw:
    """Gives the tasks of a stage the work of one run: first tasks of workers, and later ones.

    If tasks differ, each has its own work. Hand-overs are those of another run, if its workers
    resemble the wanted ones more.
    """

    def __init__(
        self, stage: StageRun, known: HandOver | None, handed: StageRun | None = None
    ) -> None:
        works = [(each, measure_work(each, stage.calibrated)) for each in stage.served]
        self._handed = known or average_hand_over(handed or stage)
        self._own = {each.task: self._give_own(stage, each, work) for each, work in works}
        self._later = [work for each, work in works if not each.is_first]
        self._first = [work for each, work in works if each.is_first] or self._later
        self._later = self._later or self._first
        if stage.varies:
            self._first = self._later = [work for _, work in works]

    def _give_own(self, stage: StageRun, each: ServedTask, work: Seconds) -> Alone:
        if stage.conditions.shares_gil:
            return Alone(each.send_s, work, each.return_s)
        return Alone(self._handed.send_s, work, self._handed.return_s)

    def give_own(self, task: int) -> Alone:
        """Return what a task took itself."""
        return self._own[task]

    def give_any(self, task: int, *, is_first: bool) -> Alone:
        """Return what a task like this took: one of the first of workers, or of the later ones."""
        works = self._first if is_first else self._later
        return Alone(self._handed.send_s, works[task % len(works)], self._handed.return_s)


class HandOver(NamedTuple):
    """How long tasks take to a worker, and their results back to main."""

    send_s: Seconds
    return_s: Seconds


HandOvers: TypeAlias = "dict[Handed, HandOver]"
"""What hand-overs take, by what decides about them."""


def average_hand_over(stage: StageRun) -> HandOver:
    """Return how long hand-overs take in one run on average, with all that they wait for."""
    later = [each for each in stage.served if not each.is_first] or stage.served
    if not later:
        return HandOver(0.0, 0.0)
    return HandOver(
        fmean(each.send_s for each in later), fmean(each.return_s for each in stage.served)
    )


def find_hand_overs(runs: Iterable[MeasuredRun]) -> HandOvers:
    """Return what hand-overs to and from processes take, by what decides about them.

    Main hands over one thing after another, so where several workers end at once, hand-overs wait
    for each other, and the replay finds that wait anew. The treatment in which they take least
    shows what they take without it.
    """
    found: dict[Handed, dict[tuple[str, str], list[HandOver]]] = {}
    for run in runs:
        for stage in run.stages:
            if not stage.conditions.shares_gil and stage.served:
                own = found.setdefault(stage.conditions.handed, {})
                own.setdefault(run.key, []).append(average_hand_over(stage))
    return {
        key: HandOver(
            min(median(one.send_s for one in own) for own in treatments.values()),
            min(median(one.return_s for one in own) for own in treatments.values()),
        )
        for key, treatments in found.items()
    }


def read_measured(tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]) -> list[MeasuredRun]:
    """Read all runs of which every task was ok at its first attempt, in the order of the plan."""
    machines = set(map(str, tables["runs"]["node"]))
    cores = {name: _count_cores(tables["environment"], name) for name in machines}
    has_gil = not _has_property(tables["environment"], "gil", "False")
    loads = _read_loads(tables.get("run_nodes"))
    gils = _read_gils(tables.get("interpreters"))
    pipelines = find_pipelines(plan)
    calibrations: dict[tuple[str | None, str], Known] = {}
    tasks = _Groups(tables["tasks"])
    stages = _Groups(tables["stages"])
    found = []
    for run in list_rows(tables["runs"]):
        key = run["experiment"], run["treatment"], run["replicate"]
        if run["status"] != "ok" or not is_known(run["makespan_s"]):
            continue
        if run["attempts_repeated"]:
            continue
        specification = plan["treatments"][f"{key[0]}/{key[1]}"]["specification"]
        names = [stage["name"] for stage in specification["stages"]]
        which = pipelines.get(f"{key[0]}/{key[1]}"), identify_python(specification)
        if which not in calibrations:
            calibrations[which] = read_calibrated(tables["alone"], plan, *which)
        calibrated = calibrations[which]
        varying = _find_varying(specification["tasks"], specification["stages"])
        by_stage = defaultdict(list)
        own = tasks.list_rows(key)
        for row in own:
            by_stage[row["stage"]].append(row)
        rows = {row["stage"]: row for row in stages.list_rows(key)}
        first_s = min(row["submitted_s"] for row in own)
        process = specification["process"]
        usable = cores[str(run["node"])] if process["cpus"] is None else len(process["cpus"])
        found.append(
            MeasuredRun(
                *key,
                makespan_s=run["makespan_s"],
                cores=_count_own(specification, usable),
                free_cores=_free_cores(_count_own(specification, usable), run),
                cpu_s=run["cpu_s"] if is_known(run["cpu_s"]) else 0.0,
                switch_s=process.get("switch_interval_s", SWITCH_INTERVAL_S),
                has_gil=gils.get(key, has_gil),
                in_flight=specification.get("in_flight"),
                arrival=specification.get("arrival"),
                due_s=_find_due(by_stage, specification["stages"], first_s),
                stages=[
                    _read_stage(
                        stage,
                        names,
                        rows[stage["name"]],
                        by_stage[stage["name"]],
                        calibrated,
                        identify_python(specification),
                        varies=stage["name"] in varying,
                    )
                    for stage in specification["stages"]
                ],
                engine=specification.get("engine", ""),
                nodes=loads.get(key, ()),
            )
        )
    return found


def _count_own(specification: Mapping[str, Any], usable: int) -> int:
    """Return the cores that all nodes of a run have to themselves, or else what is `usable`."""
    nodes = specification.get("nodes", {})
    return nodes["count"] * nodes["cores"] if "cores" in nodes else usable


def _read_loads(table: pd.DataFrame | None) -> dict[tuple[str, str, int], list[NodeLoad]]:
    """Return the nodes of each run that has several, if it is known what each did."""
    found: dict[tuple[str, str, int], list[NodeLoad | None]] = {}
    for row in list_rows(table) if table is not None else ():
        key = row["experiment"], row["treatment"], row["replicate"]
        found.setdefault(key, []).append(_read_load(row))
    known = {key: [each for each in loads if each is not None] for key, loads in found.items()}
    return {key: own for key, own in known.items() if 1 < len(own) == len(found[key])}


def _read_load(row: Mapping[str, Any]) -> NodeLoad | None:
    if not is_known(row["tasks_cpu_s"]):
        return None
    carried = max(row["sent_bytes"], row["received_bytes"]) if is_known(row["sent_bytes"]) else None
    return NodeLoad(
        row["tasks_cpu_s"],
        int(row["cores"]) if is_known(row["cores"]) else None,
        carried,
        row["link_bytes_per_s"] if is_known(row["link_bytes_per_s"]) else None,
    )


def read_calibrated(
    alone: pd.DataFrame,
    plan: Mapping[str, Any] | None = None,
    pipeline: str | None = None,
    python: str = "",
) -> Known:
    """Read what handlers take alone, by handler and parameters; only what is known in full.

    Of pipelines that have a handler in common, the one that is named counts; they may differ in
    settings of the process. One with another interpreter than `python` says nothing.
    """
    columns = ("cpu_s", "away_s", "held_s", "held_least_s", "gil_asks", "wakes")
    switches_s = _read_switches(plan or {})
    pythons = _read_pythons(plan or {})
    found: dict[tuple[str, str], Calibrated] = {}
    for row in sorted(list_rows(alone), key=lambda row: bool(row["pipeline"] != pipeline)):
        if pythons.get(row["pipeline"], "") == python and all(
            is_known(row[name]) for name in columns
        ):
            cpu_s, away_s, held_s, least_s, asks, wakes = (float(row[name]) for name in columns)
            forced = held_s / switches_s.get(row["pipeline"], SWITCH_INTERVAL_S)
            key = row["handler"], row["parameters"]
            known = Calibrated(cpu_s, away_s, held_s, max(0.0, asks - forced), wakes, least_s)
            found.setdefault(key, known)
    return found


def find_pipelines(plan: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the pipeline of each treatment that is diagnosed, by experiment/treatment."""
    return {
        f"{one['experiment']}/{one['specification']['treatment']}": one["pipeline"]
        for one in plan.get("diagnoses", ())
        if one["kind"] == TREATMENT
    }


def identify_python(specification: Mapping[str, Any]) -> str:
    """Return a text that differs for interpreters that differ; "" for the one of stagebench."""
    return canonical_json(specification["python"]) if "python" in specification else ""


def _read_pythons(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the interpreter of each pipeline."""
    return {
        one["pipeline"]: identify_python(one["specification"])
        for one in plan.get("diagnoses", ())
        if one["kind"] != TREATMENT
    }


def _read_switches(plan: Mapping[str, Any]) -> dict[str, Seconds]:
    """Return the switch interval of the calibrations of each pipeline."""
    return {
        one["pipeline"]: one["specification"]["process"].get("switch_interval_s", SWITCH_INTERVAL_S)
        for one in plan.get("diagnoses", ())
        if one["kind"] != TREATMENT
    }


def _read_stage(
    stage: Json,
    names: Sequence[str],
    row: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]],
    calibrated: Known,
    python: str,
    *,
    varies: bool,
) -> StageRun:
    conditions = Conditions(
        stage["handler"],
        row["parameters"],
        stage["executor"],
        stage.get("start_method"),
        stage["workers"],
        stage["retain"],
        stage.get("transport", "pickle"),
        stage.get("prefetch", 0),
        python,
    )
    served = [_read_served(task) for task in tasks]
    known = calibrated.get(conditions[:2])
    return StageRun(
        name=stage["name"],
        after=tuple(names.index(name) for name in stage["after"]),
        conditions=conditions,
        queue_size=stage.get("queue_size"),
        batch=stage.get("batch", 1),
        served=_share_out(served, stage["workers"]) if stage["executor"] == "asyncio" else served,
        starts_s=_spread_starts(row, stage["workers"]),
        calibrated=None if known is None else known._replace(varies=varies),
        varies=varies,
    )


def _find_varying(tasks: Any, stages: Sequence[Json]) -> set[str]:
    """Return the stages that serve tasks of different parameters, and those that come after one.

    `tasks` is a number, a list, or a reference to a file with the names of its columns.
    """
    if isinstance(tasks, int):
        return set()
    if isinstance(tasks, list):
        names = [stage["name"] for stage in stages]
        own = {
            name for name in names if any(task.get(name) != tasks[0].get(name) for task in tasks)
        }
    else:
        own = {column.partition(".")[0] for column in tasks["columns"]}
    for stage in stages:
        if own.intersection(stage["after"]):
            own.add(stage["name"])
    return own


def _share_out(served: Sequence[ServedTask], workers: int) -> list[ServedTask]:
    """Give tasks of coroutines, which have no worker, to as many as there are at a time."""
    free_s = [-math.inf] * workers
    shared: dict[int, ServedTask] = {}
    for each in sorted(served, key=lambda one: one.started_s):
        ready = [worker for worker in range(workers) if free_s[worker] <= each.started_s]
        worker = max(ready, key=free_s.__getitem__) if ready else free_s.index(min(free_s))
        waiting_s = each.started_s - each.submitted_s
        queue_s = min(max(0.0, free_s[worker] - each.submitted_s), waiting_s)
        send_s = waiting_s - queue_s
        shared[each.task] = each._replace(worker=worker, queue_s=queue_s, send_s=send_s)
        free_s[worker] = each.received_s
    return [shared[each.task] for each in served]


def _read_served(row: Mapping[str, Any]) -> ServedTask:
    def read(name: str) -> Seconds:
        return float(row[name]) if is_known(row[name]) else 0.0

    return ServedTask(
        task=int(row["task"]),
        worker=int(row["worker"]) if is_known(row["worker"]) else -1,
        is_first=bool(row["first"]),
        due_s=read("due_s"),
        submitted_s=read("submitted_s"),
        started_s=read("started_s"),
        finished_s=read("finished_s"),
        received_s=read("received_s"),
        cpu_s=float(row["cpu_s"]) if is_known(row["cpu_s"]) else None,
        queue_s=read("queue_s"),
        start_s=read("start_s"),
        send_s=read("send_s"),
    )


def _spread_starts(row: Mapping[str, Any], workers: int) -> tuple[Seconds, ...]:
    """Spread the starts of workers evenly between the first and the last."""
    first, last = row["pool_first_ready_s"], row["pool_last_ready_s"]
    if not (is_known(first) and is_known(last)):
        return (0.0,)
    steps = max(1, workers - 1)
    return tuple(first + (last - first) * number / steps for number in range(workers))


def _find_due(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]], stages: Sequence[Json], first_s: Seconds
) -> dict[int, Seconds]:
    """Return when each task arrived; those that are all there at the start are due at once."""
    due: dict[int, Seconds] = {}
    for stage in stages:
        if not stage["after"]:
            for row in tasks[stage["name"]]:
                at = max(0.0, float(row["due_s"]) - first_s)
                due[int(row["task"])] = min(due.get(int(row["task"]), at), at)
    return due


def _free_cores(cores: int, run: Mapping[str, Any]) -> float:
    """Return the cores that others left to a run, and its sampler; what it used was certainly free.

    What others took is known of a time that is longer than the run, if that is short.
    """
    if not cores:
        return math.inf  # how many there were is unknown, so that none can be missing
    taken = sum(run[name] for name in ("steal_share", "others_cpu_share") if is_known(run[name]))
    sampler = run["sampler_cpu_s"] / run["own_time_s"] if is_known(run["sampler_cpu_s"]) else 0.0
    used = run["cpu_s"] / run["own_time_s"] if is_known(run["cpu_s"]) else 0.0
    return float(min(cores, max(used, cores * (1 - taken) - sampler, 0.1)))


def _count_cores(environment: pd.DataFrame, node: str) -> int:
    for name in ("cores_usable", "cores"):
        for row in list_rows(environment[environment["property"] == name]):
            is_there = not row["nodes"] or node in row["nodes"].split(NODES_BETWEEN)
            if is_there and str(row["value"]).isdigit():
                return int(row["value"])
    return 0


def _has_property(environment: pd.DataFrame, name: str, value: str) -> bool:
    return bool(((environment["property"] == name) & (environment["value"] == value)).any())


def _read_gils(interpreters: pd.DataFrame | None) -> dict[tuple[str, str, int], bool]:
    """Return whether the GIL was on in each run of which that is known."""
    rows = [] if interpreters is None else list_rows(interpreters)
    return {
        (row["experiment"], row["treatment"], row["replicate"]): bool(row["gil"])
        for row in rows
        if is_known(row["gil"])
    }


class _Groups:
    """The rows of a table by run, made when they are asked for: all at once take much memory."""

    def __init__(self, table: pd.DataFrame) -> None:
        names = ("experiment", "treatment", "replicate")
        keys = zip(*(table[name].tolist() for name in names), strict=True)
        self._places: dict[tuple[str, str, int], list[int]] = {}
        for place, key in enumerate(keys):
            self._places.setdefault(key, []).append(place)
        self._columns = {
            str(name): column.to_numpy()
            if column.dtype == "float64"
            else column.astype(object).where(column.notna(), None).to_numpy()
            for name, column in table.items()
        }

    def list_rows(self, run: tuple[str, str, int]) -> list[dict[str, Any]]:
        """Return the rows of a run."""
        places = self._places.get(run, [])
        columns = [column[places].tolist() for column in self._columns.values()]
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]


def is_known(value: Any) -> bool:
    """Return whether a cell of a table is not missing."""
    return value is not None and value == value and str(value) != "<NA>"  # noqa: PLR0124 - nan


def group_runs(runs: Iterable[MeasuredRun]) -> dict[tuple[str, str], list[MeasuredRun]]:
    """Group runs by experiment and treatment, in order."""
    groups: dict[tuple[str, str], list[MeasuredRun]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    return groups
