"""A workflow that another engine runs: what `Workflow` is for the runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

from stagebench.engines.course import TaskCourse
from stagebench.engines.support import describe_missing, find_missing
from stagebench.errors import UnsupportedError, WorkflowError
from stagebench.runner.stage import Arrival
from stagebench.runner.worker import HOOKS, has_hook
from stagebench.runner.workflow import check_workflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.engines.course import Overrides
    from stagebench.network_nodes import NetworkNode
    from stagebench.runner.sink import Sink
    from stagebench.runner.stage import Stage
    from stagebench.runner.worker import WorkerSetup


class Adapter(Protocol):
    """Runs the tasks of a course with a library."""

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival, course: TaskCourse) -> None:
        """Pass all tasks through all stages; return when each has ended in each stage."""

    def close(self, kept: frozenset[str]) -> None:
        """End what serves stages, but for those in `kept`."""


class EngineWorkflow:
    """Stages that an engine runs; see `Workflow` for its arguments and methods.

    Their workers are spread over `nodes`, if there are several. The engine's library is imported
    here, its pools are opened for the first task.
    """

    def __init__(
        self,
        engine: str,
        stages: Sequence[Stage],
        sink: Sink,
        *,
        setup: WorkerSetup,
        nodes: Sequence[NetworkNode] = (),
    ) -> None:
        ordered = check_workflow(stages)
        for stage in ordered:
            hooks = [name for name in HOOKS if has_hook(stage.handler, name)]
            if hooks:
                raise UnsupportedError(
                    f"{engine} calls no {' and no '.join(hooks)} of a handler (stage"
                    f" {stage.name!r})"
                )
        self._course = TaskCourse(ordered, sink, setup)
        self._adapter = make_adapter(engine, ordered, nodes)

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival | None = None) -> None:
        """Pass all tasks through all stages; return when each has ended in each stage."""
        self._course.note("workflow_started")
        self._adapter.run(tasks, arrival or Arrival(), self._course)
        self._course.note("workflow_finished")

    def results(self, stage: str) -> dict[int, Any]:
        """Return the results of a stage that retains them, by task."""
        return dict(sorted(self._course.results[stage].items()))

    def close(self, *, keep_retained: bool = False) -> None:
        """End the engine; with `keep_retained`, spare what serves stages that retain results."""
        kept = frozenset(self._course.results) if keep_retained else frozenset()
        self._adapter.close(kept)
        if not keep_retained:
            self._course.results.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_adapter(
    engine: str, stages: Sequence[Stage], nodes: Sequence[NetworkNode] = ()
) -> Adapter:
    """Import an engine's library and return its adapter; nothing is started yet."""
    missing = find_missing(engine)
    if missing:
        raise WorkflowError(describe_missing(engine, missing))
    # Imported only if it is needed: every import adds to the measured memory.
    match engine:
        case "concurrent.futures":
            from stagebench.engines.on_futures import FuturesEngine

            return FuturesEngine(stages)
        case "joblib":
            from stagebench.engines.on_joblib import JoblibEngine

            return JoblibEngine(stages)
        case "dask":
            from stagebench.engines.on_dask import DaskEngine

            return DaskEngine(stages, nodes)
        case "tadween":
            from stagebench.engines.on_tadween import TadweenEngine

            return TadweenEngine(stages)
        case "ray":
            from stagebench.engines.on_ray import RayEngine

            return RayEngine(stages)
    raise WorkflowError(f"unknown engine {engine!r}")
