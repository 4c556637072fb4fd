"""Checks of an experiment's tasks: a number, a list of parameters, or a CSV file.

The file lies beside the config; its columns name stages and parameters of their handlers. Unknown
values (refused, or of an unknown level) are not reported again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.design.handlers import known_handler, sound_handler
from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import KeyPath, Problem, problem, show, unknown
from stagebench.design.signatures import (
    convert_parameters,
    find_parameter_problems,
    missing_parameters,
)
from stagebench.design.stage_checks import is_whole
from stagebench.design.yaml import mappings
from stagebench.errors import WorkflowError
from stagebench.store import canonical_json
from stagebench.task_list import (
    EMPTY,
    UNREADABLE,
    TaskRows,
    hash_bytes,
    number_lines,
    read_bytes,
    read_cell,
    split_column,
)

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stagebench.design.signatures import Parameter

    Handlers = tuple[tuple[str, str | None], ...]


Stage = dict[str, Any]


def find_tasks_problems(
    tasks: Any,
    stages: Any,
    path: KeyPath,
    stages_path: KeyPath,
    beside: pathlib.Path | None,
    python: str | None = None,
) -> list[Problem]:
    """Check that every task names known stages and that every stage gets all it requires."""
    if not is_whole(stages):
        return []
    rows = [(stage, place) for stage, place in mappings(stages, stages_path)]
    if isinstance(tasks, dict):
        return list(_find_file_problems(tasks.get("file"), rows, (*path, "file"), beside, python))
    if not (isinstance(tasks, int) or is_whole(tasks)):
        return []
    listed = list(mappings(tasks, path))
    return [
        *(
            p
            for task, place in listed
            for p in _find_task_problems(task, rows, place, beside, python)
        ),
        *(p for stage, place in rows for p in _find_missing(stage, place, listed, beside, python)),
    ]


def complete_tasks(
    tasks: Any, stages: list[Stage], beside: pathlib.Path | None, python: str | None = None
) -> Any:
    """Return checked tasks in the form that a specification has."""
    if isinstance(tasks, int):
        return tasks
    if isinstance(tasks, dict):
        return complete_task_file(tasks["file"], name_handlers(stages), beside, python)
    known = {s["name"]: sound_handler(s["handler"], beside, python).parameters for s in stages}
    return [
        {stage: convert_parameters(given, known[stage]) for stage, given in task.items()}
        for task in tasks
    ]


def list_overrides(
    tasks: Any,
    stages: list[Stage],
    stage: str,
    beside: pathlib.Path | None,
    python: str | None = None,
) -> Any:
    """Return the parameters of one stage that the tasks of a specification override."""
    if isinstance(tasks, int):
        return [{}]
    if isinstance(tasks, dict):
        return distinct_overrides(tasks["file"], name_handlers(stages), beside, stage, python)
    return [task.get(stage, {}) for task in tasks]


def list_first_tasks(
    tasks: Any,
    stages: list[Stage],
    beside: pathlib.Path | None,
    most: int,
    python: str | None = None,
) -> int | list[dict[str, Any]]:
    """Return the first tasks of a specification, at most so many; those of a file as a list."""
    if isinstance(tasks, int):
        return min(most, tasks)
    if isinstance(tasks, dict):
        found = read_task_file(tasks["file"], name_handlers(stages), beside, python)
        return list(found.tasks[:most])
    return list(tasks[:most])


def name_handlers(stages: list[Stage]) -> Handlers:
    """Return the name and handler of each stage; an unknown handler is None."""
    named = ((stage["name"], stage["handler"]) for stage in stages)
    return tuple((name, None if handler is UNKNOWN else handler) for name, handler in named)


def _find_task_problems(
    task: Stage,
    stages: list[tuple[Stage, KeyPath]],
    path: KeyPath,
    beside: pathlib.Path | None,
    python: str | None,
) -> Iterator[Problem]:
    rows = {stage["name"]: stage for stage, _ in stages}
    for name, given in task.items():
        if name not in rows:
            if UNKNOWN not in rows:
                yield problem((*path, name), unknown("stage", name, rows))
            continue
        handler = known_handler(rows[name]["handler"], beside, python)
        if handler is not None and isinstance(given, dict):
            yield from find_parameter_problems(given, handler.parameters, (*path, name))


def _find_missing(
    stage: Stage,
    path: KeyPath,
    tasks: list[tuple[Stage, KeyPath]],
    beside: pathlib.Path | None,
    python: str | None,
) -> Iterator[Problem]:
    for parameter in _missing(stage, beside, python):
        text = f"missing; allowed: {parameter.allowed}"
        if not any(parameter.name in _given(task, stage["name"]) for task, _ in tasks):
            yield problem((*path, "parameters", parameter.name), text)
            continue
        for task, place in tasks:
            if parameter.name not in _given(task, stage["name"]):
                yield problem((*place, stage["name"], parameter.name), text)


def _missing(stage: Stage, beside: pathlib.Path | None, python: str | None) -> list[Parameter]:
    """Return the required parameters that a stage lacks; none if its handler is unknown."""
    handler, given = known_handler(stage["handler"], beside, python), stage.get("parameters", {})
    if handler is None or not isinstance(given, dict):
        return []
    return missing_parameters(given, handler.parameters)


def _given(task: Stage, stage: str) -> dict[str, Any]:
    given = task.get(stage, {})
    return given if isinstance(given, dict) else {}


def _find_file_problems(
    file: Any,
    stages: list[tuple[Stage, KeyPath]],
    path: KeyPath,
    beside: pathlib.Path | None,
    python: str | None,
) -> Iterator[Problem]:
    names = [stage["name"] for stage, _ in stages]
    if file is UNKNOWN or UNKNOWN in names:
        return
    found = read_task_file(file, name_handlers([stage for stage, _ in stages]), beside, python)
    for text in found.problems:
        yield problem(path, f"{file}: {text}")
    if found.problems:
        return
    for stage, place in stages:
        for parameter in _missing(stage, beside, python):
            text = f"missing; allowed: {parameter.allowed}"
            lines = found.find_gaps(stage["name"], parameter.name)
            if lines is None:
                yield problem((*place, "parameters", parameter.name), text)
                continue
            gap = next(lines, None)
            if gap is not None:
                column = f"{stage['name']}.{parameter.name}"
                yield problem(path, f"{file}: line {gap}, column {column}: {text}")


MOST_TASKS = 100_000
"""Most tasks of a file; a list of tasks has the same limit."""

MOST_LISTED = 20
"""Most problems of one file that are listed; the others are counted."""


class Column(NamedTuple):
    """A column; `parameter` is None if the stage's handler is unknown."""

    name: str
    stage: str
    parameter: Parameter | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A task file that was read, with its problems.

    `rows` has the cells of each task, `lines` its line number.
    """

    sha256: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    lines: tuple[int, ...]
    problems: tuple[str, ...]

    @property
    def tasks(self) -> TaskRows:
        """Return the parameters of each task by stage."""
        return TaskRows([split_column(column.name) for column in self.columns], self.rows)

    def find_gaps(self, stage: str, parameter: str) -> Iterator[int] | None:
        """Return the lines that leave a parameter empty, or None if it has no column."""
        names = [column.name for column in self.columns]
        if f"{stage}.{parameter}" not in names:
            return None
        place = names.index(f"{stage}.{parameter}")
        rows = zip(self.lines, self.rows, strict=True)
        return (line for line, row in rows if row[place] is EMPTY)


@cache
def read_task_file(
    file: str, handlers: Handlers, beside: Path | None, python: str | None = None
) -> TaskFile:
    """Read a task file beside the config; an unknown handler of a stage is None.

    Results are cached: a later edit of the file is not seen.
    """
    if beside is None:
        return _broken("it has to lie beside the config, but the config has no folder here")
    try:
        data = read_bytes(beside / file)
        numbered = list(number_lines(data))
    except WorkflowError as error:
        return _broken(str(error))
    if not numbered:
        return _broken("empty; allowed: a line of columns and a line for each task")
    (_, header), *rows = numbered
    columns = [_read_column(name, handlers, beside, python) for name in header]
    problems = [*_find_header_problems(header, columns), *_find_row_problems(header, rows)]
    if problems:
        return _broken(*problems, sha256=hash_bytes(data))
    known = tuple(column for column in columns if isinstance(column, Column))
    values = [tuple(_read_cell(t, c) for t, c in zip(r, known, strict=True)) for _, r in rows]
    return TaskFile(
        sha256=hash_bytes(data),
        columns=known,
        rows=tuple(values),
        lines=tuple(line for line, _ in rows),
        problems=tuple(_find_cell_problems(known, rows, values)),
    )


@cache
def distinct_overrides(
    file: str, handlers: Handlers, beside: Path | None, stage: str, python: str | None = None
) -> list[dict[str, Any]]:
    """Return the distinct parameters of one stage that the tasks of a valid file have."""
    own = (task.get(stage, {}) for task in read_task_file(file, handlers, beside, python).tasks)
    return list({canonical_json(given): dict(given) for given in own}.values())


def complete_task_file(
    file: str, handlers: Handlers, beside: Path | None, python: str | None = None
) -> dict[str, Any]:
    """Return the part of a specification for a valid file."""
    found = read_task_file(file, handlers, beside, python)
    return {
        "file": file,
        "sha256": found.sha256,
        "number": len(found.rows),
        "columns": {c.name: list(c.parameter.cells) for c in found.columns if c.parameter},
    }


def _broken(*texts: str, sha256: str = "") -> TaskFile:
    return TaskFile(sha256=sha256, columns=(), rows=(), lines=(), problems=_limit(list(texts)))


def _limit(texts: list[str]) -> tuple[str, ...]:
    more = len(texts) - MOST_LISTED
    return (*texts[:MOST_LISTED], f"and {more} more of this kind") if more > 0 else tuple(texts)


def _read_column(
    name: str, handlers: Handlers, beside: Path | None, python: str | None
) -> Column | str:
    """Return a column, or a text that says what is wrong with its name."""
    stage, parameter = split_column(name)
    if not stage or not parameter:
        return f"column {show(name)} is not allowed; allowed: stage.parameter"
    stages = dict(handlers)
    if stage not in stages:
        return f"column {name}: {unknown('stage', stage, stages)}"
    handler = known_handler(stages[stage], beside, python)
    if handler is None:
        return Column(name, stage, None)
    if parameter not in handler.parameters:
        return f"column {name}: {unknown('parameter', parameter, handler.parameters)}"
    return Column(name, stage, handler.parameters[parameter])


def _find_header_problems(header: list[str], columns: Sequence[Column | str]) -> Iterator[str]:
    for name, number in Counter(header).items():
        if number > 1:
            yield f"column {name} occurs {number} times; allowed: each column once"
    yield from (column for column in columns if isinstance(column, str))


def _find_row_problems(header: list[str], rows: list[tuple[int, list[str]]]) -> Iterator[str]:
    if not 1 <= len(rows) <= MOST_TASKS:
        yield f"{len(rows):,} tasks; allowed: 1 to {MOST_TASKS:,} lines below the columns"
    for line, row in rows:
        if len(row) != len(header):
            yield f"line {line}: {len(row)} cells; allowed: {len(header)}, one per column"


def _read_cell(text: str, column: Column) -> Any:
    if column.parameter is None:
        return EMPTY
    value = read_cell(text, column.parameter.cells)
    if value is EMPTY or (value is not UNREADABLE and column.parameter.accepts(value)):
        return value
    return UNREADABLE


def _find_cell_problems(
    columns: tuple[Column, ...], rows: list[tuple[int, list[str]]], values: list[tuple[Any, ...]]
) -> tuple[str, ...]:
    problems = []
    for (line, texts), row in zip(rows, values, strict=True):
        if UNREADABLE not in row:
            continue
        for column, text, value in zip(columns, texts, row, strict=True):
            if value is UNREADABLE and column.parameter is not None:
                what = f"{show(text)} is not allowed; allowed: {column.parameter.allowed}"
                problems.append(f"line {line}, column {column.name}: {what}")
    return _limit(problems)
