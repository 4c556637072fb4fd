"""Draft a study from a script: what is varied, what is not, and why."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.design.grid import usable_cpus
from stagebench.design.handlers import close_modules, open_module
from stagebench.draft.study_text import (
    DraftedGrid,
    DraftedStudy,
    Function,
    are_equal,
    format_study,
    format_tasks,
    has_room,
    join,
)
from stagebench.errors import OptionError, StagebenchError, WorkflowError, closest
from stagebench.handlers.source import find_module
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from stagebench.design.handlers import OwnModule

Json = dict[str, Any]

BUSY = 0.5
"""A function that computes for at least this share of its time is varied."""

ALL = "all"
"""Stands for all functions."""

LONGEST_NAME = 40
LEAST_LIMIT_S = 60
PATIENCE = 20
"""A run may take so many times as long as its items one after the other."""

_STEP = re.compile(r"[\w-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest:
    """A script, and what of it is asked for; None stands for a choice of ours."""

    script: Path
    pipeline: str | None
    items: str | None
    functions: tuple[str, ...] | None
    workers: tuple[int, ...] | None
    executors: tuple[str, ...]
    start_methods: tuple[str, ...]
    tasks: int
    out: Path | None


class Draft(NamedTuple):
    """The file of a study, and what people are told about it."""

    path: Path
    text: str


def draft_study(request: DraftRequest) -> Draft:
    """Write a study, and its tasks if they are many, beside a script; raises StagebenchError."""
    script, out = request.script, _choose_place(request)
    beside = script.parent
    try:
        find_module(script.stem, beside)
        module = open_module(script.stem, beside)
        given: Json = {"pipeline": request.pipeline, "items": request.items, "tasks": request.tasks}
        found = _ask(module, "describe_script", "reading", given)
        functions = tuple(_make_functions(found["steps"]))
        values = tuple(found["items"]["values"])
        given = {"pipeline": found["pipeline"], "values": values}
        times, late = _time_functions(module, given)
    except WorkflowError as error:
        # As the line of a file is written everywhere: script.py:12.
        text = re.sub(r"^line (\d+)", r"\1", str(error))
        raise StagebenchError(f"{script}:{'' if text != str(error) else ' '}{text}") from error
    finally:
        close_modules()
    varied = _choose_functions(request, functions, times)
    grids = tuple(_make_grids(request, varied))
    is_inline = has_room(values) or are_equal(values)
    study = DraftedStudy(
        name=_make_name(script.stem),
        script=script.name,
        file=out.name if out.is_absolute() else os.fspath(out),
        pipeline=found["pipeline"],
        functions=functions,
        grids=grids,
        items=found["items"]["name"],
        values=values,
        task_file=None if is_inline else f"{out.stem}_items.csv",
        in_flight=found["window"] if found["window"] < len(values) else None,
        time_limit_s=_choose_limit(times, len(values)),
    )
    _write(study, out)
    lines = [
        _describe_source(script, out, found),
        *(_describe_function(one, study, times) for one in functions),
        *(f"{script}:{line}" for line in _list_limits(found, functions, varied)),
        *([f"{script}: {late}"] if late else []),
    ]
    return Draft(out, "\n".join([*lines, ""]))


def _choose_place(request: DraftRequest) -> Path:
    script = request.script
    if not script.is_file() or script.suffix != ".py":
        raise OptionError(f"{script}: is no script; allowed: a file of Python, such as work.py")
    if not script.stem.isidentifier():
        raise OptionError(
            f"{script}: {script.stem} cannot be imported; allowed: a file whose name is made of"
            " letters, digits and _"
        )
    out = request.out or script.with_name(f"{script.stem}_study.yaml")
    if out.suffix not in (".yaml", ".yml"):
        raise OptionError(f"--out {out}: allowed: a file that ends in .yaml")
    if out.absolute().parent.resolve() != script.absolute().parent.resolve():
        raise OptionError(f"--out {out}: allowed: a file beside {script}, whose functions it names")
    if out.exists():
        raise OptionError(f"{out}: exists; allowed: a new file (--out), or: stagebench run {out}")
    return out


def _ask(module: OwnModule, function: str, doing: str, given: Json) -> Json:
    call = f"stagebench.draft.script:{function}"
    return module.ask({"call": call, "given": given, "doing": doing})


def _time_functions(module: OwnModule, given: Json) -> tuple[Mapping[str, Any], str]:
    """Return the time and the CPU time of each function; none, and why, if that takes too long."""
    try:
        return _ask(module, "pass_items", "passing an item through", given), ""
    except WorkflowError as error:
        if not module.is_late:
            raise
        return {}, f"{error}, so all functions are varied; name some by --functions"


def _make_functions(steps: Sequence[Json]) -> Iterator[Function]:
    """Yield the stages of a study; raises WorkflowError for names that no study can have."""
    names = {step["name"]: _make_name(step["name"]) for step in steps}
    many = {name for step in steps if len(step["after"]) > 1 for name in step["after"]}
    taken: set[str] = set()
    for step in steps:
        name, stage = step["name"], names[step["name"]]
        # Functions that follow several others take their results by these names.
        if not _STEP.fullmatch(name) or (name in many and name != stage) or stage in taken:
            raise WorkflowError(
                f"line {step['line']}: {name!r} cannot name a stage of a study; allowed: another"
                " name, of a-z, 0-9, _ and -, as in .threads(function, name=…)"
            )
        taken.add(stage)
        after = tuple(names[one] for one in step["after"])
        kept: Json = {key: step[key] for key in ("line", "executor", "start_method", "workers")}
        kept |= {key: step[key] for key in ("settings", "untravelled")}
        yield Function(name=name, stage=stage, after=after, **kept)


def _make_name(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "_", text.lower()).lstrip("_-") or "function"


def _choose_functions(
    request: DraftRequest, functions: Sequence[Function], times: Mapping[str, Any]
) -> list[Function]:
    """Return the functions to vary: those that are asked for, or else those that compute."""
    plain = [one for one in functions if one.executor != "asyncio"]
    if request.functions is None:
        busy = [one for one in plain if (_find_share(one, times) or 0) >= BUSY]
        return busy or plain or list(functions)
    if request.functions == (ALL,):
        return plain or list(functions)
    known = [one.name for one in functions]
    for name in request.functions:
        if name not in known:
            allowed = f"{', '.join(known)}, or {ALL}"
            raise OptionError(
                f"--functions: there is no {name!r}; allowed: {allowed}{closest(name, known)}"
            )
    return [one for one in functions if one.name in request.functions]


def _find_share(function: Function, times: Mapping[str, Any]) -> float | None:
    """Return the share of a function's time in which it computes; None if it is not known."""
    took_s, cpu_s = times.get(function.name, (0.0, 0.0))
    return min(1.0, cpu_s / took_s) if took_s else None


def _make_grids(request: DraftRequest, varied: Sequence[Function]) -> Iterator[DraftedGrid]:
    """Yield a grid for functions that have the same setting in the script, and so one baseline."""
    groups: dict[tuple[Any, ...], list[Function]] = {}
    for one in varied:
        key = (one.executor, one.start_method, one.workers, bool(one.untravelled))
        # Only processes have their next task sent ahead, so such a function stays with them.
        groups.setdefault((*key, "prefetch" in one.settings), []).append(one)
    names: set[str] = set()
    for group in groups.values():
        joined = "_".join(one.stage for one in group)
        name = joined if len(joined) <= LONGEST_NAME else f"functions_{len(names) + 1}"
        names.add(name)
        grid = _make_grid(request, name, group)
        if not grid.factors:
            raise OptionError(
                f"{join([one.name for one in group])}: nothing varies, because --workers,"
                " --executors and --start-methods leave only what the script says"
            )
        yield grid


def _make_grid(request: DraftRequest, name: str, group: Sequence[Function]) -> DraftedGrid:
    one = group[0]
    executors = list(request.executors)
    if one.executor == "asyncio":
        executors = []
    elif one.untravelled:
        executors = ["thread"]
    elif "prefetch" in one.settings:
        executors = ["process"]
    executors += [] if one.executor in executors else [one.executor]
    workers = request.workers or (1, 2, len(usable_cpus()))
    levels: dict[str, Sequence[Any]] = {
        "workers": sorted({*workers, one.workers}),
        "executor": executors,
    }
    if "process" in executors:
        methods = [*request.start_methods]
        own = one.start_method
        levels["start_method"] = methods if own in (None, *methods) else [*methods, own]
    baseline = {"workers": one.workers, "executor": one.executor, "start_method": one.start_method}
    grid = DraftedGrid(name, tuple(each.stage for each in group), levels, {})
    named = {*grid.factors, *(["start_method"] if "executor" in grid.factors else [])}
    kept = {key: value for key, value in baseline.items() if key in named and value is not None}
    return grid._replace(baseline=kept)


def _choose_limit(times: Mapping[str, Any], tasks: int) -> int:
    one_by_one_s: float = tasks * sum(took_s for took_s, _ in times.values())
    return max(LEAST_LIMIT_S, math.ceil(PATIENCE * one_by_one_s / 60) * 60)


def _write(study: DraftedStudy, out: Path) -> None:
    """Write the files; raises StagebenchError, and writes none, if the tasks cannot be written."""
    try:
        if study.task_file is not None:
            first = [one.stage for one in study.functions if not one.after]
            text = format_tasks(first, study.values)
            out.with_name(study.task_file).write_text(text, encoding="utf-8")
        out.write_text(format_study(study), encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{error.filename}: cannot be written ({error.strerror})") from error


def _describe_source(script: Path, out: Path, found: Json) -> str:
    items = found["items"]
    whole = "" if items["number"] in (None, len(items["values"])) else f" of {items['number']:,}"
    given = f"{len(items['values']):,}{whole} items ({items['name']}{_place(items['line'])})"
    pipeline = f"{found['pipeline']} ({script}{_place(found['line'])})"
    return f"{out}: drafted from {pipeline} with {given}"


def _place(line: int | None) -> str:
    return "" if line is None else f", line {line}"


def _describe_function(one: Function, study: DraftedStudy, times: Mapping[str, Any]) -> str:
    method = f", {one.start_method}" if one.start_method else ""
    share = _find_share(one, times)
    took_s = times.get(one.name, (0.0, 0.0))[0]
    took = f"; {format_seconds(took_s)} an item"
    busy = "" if share is None else f"{took}, {100 * share:.0f} % of it on CPU"
    grid = next((grid for grid in study.grids if one.stage in grid.stages), None)
    how = "stays as it is" if grid is None else f"varies: {_list_levels(grid)}"
    return f"  {one.name}: {one.workers} × {one.executor}{method}{busy}\n    {how}"


def _list_levels(grid: DraftedGrid) -> str:
    return "; ".join(f"{key} {', '.join(map(str, grid.levels[key]))}" for key in grid.levels)


def _list_limits(
    found: Json, functions: Sequence[Function], varied: Sequence[Function]
) -> Iterator[str]:
    """Yield what of a script is not in its study, each beginning with the line."""
    for one in functions:
        if one in varied and one.untravelled:
            why = f"{one.name} cannot be sent to a process: {one.untravelled}"
            yield f"{one.line}: {why}; define it at the top level to study processes, too"
        elif one in varied and "prefetch" in one.settings:
            yield f"{one.line}: {one.name} has prefetch, so it is studied in processes alone"
    for step in found["steps"]:
        if step["replaced"] is not None:
            name, most = step["name"], step["replaced"]
            yield (
                f"{step['line']}: {name} has max_tasks_per_worker={most}, which no study has;"
                " there its workers stay"
            )
