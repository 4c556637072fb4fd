"""The text of a drafted study, as a person would write it, and that of its file of tasks."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import StagebenchError
from stagebench.task_list import read_cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_INLINE = 12
"""More tasks, or longer ones, are in a file of their own."""

MOST_CHARACTERS = 1_000

CELLS = ("bool", "null", "int", "float", "json", "text")
"""The kinds of value that an item can be: those of a parameter without an annotation."""


class Function(NamedTuple):
    """One function of a script's pipeline, as a stage of a study.

    `untravelled`: why it cannot be sent to a process, or an empty text.
    """

    name: str
    stage: str
    line: int
    executor: str
    start_method: str | None
    workers: int
    after: tuple[str, ...]
    settings: Mapping[str, Any]
    untravelled: str


class DraftedGrid(NamedTuple):
    """What is varied together in one experiment: levels by key of a stage, and the baseline."""

    name: str
    stages: tuple[str, ...]
    levels: Mapping[str, Sequence[Any]]
    baseline: Mapping[str, Any]

    @property
    def factors(self) -> list[str]:
        """The keys with several levels."""
        return [key for key, levels in self.levels.items() if len(levels) > 1]


class DraftedStudy(NamedTuple):
    """All that the text of a study is made from."""

    name: str
    script: str
    file: str
    pipeline: str
    functions: tuple[Function, ...]
    grids: tuple[DraftedGrid, ...]
    items: str
    values: tuple[Any, ...]
    task_file: str | None
    in_flight: int | None
    time_limit_s: int


def format_study(study: DraftedStudy) -> str:
    """Return a study as YAML."""
    lines = [
        f"# Drafted from {study.script}: which workers suit {join(_list_varied(study))}?",
        "#",
        f"#   stagebench plan {study.file} --trial    check it, and see how long it takes",
        f"#   stagebench run {study.file}             measure it, and report",
        "#",
        "# The baseline is what the script says. Handlers run in this folder.",
        "",
        f"study: {study.name}",
        "seed: 1        # of the random order of the runs",
        "replicates: 5  # runs of every combination",
        f"time_limit_s: {study.time_limit_s}",
        "",
        "workflows:",
        *(line for grid in study.grids for line in _format_workflow(study, grid)),
        "",
        "experiments:",
        *(line for grid in study.grids for line in _format_experiment(study, grid)),
    ]
    return "\n".join([*lines, ""])


def join(names: Sequence[str]) -> str:
    """Return names as people list them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _list_varied(study: DraftedStudy) -> list[str]:
    return [name for grid in study.grids for name in grid.stages]


def _format_workflow(study: DraftedStudy, grid: DraftedGrid) -> Iterator[str]:
    yield f"  - name: {grid.name}"
    yield "    stages:"
    for function in study.functions:
        yield from _format_stage(study, function, grid)


def _format_stage(study: DraftedStudy, function: Function, grid: DraftedGrid) -> Iterator[str]:
    yield f"      - name: {function.stage}"
    if function.after:
        yield f"        after: [{', '.join(function.after)}]"
    module = study.script.removesuffix(".py")
    yield f'        handler: "{module}:{study.pipeline}.{function.name}"'
    own: dict[str, Any] = {"executor": function.executor, "start_method": function.start_method}
    own |= {"workers": function.workers, **function.settings}
    if function.stage in grid.stages:
        own |= {key: levels[0] for key, levels in grid.levels.items()}
        own |= {key: f"{{{key}}}" for key in grid.factors}
        if "start_method" in grid.levels and "executor" in grid.factors:
            own["start_method"] = "{start_method}"
    for key, value in own.items():
        if value is not None:
            yield f"        {key}: {format_value(value)}"
    if not function.after and are_equal(study.values):
        yield f"        parameters: {{item: {format_value(study.values[0])}}}"


def _format_experiment(study: DraftedStudy, grid: DraftedGrid) -> Iterator[str]:
    yield f"  - name: {grid.name}"
    yield f"    workflow: {grid.name}"
    first = [function.stage for function in study.functions if not function.after]
    count = f"# {len(study.values)} of the script's {study.items}"
    if are_equal(study.values):
        yield f"    tasks: {len(study.values)}  {count}, all of them equal"
    elif study.task_file is not None:
        yield f"    tasks: {{file: {format_value(study.task_file)}}}  {count}"
    else:
        yield f"    tasks:  {count}"
        for value in study.values:
            given = ", ".join(f"{stage}: {{item: {format_value(value)}}}" for stage in first)
            yield f"      - {{{given}}}"
    if study.in_flight is not None:
        yield f"    in_flight: {study.in_flight}  # as in the script"
    yield "    factors:"
    for key, levels in grid.levels.items():
        listed = format_value(list(levels))
        if key == "start_method" and "executor" in grid.factors:
            yield f"      {key}: {{levels: {listed}, when: {{executor: process}}}}"
        elif key in grid.factors:
            yield f"      {key}: {listed}"
    given = ", ".join(f"{key}: {format_value(value)}" for key, value in grid.baseline.items())
    yield f"    baseline: {{{given}}}"


def format_value(value: Any) -> str:
    """Return a value as YAML 1.2 in one line, which every reader takes for the same."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{_quote(key)}: {format_value(one)}" for key, one in value.items())
        return f"{{{inside}}}"
    if isinstance(value, float):
        mantissa, letter, exponent = repr(value).partition("e")
        return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}{letter}{exponent}"
    if isinstance(value, str) and value in PLAIN:
        return value
    return _quote(value) if isinstance(value, str) else json.dumps(value)


PLAIN = {"thread", "process", "asyncio", "fork", "forkserver", "spawn"}
PLAIN |= {"shared_memory", "path", "failed", "timed_out", "lost"}
"""Words of a config, which need no quotes."""


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def are_equal(values: Sequence[Any]) -> bool:
    """Return whether tasks are one value again and again, which a stage of a study can hold."""
    texts = {format_value(value) for value in values}
    return len(values) > 1 and len(texts) == 1 and has_room(values[:1])


def has_room(values: Sequence[Any]) -> bool:
    """Return whether tasks fit into the study itself: few, short, and without braces."""
    texts = [format_value(value) for value in values]
    is_plain = not any("{" in text or "}" in text for value in values for text in list_texts(value))
    is_short = len(values) <= MOST_INLINE and sum(map(len, texts)) <= MOST_CHARACTERS
    return is_plain and is_short


def list_texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value, keys included: in a config, braces there are placeholders."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (text for one in value for text in list_texts(one))
    elif isinstance(value, dict):
        yield from value
        yield from (text for one in value.values() for text in list_texts(one))


def format_tasks(stages: Sequence[str], values: Sequence[Any]) -> str:
    """Return tasks as CSV, a column for each stage that takes the items.

    Raises StagebenchError if an item would be read as another value, such as the text "12".
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([f"{stage}.item" for stage in stages])
    for place, value in enumerate(values):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if repr(read_cell(text, CELLS)) != repr(value):
            raise StagebenchError(
                f"item {place} is {value!r}, which a file of tasks cannot hold: it would be read as"
                f" another value; allowed: at most {MOST_INLINE} short items of this kind, without"
                " braces (--tasks)"
            )
        writer.writerow([text] * len(stages))
    return file.getvalue()
