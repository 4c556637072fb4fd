"""Engines to which single steps are submitted: main submits the next one when one is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from stagebench.runner.worker import format_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stagebench.engines.course import Overrides, TaskCourse, TaskStep
    from stagebench.engines.serving import Errand, Performed
    from stagebench.runner.stage import Arrival

    Done = Callable[[Performed | BaseException, Any], None]


class StepEngine(ABC):
    """An engine that takes steps one by one.

    `lost` are the errors by which it reports that a worker has ended.
    """

    lost: tuple[type[BaseException], ...] = ()

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival, course: TaskCourse) -> None:
        """Pass all tasks through all stages; return when each has ended in each stage."""
        for task in course.arrive(tasks, arrival):
            self._start(course.enter(*task), course)
        course.wait()

    @abstractmethod
    def submit(self, step: TaskStep, errand: Errand, inputs: list[Any], done: Done) -> None:
        """Let a worker of the step's stage perform an errand, and then call `done`.

        `done` takes the outcome, or the engine's own error, and what the engine has of the outcome.
        """

    @abstractmethod
    def close(self, kept: frozenset[str]) -> None:
        """End all pools but those of the stages in `kept`."""

    def _start(self, steps: list[TaskStep], course: TaskCourse) -> None:
        for step in steps:
            step.stamp()
            errand = course.make_errand(step)
            inputs = [step.inputs[name] for name in errand.sources]
            step.inputs = {}
            try:
                self.submit(step, errand, inputs, self._make_done(step, course))
            except Exception as error:  # a broken pool takes nothing more
                self._end(step, error, None, course)

    def _make_done(self, step: TaskStep, course: TaskCourse) -> Done:
        def done(outcome: Performed | BaseException, handle: Any) -> None:
            try:
                self._end(step, outcome, handle, course)
            except BaseException as error:  # raised again by the run, in main
                course.fail(error)

        return done

    def _end(
        self, step: TaskStep, outcome: Performed | BaseException, handle: Any, course: TaskCourse
    ) -> None:
        if isinstance(outcome, BaseException):
            status = "lost" if isinstance(outcome, self.lost) else "failed"
            following = course.give_up(step, status, format_error(outcome))
        else:
            following = course.finish(step, outcome, handle)
        self._start(following, course)
