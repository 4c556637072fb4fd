"""What a script has: its pipeline, the items that it passes, and how its functions use the CPU.

`describe_script` and `pass_items` are called in the process that has imported the script, and
return what can be written as JSON. Errors begin with the line of the script, if one is known.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import time
import traceback
from collections.abc import Iterable, Iterator, Sized
from functools import partial
from itertools import islice
from operator import sub
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError, closest
from stagebench.handlers.source import parse_source
from stagebench.measure.diagnose import SCHEDSTAT, open_schedstat, read_core_wait
from stagebench.pipeline.interface import Pipeline
from stagebench.records import RETRIABLE_STATUSES
from stagebench.runner.stage import find_pickle_error
from stagebench.runner.worker import begin_worker, describe_error, end_worker
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from stagebench.runner.stage import Stage
    from stagebench.units import Seconds

Json = dict[str, Any]

ITEMS = "items"
"""The name under which items are looked for."""

KEPT = ("transport", "queue_size", "batch", "prefetch", "timeout_s", "retries", "retry_on")
"""Settings that a study has, too."""

DEFAULTS: Mapping[str, Any] = {
    "transport": "pickle",
    "queue_size": None,
    "batch": 1,
    "prefetch": 0,
    "timeout_s": None,
    "retries": 0,
    "retry_on": RETRIABLE_STATUSES,
}

MOST_PASSED = 3
ENOUGH_S = 1.0
"""So many items are passed through the functions at most, and no further one after this time."""

LARGEST = 2**63 - 1
LONGEST_SHOWN = 60

WRITABLE = "texts, numbers, True, False, None, lists, and dictionaries with texts as keys"


def describe_script(
    module: ModuleType, pipeline: str | None, items: str | None, tasks: int
) -> Json:
    """Return a pipeline's functions and settings, and its first items, at most `tasks`."""
    tree = parse_source(Path(str(module.__file__)))
    lines = find_lines(tree)
    name, found = choose_pipeline(module, tree, lines, pipeline)
    line = lines.get(name)  # none for what another module has made
    steps = [describe_step(stage, module, line) for stage in found.stages]
    return {
        "pipeline": name,
        "line": line,
        "window": found.window,
        "steps": steps,
        "items": read_items(module, tree, lines, items, tasks),
    }


def find_lines(tree: ast.Module) -> dict[str, int]:
    """Return the line of each name that a module assigns or defines; the last one counts."""
    lines: dict[str, int] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            lines[statement.name] = statement.lineno
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                lines[node.id] = node.lineno
    return lines


def choose_pipeline(
    module: ModuleType, tree: ast.Module, lines: Mapping[str, int], name: str | None
) -> tuple[str, Pipeline]:
    """Return the pipeline of this name, or the only one; raises WorkflowError otherwise."""
    known = list_pipelines(module)
    if name is None:
        if len(known) > 1:
            listed = ", ".join(f"{one} (line {lines.get(one, '?')})" for one in known)
            raise WorkflowError(f"{len(known)} pipelines: {listed}; name one by --pipeline")
        if not known:
            raise WorkflowError(f"{find_hidden(tree)}; allowed: {PLACES}")
        (name,) = known
    value = vars(module).get(name)
    if value is None:
        raise WorkflowError(
            f"--pipeline: there is no {name}; allowed: {', '.join(known) or PLACES}"
            f"{closest(name, known)}"
        )
    where = f"line {lines[name]}: " if name in lines else ""
    if callable(value):
        value = _call(value, f"{where}{name}()")
    if not isinstance(value, Pipeline):
        kind = type(value).__name__
        raise WorkflowError(f"{where}{name} is a {kind}; allowed: {PLACES}")
    return name, value


PLACES = "a Pipeline at the top level of the script, or a function that returns one (-> Pipeline)"


def list_pipelines(module: ModuleType) -> list[str]:
    """Return the names of pipelines of a module, and of functions that say they return one."""
    found: dict[int, str] = {}
    for name, value in vars(module).items():
        if (isinstance(value, Pipeline) and value.stages) or _makes_pipeline(value, module):
            found.setdefault(id(value), name)
    return list(found.values())


def _makes_pipeline(value: object, module: ModuleType) -> bool:
    if not inspect.isfunction(value) or value.__module__ != module.__name__:
        return False
    returned = value.__annotations__.get("return")
    return returned is Pipeline or str(returned).rpartition(".")[2] == "Pipeline"


def _call(function: Callable[[], Any], what: str) -> Any:
    """Call what a script has made; raises WorkflowError with what that raises."""
    try:
        return function()
    except WorkflowError as error:
        raise WorkflowError(f"{what}: {error}") from error
    except Exception as error:
        raise WorkflowError(f"{what} raises {describe_error(error)}") from error


def find_hidden(tree: ast.Module) -> str:
    """Return what is wrong with a script that has no pipeline for others to find."""
    for statement in tree.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Pipeline"):
                return f"line {node.lineno}: this Pipeline is not found when the script is imported"
    return "the script makes no Pipeline"


def describe_step(stage: Stage, module: ModuleType, line: int | None) -> Json:
    """Return one function of a pipeline, with those of its settings that are not defaults."""
    settings = {name: getattr(stage, name) for name in KEPT}
    function = getattr(stage.handler, "function", stage.handler)
    return {
        "name": stage.name,
        "line": find_line(function, module) or line or 1,
        "executor": stage.executor,
        "start_method": stage.start_method,
        "workers": stage.workers,
        "after": list(stage.after),
        "settings": {name: value for name, value in settings.items() if value != DEFAULTS[name]},
        "replaced": stage.max_tasks_per_worker,
        "untravelled": describe_pickle_error(stage.handler, function),
    }


def describe_pickle_error(handler: object, function: Any) -> str:
    """Return why a handler cannot be sent to a process; an empty text if it can."""
    problem = find_pickle_error(handler)
    name = getattr(function, "__qualname__", "")
    if problem and "<lambda>" in name:
        return "it is a lambda"
    return "it is defined in another function" if problem and "<locals>" in name else problem


def find_line(function: Any, module: ModuleType) -> int | None:
    """Return the line of a script in which a function begins; None if it is from elsewhere."""
    while hasattr(function, "func"):  # a partial
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code and code.co_filename == module.__file__ else None


def read_items(
    module: ModuleType, tree: ast.Module, lines: Mapping[str, int], name: str | None, tasks: int
) -> Json:
    """Return the first items of a script; raises WorkflowError if they cannot be written."""
    known = [ITEMS, *find_mapped(tree)]
    chosen = name or next((one for one in known if one in vars(module)), None)
    if chosen is None:
        allowed = f"{ITEMS} = [...] at the top level of the script, or another name by --items"
        raise WorkflowError(f"the script has no items to pass; allowed: {allowed}")
    if chosen not in vars(module):
        raise WorkflowError(f"--items: there is no {chosen}{closest(chosen, list(vars(module)))}")
    where = f"line {lines[chosen]}: " if chosen in lines else ""
    value = vars(module)[chosen]
    if callable(value):
        value = _call(value, f"{where}{chosen}()")
    if not isinstance(value, Iterable):
        kind = type(value).__name__
        raise WorkflowError(f"{where}{chosen} is a {kind}; allowed: anything to iterate over")
    number = len(value) if isinstance(value, Sized) else None
    values = _call(lambda: list(islice(value, tasks)), f"{where}{chosen}")
    if not values:
        raise WorkflowError(f"{where}{chosen} is empty; allowed: one item or more")
    for place, item in enumerate(values):
        problem = next(find_unwritable(item), None)
        if problem:
            shown = f"{chosen}[{place}] {problem}"
            raise WorkflowError(f"{where}{shown}; allowed in a study: {WRITABLE}")
    return {"name": chosen, "line": lines.get(chosen), "values": values, "number": number}


def find_mapped(tree: ast.Module) -> list[str]:
    """Return the names that a script passes to `map`, as in `pipe.map(urls)`."""
    return [
        node.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "map"
        and node.args
        and isinstance(node.args[0], ast.Name)
    ]


def find_unwritable(value: object) -> Iterator[str]:
    """Yield why an item cannot be a value of a config and come back as what it was."""
    if type(value) is list:
        yield from (problem for one in value for problem in find_unwritable(one))
    elif type(value) is dict:
        yield from (problem for one in value.values() for problem in find_unwritable(one))
        if any(type(key) is not str for key in value):
            yield f"has keys that are no texts: {_show(value)}"
    elif isinstance(value, int | float) and not (abs(value) <= LARGEST):  # NaN included
        yield f"is {_show(value)}, which no study can hold"
    elif value is not None and type(value) not in (bool, int, float, str):
        yield f"is a {type(value).__name__}: {_show(value)}"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def pass_items(module: ModuleType, pipeline: str, values: Sequence[Any]) -> Json:
    """Pass a few items through the functions; return the time and CPU time of each, in seconds.

    The time is without that in which this process waited for a core that others had.
    The first item does not count if there is a second one: functions import and cache with it.
    """
    made = vars(module)[pipeline]
    stages = (made if isinstance(made, Pipeline) else made()).stages
    loop = asyncio.new_event_loop()
    schedstat = open_schedstat(SCHEDSTAT)
    rounds: list[dict[str, tuple[Seconds, Seconds]]] = []
    for stage in stages:
        _call(partial(begin_worker, stage.handler), f"the initializer of {stage.name}")
    began_s = time.perf_counter()
    for value in values[:MOST_PASSED]:
        if rounds and time.perf_counter() - began_s > ENOUGH_S:
            break
        rounds.append(_pass_one(stages, value, partial(_read_times, schedstat), loop, module))
    for stage in stages:
        end_worker(stage.handler)
    loop.close()
    counted = rounds[1:] or rounds
    return {
        stage.name: [sum(each) / len(counted) for each in zip(*times, strict=True)]
        for stage in stages
        if (times := [one[stage.name] for one in counted])
    }


def _read_times(schedstat: int | None) -> tuple[Seconds, Seconds]:
    waited_ns = 0 if schedstat is None else read_core_wait(schedstat)
    return time.perf_counter() - to_seconds(waited_ns), time.process_time()


def _pass_one(
    stages: Sequence[Stage],
    item: Any,
    read_times: Callable[[], tuple[Seconds, Seconds]],
    loop: asyncio.AbstractEventLoop,
    module: ModuleType,
) -> dict[str, tuple[Seconds, Seconds]]:
    results: dict[str, Any] = {}
    times: dict[str, tuple[Seconds, Seconds]] = {}
    for stage in stages:
        before = {name: results[name] for name in stage.after}
        upstream = before[stage.after[0]] if len(before) == 1 else before
        given = {"upstream": upstream} if before else {"item": item}
        for left in range(stage.retries, -1, -1):
            before_s = read_times()
            try:
                result = stage.handler(**given)
                if inspect.iscoroutine(result):
                    result = loop.run_until_complete(result)
                break
            except Exception as error:
                if not left:
                    frames = traceback.extract_tb(error.__traceback__)
                    own = [frame.lineno for frame in frames if frame.filename == module.__file__]
                    where = f"line {own[-1]}: " if own else ""
                    text = f"{stage.name} fails with the item {_show(item)}"
                    raise WorkflowError(f"{where}{text}: {describe_error(error)}") from error
        took_s, cpu_s = map(sub, read_times(), before_s)
        times[stage.name] = took_s, cpu_s
        results[stage.name] = result
    return times
