"""Runs empty tasks through one stage of tadween-core and prints the seconds per task.

Run by runner.py as `python tadween_noop.py EXECUTOR TASKS`, in an interpreter that has
tadween-core 0.1.0b3.
"""

import multiprocessing
import sys
import time

from pydantic import BaseModel
from tadween_core.broker.memory import InMemoryBroker
from tadween_core.handler.base import BaseHandler
from tadween_core.task_queue import init_queue
from tadween_core.workflow.workflow import Workflow

WARM_UP = 10


class Nothing(BaseModel):
    """The smallest possible input and output."""


class NoopHandler(BaseHandler[Nothing, Nothing]):
    """Does nothing."""

    def run(self, inputs: Nothing) -> Nothing:
        """Return the input."""
        return inputs


def main() -> None:
    """Build the workflow, warm it up, and time it."""
    executor, tasks = sys.argv[1], int(sys.argv[2])
    settings = {"max_workers": 2, "name": "noop"}
    if executor == "process":
        # Without a context this version starts every process by spawn.
        settings["mp_context"] = multiprocessing.get_context("fork")
    broker = InMemoryBroker()
    workflow = Workflow(broker=broker, name="noop")
    queue = init_queue(executor=executor, **settings)
    workflow.add_stage("noop", NoopHandler(), task_queue=queue)
    workflow.set_entry_point("noop")
    workflow.build()
    for count in (WARM_UP, tasks):
        begun = time.perf_counter()
        for _ in range(count):
            workflow.submit({})
        broker.join()
        took = time.perf_counter() - begun
    workflow.wait_for_completion()
    print(took / tasks)


if __name__ == "__main__":
    main()
