"""joblib as an engine: one call of Parallel for each stage, which ends before the next begins.

Threads are its backend "threading", processes its backend "loky". What it waits with and how it
batches tasks are its own defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from stagebench.engines.serving import perform
from stagebench.runner.worker import format_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stagebench.engines.course import Overrides, TaskCourse, TaskStep
    from stagebench.engines.serving import Performed
    from stagebench.runner.stage import Arrival, Stage

BACKENDS = {"thread": "threading", "process": "loky"}


class JoblibEngine:
    """Stage after stage; the tasks of one stage are the iterable that Parallel reads."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._has_processes = any(stage.executor == "process" for stage in stages)

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival, course: TaskCourse) -> None:
        """Pass all tasks through all stages; return when each has ended in each stage."""
        steps: dict[str, list[TaskStep]] = {stage.name: [] for stage in course.stages}
        for task in course.arrive(tasks, arrival):
            for step in course.enter(*task):
                steps[step.stage.name].append(step)
        for stage in course.stages:
            for following in self._run_stage(stage, steps.pop(stage.name), course):
                steps[following.stage.name].append(following)
        course.wait()

    def close(self, kept: frozenset[str]) -> None:
        """End the pool of processes, which serves all stages, unless one of them is kept."""
        if self._has_processes and not kept:
            get_reusable_executor(max_workers=1, reuse=True, timeout=1).shutdown(wait=True)

    def _run_stage(
        self, stage: Stage, steps: list[TaskStep], course: TaskCourse
    ) -> Iterator[TaskStep]:
        waiting = {step.task: step for step in steps}
        parallel = joblib.Parallel(
            n_jobs=stage.workers,
            backend=BACKENDS[stage.executor],
            return_as="generator_unordered",
        )
        try:
            for outcome in parallel(list_calls(steps, course)):
                yield from course.finish(waiting.pop(outcome.task), outcome, outcome)
        except Exception as error:  # one step that fails so ends the whole call
            status = "lost" if isinstance(error, TerminatedWorkerError) else "failed"
            for step in waiting.values():
                yield from course.give_up(step, status, format_error(error))


def list_calls(steps: list[TaskStep], course: TaskCourse) -> Iterator[tuple[Any, ...]]:
    """Yield the calls of a stage, each stamped when joblib takes it."""
    for step in steps:
        step.stamp()
        errand = course.make_errand(step)
        inputs: list[Performed] = [step.inputs[name] for name in errand.sources]
        step.inputs = {}
        yield joblib.delayed(perform)(errand, *inputs)
