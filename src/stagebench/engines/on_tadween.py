"""tadween-core as an engine: its own workflow, whose stages and broker pass the tasks on."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from tadween_core.broker.memory import InMemoryBroker
from tadween_core.handler.base import BaseHandler
from tadween_core.stage.policy import DefaultStagePolicy
from tadween_core.task_queue import init_queue
from tadween_core.workflow.workflow import Workflow as TadweenGraph

from stagebench.engines.serving import perform

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.engines.course import Overrides, TaskCourse, TaskStep
    from stagebench.engines.serving import Errand
    from stagebench.runner.stage import Arrival, Stage


class Carried(BaseModel):
    """What tadween passes on: the errands of the stages that follow, and outcomes."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    errands: Any = None
    inputs: Any = ()
    outcome: Any = None


class Performer(BaseHandler[Carried, Carried]):
    """The handler of a stage; it is pickled for each task."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def run(self, inputs: Carried) -> Carried:
        """Perform the errand of this stage."""
        errand = inputs.errands[self.stage]
        taken = inputs.inputs if errand.sources else ()
        return Carried(outcome=perform(errand, *taken))


class TaskEndedError(Exception):
    """Raised where a task failed, so that tadween does not pass it on."""


class Recorder(DefaultStagePolicy):
    """Notes in main how each task ended, before tadween passes it on."""

    def __init__(self, engine: TadweenEngine, stage: str) -> None:
        self._engine = engine
        self._stage = stage

    def on_success(self, *, message: Any, result: Any, **_: Any) -> None:
        """Record an outcome, and put the errands that follow into the result."""
        step = self._engine.take(message, self._stage)
        result.errands = self._engine.finish(step, result.outcome)
        if any(errand.sources for errand in result.errands.values()):
            result.inputs = (result.outcome,)
        if result.outcome.served.status != "ok":
            raise TaskEndedError

    def on_error(self, message: Any, error: Any, **_: Any) -> None:
        """Record a task that tadween could not serve; one that failed is recorded already."""
        step = self._engine.take(message, self._stage)
        if step is not None:
            self._engine.give_up(step, f"{type(error).__name__}: {error}")


class TadweenEngine:
    """A workflow of tadween-core with an in-memory broker and a task queue for each stage."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._steps: dict[tuple[int, str], TaskStep] = {}
        self._course: Any = None
        self._graph: Any = None

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival, course: TaskCourse) -> None:
        """Pass all tasks through all stages; return when each has ended in each stage."""
        self._course = course
        for task in course.arrive(tasks, arrival):
            errands = self._note(course.enter(*task))
            if self._graph is None:
                self._graph = self._build()
            self._graph.submit({"errands": errands})
        course.wait()

    def close(self, kept: frozenset[str]) -> None:
        """End the workflow as a whole, unless a stage is kept."""
        if self._graph is not None and not kept:
            self._graph.close()
            self._graph = None

    def take(self, message: Any, stage: str) -> TaskStep | None:
        """Return the step that a message belongs to; None if its end is recorded already."""
        return self._steps.pop((message.payload["errands"][stage].task, stage), None)

    def finish(self, step: TaskStep | None, outcome: Any) -> dict[str, Errand]:
        """Record an outcome; return the errands that follow, by stage."""
        if step is None:
            return {}
        try:
            return self._note(self._course.finish(step, outcome, None))
        except BaseException as error:  # raised again by the run, in main
            self._course.fail(error)
            raise

    def give_up(self, step: TaskStep, error: str) -> None:
        """Record a step that has no outcome."""
        # Of the error of a broken pool, tadween keeps the text alone.
        status = "lost" if "terminated abruptly" in error else "failed"
        try:
            self._course.give_up(step, status, error)
        except BaseException as raised:  # as above
            self._course.fail(raised)

    def _note(self, steps: list[TaskStep]) -> dict[str, Errand]:
        errands = {}
        for step in steps:
            step.stamp()
            self._steps[step.task, step.stage.name] = step
            errands[step.stage.name] = self._course.make_errand(step)
        return errands

    def _build(self) -> Any:
        graph = TadweenGraph(broker=InMemoryBroker(), name="stagebench")
        for stage in self._stages:
            graph.add_stage(
                stage.name,
                Performer(stage.name),
                policy=Recorder(self, stage.name),
                task_queue=make_queue(stage),
                payload_extractor=extract,
                log_exc_info=False,
            )
        for stage in self._stages:
            for name in stage.after:
                graph.link(name, stage.name)
        graph.set_entry_point(next(stage.name for stage in self._stages if not stage.after))
        graph.build()
        return graph


def extract(result: Carried) -> dict[str, Any]:
    """Return the payload for the stages that follow."""
    return {"errands": result.errands, "inputs": result.inputs}


def make_queue(stage: Stage) -> Any:
    """Return a stage's task queue; without a context, tadween starts every process by spawn."""
    settings: dict[str, Any] = {"max_workers": stage.workers, "name": stage.name}
    if stage.executor == "process":
        settings["mp_context"] = multiprocessing.get_context(stage.start_method)
    return init_queue(executor=stage.executor, **settings)
