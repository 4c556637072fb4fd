"""stagebench: a laboratory that settles concurrency questions for Python pipelines.

The workflow runner is also a library: build a `Workflow` of `Stage`s, run it, and read the records
in its `ListSink` (docs/library.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stagebench.errors import StagebenchError, WorkerLostError, WorkflowError
    from stagebench.handlers.bounds import Bounds, MemoryNeed
    from stagebench.pipeline.interface import Pipeline
    from stagebench.pipeline.passage import PipelineError
    from stagebench.records import EventRecord, TaskRecord, WorkerRecord
    from stagebench.runner.sink import ListSink, Sink
    from stagebench.runner.stage import Arrival, Stage
    from stagebench.runner.worker import WorkerSetup
    from stagebench.runner.workflow import Workflow

__version__ = "0.1.0"

__all__ = [
    "Arrival",
    "Bounds",
    "EventRecord",
    "ListSink",
    "MemoryNeed",
    "Pipeline",
    "PipelineError",
    "Sink",
    "Stage",
    "StagebenchError",
    "TaskRecord",
    "WorkerLostError",
    "WorkerRecord",
    "WorkerSetup",
    "Workflow",
    "WorkflowError",
]

_MODULES = {
    "Arrival": "runner.stage",
    "Bounds": "handlers.bounds",
    "EventRecord": "records",
    "ListSink": "runner.sink",
    "MemoryNeed": "handlers.bounds",
    "Pipeline": "pipeline.interface",
    "PipelineError": "pipeline.passage",
    "Sink": "runner.sink",
    "Stage": "runner.stage",
    "StagebenchError": "errors",
    "TaskRecord": "records",
    "WorkerLostError": "errors",
    "WorkerRecord": "records",
    "WorkerSetup": "runner.worker",
    "Workflow": "runner.workflow",
    "WorkflowError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: workers and commands need only a few of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"stagebench.{_MODULES[name]}"), name)
