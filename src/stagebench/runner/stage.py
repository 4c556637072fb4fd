"""What users describe: a stage, the arrival of tasks, and the checks of both."""

from __future__ import annotations

import contextlib
import functools
import inspect
import multiprocessing
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError, closest
from stagebench.records import OWN_INTERPRETER, RETRIABLE_STATUSES
from stagebench.runner.worker import call_end, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence


EXECUTORS = ("thread", "process", "interpreter", "asyncio")
TRANSPORTS = ("pickle", "shared_memory", "path")

UPSTREAM = "upstream"
"""The parameter through which a handler takes the results of the stages before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a workflow: a handler, the workers that serve it, and the stages it follows.

    `handler` is a function, or a coroutine function for the executor "asyncio". `parameters` are
    its keyword arguments; a task may override some. A handler with a parameter named `upstream`
    gets the result of the stage that it follows; if it follows several, it gets a mapping of their
    names to their results.

    `workers` is the number of threads, processes, subinterpreters, or concurrent coroutines.
    `start_method` is fork, forkserver or spawn, for processes only. With `retain`, results are kept
    until the stage is closed; otherwise each is dropped once all stages that take it are done.
    `transport` is how a result leaves its process if it has to: as a pickle through a pipe, through
    shared memory, or through a temporary file ("path"); small results always go through the
    pipe.

    `queue_size` limits the tasks that wait for the stage; None means no limit. A thread or process
    that is free takes up to `batch` waiting tasks at once, and their outcomes come back together;
    it never waits for more tasks. `timeout_s` ends an attempt that is served for longer: a process
    is killed and replaced, a coroutine is cancelled, a thread is left running and replaced; with
    it, the outcomes of a batch come back one by one. After an attempt whose status is in
    `retry_on`, the task is retried, at most `retries` times, each time alone.
    """

    name: str
    handler: Callable[..., Any]
    executor: str
    workers: int
    start_method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    retain: bool = False
    transport: str = "pickle"
    queue_size: int | None = None
    batch: int = 1
    timeout_s: float | None = None
    retries: int = 0
    retry_on: tuple[str, ...] = RETRIABLE_STATUSES
    prefetch: int = 0
    max_tasks_per_worker: int | None = None

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            object.__setattr__(self, name, plain_number(getattr(self, name)))


_NUMBERS = (
    "workers",
    "queue_size",
    "batch",
    "timeout_s",
    "retries",
    "prefetch",
    "max_tasks_per_worker",
)


def plain_number(value: Any) -> Any:
    """Return a number of another library, such as numpy.int64, as Python's; others unchanged."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    # Imported only when needed: every import adds to the measured process's memory.
    import numbers

    if isinstance(value, numbers.Integral):
        return int(value)
    with contextlib.suppress(OverflowError):
        return float(value) if isinstance(value, numbers.Real) else value
    return value


def begin_stage(stage: Stage) -> Callable[..., Any]:
    """Return what a stage's workers call: what its handler's `begin_stage` returns, if it has one.

    It runs in main, before the workers start: for what main makes and workers inherit or map.
    """
    begin = getattr(stage.handler, "begin_stage", None)
    if begin is None:
        return stage.handler
    made: Callable[..., Any] = begin(
        executor=stage.executor, start_method=stage.start_method, parameters=stage.parameters
    )
    return made


def end_stage(handler: object) -> None:
    """Call `end_stage` of what the workers have called, in main, if it has one."""
    call_end("end_stage", handler)


def takes_upstream(handler: Callable[..., Any]) -> bool:
    """Return whether a handler has a parameter for the results of the stages before it."""
    signature = _signature(handler)
    return signature is not None and UPSTREAM in signature.parameters


def check_stage(stage: Stage) -> list[str]:
    """Return all problems of a single stage, one line each."""
    problems = [
        *_check_shape(stage),
        *_check_pool(stage),
        *_check_limits(stage),
        *_check_handler(stage),
        *_check_parameters(stage),
    ]
    return [f"stage {stage.name!r}: {problem}" for problem in problems]


def check_names(stage: Stage, given: Iterable[str]) -> list[str]:
    """Return problems with the names of the arguments given to a stage's handler."""
    names, takes_any = _argument_names(stage.handler)
    problems = []
    for name in sorted(given, key=str):
        if not isinstance(name, str):
            problems.append(f"parameter {name!r} is no name; allowed: a string")
        elif name == UPSTREAM:
            problems.append(f"parameter {UPSTREAM!r} is set by the runner")
        elif name not in names and not takes_any:
            known = [other for other in names if other != UPSTREAM]
            takes = f"{name_of(stage.handler)} takes {', '.join(known) or 'none'}"
            problems.append(f"parameter {name!r} is unknown; {takes}{closest(name, known)}")
    return problems


def check_missing(stage: Stage, given: Container[str]) -> list[str]:
    """Return the required arguments of a handler that are not given."""
    signature = _signature(stage.handler)
    return [
        f"parameter {p.name!r} of {name_of(stage.handler)} is missing"
        for p in (signature.parameters.values() if signature else ())
        if p.kind in _NAMED and p.default is p.empty and p.name not in given and p.name != UPSTREAM
    ]


_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _argument_names(handler: object) -> tuple[list[str], bool]:
    """Return the names of a handler's arguments, and whether it takes any others."""
    signature = _signature(handler)
    if signature is None:
        return [], True
    known = signature.parameters.values()
    names = [p.name for p in known if p.kind in _NAMED]
    return names, any(p.kind is p.VAR_KEYWORD for p in known)


def name_of(handler: object) -> str:
    """Return a handler's name for messages."""
    return str(getattr(handler, "__qualname__", None) or repr(handler))


def _signature(handler: object) -> inspect.Signature | None:
    """Return the signature of a handler; None if it has none, like some built-ins."""
    try:
        return inspect.signature(handler)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _check_pool(stage: Stage) -> list[str]:
    problems = []
    if not _is_whole(stage.workers, 1):
        problems.append(f"workers is {stage.workers!r}; allowed: a whole number >= 1")
    problems += _check_choice("executor", stage.executor, EXECUTORS)
    if stage.executor == "process":
        allowed = tuple(sorted(multiprocessing.get_all_start_methods()))
        # A start method is a factor and has no default: reject what the platform lacks.
        problems += _check_choice("start_method", stage.start_method, allowed, " here")
    elif stage.executor in EXECUTORS and stage.start_method is not None:
        kinds = {"thread": "threads", "interpreter": "subinterpreters", "asyncio": "coroutines"}
        kind = kinds[stage.executor]
        problems.append(f"start_method is {stage.start_method!r}; {kind} have none")
    return problems + _check_choice("transport", stage.transport, TRANSPORTS)


def _check_shape(stage: Stage) -> Iterator[str]:
    if not _is_name(stage.name):
        yield f"name is {stage.name!r}; allowed: a non-empty string"
    if not isinstance(stage.parameters, Mapping):
        yield f"parameters is {stage.parameters!r}; allowed: a mapping of names to values"
    for what, value in (("after", stage.after), ("retry_on", stage.retry_on)):
        if not isinstance(value, tuple):
            hint = f", such as ({value!r},)" if isinstance(value, str) else ""
            yield f"{what} is {value!r}; allowed: a tuple of names{hint}"
        elif not all(_is_name(name) for name in value):
            yield f"{what} is {value!r}; allowed: a tuple of names"
        elif len({*value}) < len(value):
            yield f"{what} is {value!r}; allowed: each name once"


def _is_name(value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # a lone surrogate is no text: no record of it could be written
    return True


def _check_choice(name: str, value: object, allowed: tuple[str, ...], where: str = "") -> list[str]:
    if value in allowed:
        return []
    hint = closest(str(value), list(allowed))
    return [f"{name} is {value!r}; allowed{where}: {', '.join(allowed)}{hint}"]


def _check_limits(stage: Stage) -> Iterator[str]:
    if stage.queue_size is not None and not _is_whole(stage.queue_size, 1):
        yield f"queue_size is {stage.queue_size!r}; allowed: a whole number >= 1, or None"
    if not _is_whole(stage.batch, 1):
        yield f"batch is {stage.batch!r}; allowed: a whole number >= 1"
    elif stage.batch > 1 and stage.executor == "asyncio":
        yield f"batch is {stage.batch}; coroutines take one task each, so only 1 is allowed"
    yield from _check_workers_of_processes(stage)
    if stage.timeout_s is not None and not _is_in_range(stage.timeout_s):
        yield f"timeout_s is {stage.timeout_s!r}; allowed: seconds > 0, {_RANGE}, or None"
    elif stage.timeout_s is not None and stage.executor == "interpreter":
        yield f"timeout_s is {stage.timeout_s:g}; a task in a subinterpreter cannot be ended"
    if not _is_whole(stage.retries, 0):
        yield f"retries is {stage.retries!r}; allowed: a whole number >= 0"
    for status in stage.retry_on if isinstance(stage.retry_on, tuple) else ():
        yield from _check_choice("retry_on", status, RETRIABLE_STATUSES)


def _check_workers_of_processes(stage: Stage) -> Iterator[str]:
    prefetch, most = stage.prefetch, stage.max_tasks_per_worker
    if not _is_whole(prefetch, 0):
        yield f"prefetch is {prefetch!r}; allowed: a whole number >= 0"
    elif prefetch and stage.executor != "process":
        yield f"prefetch is {prefetch}; only processes have their next task sent ahead"
    elif prefetch and stage.batch != 1:
        yield f"prefetch is {prefetch} and batch is {stage.batch!r}; allowed: one of them"
    if most is None:
        return
    if not _is_whole(most, 1):
        yield f"max_tasks_per_worker is {most!r}; allowed: a whole number >= 1, or None"
    elif stage.executor != "process":
        yield f"max_tasks_per_worker is {most}; only processes are replaced"
    elif prefetch or stage.batch != 1:
        yield (
            f"max_tasks_per_worker is {most}; allowed only with tasks that are sent one by one:"
            " without prefetch and batch"
        )


def _is_whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


_LEAST, _MOST = 1e-9, 1e9
_RANGE = f"from {_LEAST:g} to {_MOST:g}"
"""Of seconds, and of tasks per second: from a nanosecond, as clocks count, to 32 years."""


def _is_in_range(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and _LEAST <= value <= _MOST  # type: ignore[operator]


def _check_handler(stage: Stage) -> list[str]:
    if not callable(stage.handler):
        return [f"handler is {stage.handler!r}; allowed: a function"]
    name = name_of(stage.handler)
    is_generator = inspect.isasyncgenfunction(stage.handler)
    if is_generator or is_async(stage.handler) is not (stage.executor == "asyncio"):
        allowed = "a coroutine function" if stage.executor == "asyncio" else "a plain function"
        return [f"handler is {name}; allowed with executor {stage.executor!r}: {allowed}"]
    if stage.executor != "process":
        return []
    error = find_pickle_error(stage.handler)
    if error:
        return [f"handler {name} cannot be sent to a process ({error}); define it in a module"]
    return []


def is_async(handler: Any) -> bool:
    """Return whether calling a handler only makes a coroutine."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__)))


def find_pickle_error(value: object) -> str:
    """Return why a value cannot be pickled; an empty string if it can."""
    try:
        pickle.dumps(value)
    except KeyboardInterrupt:
        raise  # Ctrl-C, while no workflow runs
    except BaseException as error:  # a value's own __reduce__ may raise anything
        return describe_error(error)
    return ""


def _check_parameters(stage: Stage) -> Iterator[str]:
    if not callable(stage.handler):
        return
    signature = _signature(stage.handler)
    upstream = signature.parameters.get(UPSTREAM) if signature else None
    if upstream is not None and upstream.default is upstream.empty and not stage.after:
        yield f"{name_of(stage.handler)} takes {UPSTREAM!r}, but the stage follows no other"
    for parameter in signature.parameters.values() if signature else ():
        if parameter.kind is parameter.VAR_KEYWORD and stage.after and upstream is None:
            yield (
                f"{name_of(stage.handler)} takes **{parameter.name} and shows no {UPSTREAM!r}, so"
                f" it would get no results; add a parameter {UPSTREAM!r}, or decorate it with"
                " functools.wraps"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            yield (
                f"parameter {parameter.name!r} of {name_of(stage.handler)} is positional-only;"
                " allowed: parameters that can be passed by name"
            )
    if isinstance(stage.parameters, Mapping):
        yield from check_names(stage, stage.parameters)
        if hasattr(stage.handler, "begin_stage"):  # it gets the stage's, before any task's
            yield from check_missing(stage, stage.parameters)
        if stage.executor in OWN_INTERPRETER:
            yield from check_pickles(stage.parameters)


def check_pickles(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parameters that cannot be sent to a process, and why."""
    for name, value in parameters.items():
        error = find_pickle_error(value)
        if error:
            yield f"parameter {name!r} cannot be sent to a process ({error})"


def order_stages(stages: list[Stage]) -> list[Stage]:
    """Sort stages so that each comes after its upstream stages; raises WorkflowError on a cycle."""
    following = find_following(stages)
    missing = {stage.name: len(stage.after) for stage in stages}
    levels: dict[str, int] = {}
    ready = [stage for stage in stages if not stage.after]
    while ready:
        level = len(levels)
        levels.update((stage.name, level) for stage in ready)
        arrived = [after for stage in ready for after in following[stage.name]]
        ready = []
        for stage in arrived:
            missing[stage.name] -= 1
            if not missing[stage.name]:
                ready.append(stage)
    waiting = {stage.name: stage for stage in stages if stage.name not in levels}
    if waiting:
        raise WorkflowError(f"stages form a cycle: {_find_cycle(waiting)}")
    return sorted(stages, key=lambda stage: levels[stage.name])


def find_following(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    """Return the stages that follow each stage directly, in the order of `stages`."""
    following: dict[str, list[Stage]] = {stage.name: [] for stage in stages}
    for stage in stages:
        for name in stage.after:
            following[name].append(stage)
    return following


def _find_cycle(waiting: dict[str, Stage]) -> str:
    """Return one cycle as text: walk upstream until a name repeats."""
    path: dict[str, None] = {}
    name = next(iter(waiting))
    while name not in path:
        path[name] = None
        name = next(other for other in waiting[name].after if other in waiting)
    names = list(path)
    return " -> ".join(reversed([*names[names.index(name) :], name]))


ARRIVALS = ("at_once", "fixed_rate", "poisson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How the tasks of a run arrive.

    `kind` is one of `ARRIVALS`. `rate_per_s` is the number of tasks per second: exact for
    "fixed_rate", the mean for "poisson". `seed` makes the exponential gaps of "poisson" the same in
    every run. Raises WorkflowError if a value is invalid, missing or not needed.
    """

    kind: str = "at_once"
    rate_per_s: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "seed"):
            object.__setattr__(self, name, plain_number(getattr(self, name)))
        problems = _find_problems(self)
        if problems:
            raise WorkflowError("\n".join(f"arrival: {problem}" for problem in problems))

    def offsets_s(self) -> Iterator[float]:
        """Yield the arrival of each task in seconds after the start of the run, endlessly."""
        if self.kind == "at_once" or self.rate_per_s is None:
            yield from repeat(0.0)
        elif self.kind == "fixed_rate":
            task = 0
            while True:
                yield task / self.rate_per_s
                task += 1
        else:
            yield from _poisson(self.rate_per_s, self.seed)


def _poisson(rate_per_s: float, seed: int | None) -> Iterator[float]:
    # Imported only when needed: every import adds to the measured process's memory.
    import random

    gaps = random.Random(seed)
    moment = 0.0
    while True:
        moment += gaps.expovariate(rate_per_s)
        yield moment


def _find_problems(arrival: Arrival) -> list[str]:
    if arrival.kind not in ARRIVALS:
        hint = closest(str(arrival.kind), list(ARRIVALS))
        return [f"kind is {arrival.kind!r}; allowed: {', '.join(ARRIVALS)}{hint}"]
    problems = []
    if arrival.kind == "at_once":
        if arrival.rate_per_s is not None:
            problems.append(f"rate_per_s is {arrival.rate_per_s!r}; at_once has none")
    elif not _is_in_range(arrival.rate_per_s):
        problems.append(f"rate_per_s is {arrival.rate_per_s!r}; allowed: a number > 0, {_RANGE}")
    if arrival.kind == "poisson":
        if type(arrival.seed) is not int or arrival.seed < 0:
            problems.append(f"seed is {arrival.seed!r}; allowed: a whole number >= 0")
    elif arrival.seed is not None:
        problems.append(f"seed is {arrival.seed!r}; only poisson has one")
    return problems
