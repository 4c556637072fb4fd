"""Make thumbnails of generated pictures, with threads or with processes.

    python examples/thumbnails/make_thumbnails.py --executor process --start-method fork --workers 2

    read --pixels--> resize --small pixels--> write

Which of them is quickest is a question for the study beside this file (study.yaml): one run tells
little.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stagebench import ListSink, Stage, StagebenchError, Workflow
from thumbnail_steps import read, resize, write


def make_workflow(options: argparse.Namespace, sink: ListSink) -> Workflow:
    """Describe the pipeline: its stages, who serves them, and how pixels get on."""
    pool = {
        "executor": options.executor,
        "start_method": options.start_method,
        "workers": options.workers,
        "transport": options.transport,
    }
    pictures = {"folder": str(options.folder / "pictures"), "width": options.width}
    output = {"folder": str(options.folder / "thumbnails")}
    stages = [
        Stage(name="read", handler=read, parameters=pictures, **pool),
        # Of decoded pictures few fit into memory: reading waits where four are not resized yet.
        Stage(name="resize", handler=resize, after=("read",), queue_size=4, **pool),
        Stage(
            name="write",
            handler=write,
            parameters=output,
            after=("resize",),
            executor="thread",
            workers=1,
        ),
    ]
    return Workflow(stages, sink)


def print_summary(sink: ListSink) -> None:
    """Print the makespan, and how long tasks waited and were served in each stage."""
    # Imported here and not above: spawned workers import this file again, and need no pandas.
    import pandas as pd

    tasks = pd.DataFrame(sink.tasks).sort_values(["task", "received_ns"])
    tasks["waiting_ms"] = (tasks["started_ns"] - tasks["submitted_ns"]) / 1e6
    tasks["service_ms"] = (tasks["finished_ns"] - tasks["started_ns"]) / 1e6
    makespan_s = (tasks["received_ns"].max() - tasks["submitted_ns"].min()) / 1e9
    print(f"makespan {makespan_s:.2f} s; in the median a task waits and is served in each stage:\n")
    stages = tasks.groupby("stage", sort=False)
    table = stages[["waiting_ms", "service_ms"]].median().round(1)
    table.insert(0, "ok", stages["status"].agg(lambda status: (status == "ok").sum()))
    print(table.reset_index().to_string(index=False))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executor", default="thread", choices=["thread", "process"])
    parser.add_argument("--start-method", choices=["fork", "forkserver", "spawn"])
    parser.add_argument("--workers", type=int, default=2, help="of reading and resizing, each")
    parser.add_argument("--transport", default="pickle", help="or shared_memory, or path")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--width", type=int, default=1600, help="longer side of a picture")
    parser.add_argument("--folder", type=Path, default=Path("results/thumbnails"))
    return parser.parse_args()


def main() -> None:
    """Make all thumbnails and say where they are."""
    options = parse_options()
    sink = ListSink()
    tasks = [{"read": {"number": n}, "write": {"number": n}} for n in range(options.pictures)]
    try:
        with make_workflow(options, sink) as workflow:
            workflow.run(tasks)
    except StagebenchError as error:
        raise SystemExit(str(error)) from None
    failed = [record for record in sink.tasks if record.error]
    if failed:
        raise SystemExit(f"{len(failed)} failed; the first:\n{failed[0].error}")
    print_summary(sink)
    print(f"\n{len(tasks)} thumbnails in {options.folder / 'thumbnails'}")


if __name__ == "__main__":
    main()
