"""Runs the published pipeline on tadween-core and prints its makespan in seconds.

Run by published_size.py as `python tadween_pipeline.py PARAMETERS`, in an interpreter that has
tadween-core 0.1.0b3. PARAMETERS is JSON: executor, start_method, workers, logic, tasks, elements,
file_size_mb.
"""

import json
import multiprocessing
import sys
import time
from typing import Any

from tadween_core.broker.memory import InMemoryBroker
from tadween_core.handler.dummy import (
    MockDownloadHandler,
    MockDownloadInput,
    MockDownloadOutput,
    NumpySumHandler,
    PythonSumSquaresHandler,
)
from tadween_core.task_queue import BaseTaskQueue, init_queue
from tadween_core.workflow.workflow import Workflow

HANDLERS = {"native": PythonSumSquaresHandler, "numpy": NumpySumHandler}


class LastStage(MockDownloadHandler):
    """The upload stage, which records when each of its tasks was done."""

    def __init__(self) -> None:
        super().__init__()
        self.done_s: list[float] = []

    def run(self, inputs: MockDownloadInput) -> MockDownloadOutput:
        """Do the upload."""
        result = super().run(inputs)
        self.done_s.append(time.perf_counter())
        return result


def cpu_bound_queue(parameters: dict[str, Any]) -> BaseTaskQueue:
    """Make the queue of the stage that varies."""
    settings = {"max_workers": parameters["workers"], "name": "cpu_bound"}
    if parameters["executor"] == "process":
        # Without a context this version starts every process by spawn.
        settings["mp_context"] = multiprocessing.get_context(parameters["start_method"])
    return init_queue(executor=parameters["executor"], **settings)


def main() -> None:
    """Build and run the workflow; print the time from first submission to last result."""
    parameters = json.loads(sys.argv[1])
    transfer = {"file_size_mb": parameters["file_size_mb"]}
    upload = LastStage()
    workflow = Workflow(broker=InMemoryBroker(), name="published")
    workflow.add_stage(
        "download",
        MockDownloadHandler(),
        task_queue=init_queue(executor="thread", name="download", max_workers=5),
        payload_extractor=lambda _result: {"n_elements": parameters["elements"]},
    )
    workflow.add_stage(
        "cpu_bound",
        HANDLERS[parameters["logic"]](),
        task_queue=cpu_bound_queue(parameters),
        payload_extractor=lambda _result: transfer,
    )
    workflow.add_stage(
        "upload",
        upload,
        task_queue=init_queue(executor="thread", name="upload", max_workers=5),
    )
    workflow.link("download", "cpu_bound").link("cpu_bound", "upload")
    workflow.set_entry_point("download")
    workflow.build()
    started = time.perf_counter()
    for _ in range(parameters["tasks"]):
        workflow.submit(transfer)
    workflow.wait_for_completion()
    if len(upload.done_s) != parameters["tasks"]:
        sys.exit(f"only {len(upload.done_s)} of {parameters['tasks']} tasks were done")
    print(max(upload.done_s) - started)


if __name__ == "__main__":
    main()
