"""Count the words of generated, compressed texts, with threads or with processes.

    python examples/word_counts/count_words.py --executor process --start-method fork --workers 1

    decompress_north --text--> tokenise_north --counts--+
                                                        +--> merge
    decompress_south --text--> tokenise_south --counts--+

Which of them is quickest is a question for the study beside this file (study.yaml): one run tells
little.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from stagebench import ListSink, Stage, StagebenchError, Workflow
from text_steps import FORMATS, decompress, merge, tokenise

TOP = 5


def make_workflow(options: argparse.Namespace, sink: ListSink) -> Workflow:
    """Describe the pipeline: a branch for each office, and the stage in which they meet."""
    merging = Stage(
        name="merge",
        handler=merge,
        after=tuple(f"tokenise_{office}" for office in FORMATS),
        executor="thread",
        workers=1,
        retain=True,
    )
    branches = [stage for office in FORMATS for stage in describe_branch(office, options)]
    return Workflow([*branches, merging], sink)


def describe_branch(office: str, options: argparse.Namespace) -> list[Stage]:
    """Describe what the texts of one office go through."""
    decompressing = Stage(
        name=f"decompress_{office}",
        handler=decompress,
        parameters={
            "office": office,
            "folder": str(options.folder / "texts"),
            "words": options.words,
        },
        executor="thread",
        workers=1,
    )
    tokenising = Stage(
        name=f"tokenise_{office}",
        handler=tokenise,
        after=(decompressing.name,),
        executor=options.executor,
        start_method=options.start_method,
        workers=options.workers,
        # Texts are large when they are unpacked: no more than four wait.
        queue_size=4,
    )
    return [decompressing, tokenising]


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


def save_counts(counts: Counter[str], path: Path) -> None:
    """Write the counts as CSV, the most frequent word first."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("word", "count"), *counts.most_common()])


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executor", default="thread", choices=["thread", "process"])
    parser.add_argument("--start-method", choices=["fork", "forkserver", "spawn"])
    parser.add_argument("--workers", type=int, default=1, help="of each tokenising stage")
    parser.add_argument("--days", type=int, default=16)
    parser.add_argument("--words", type=int, default=120_000, help="of a text")
    parser.add_argument("--folder", type=Path, default=Path("results/word_counts"))
    return parser.parse_args()


def main() -> None:
    """Count all words and say where the counts are."""
    options = parse_options()
    sink = ListSink()
    branches = [f"decompress_{office}" for office in FORMATS]
    tasks = [{branch: {"day": day} for branch in branches} for day in range(options.days)]
    try:
        with make_workflow(options, sink) as workflow:
            workflow.run(tasks)
            counts = sum(workflow.results("merge").values(), Counter[str]())
    except StagebenchError as error:
        raise SystemExit(str(error)) from None
    failed = [record for record in sink.tasks if record.error]
    if failed:
        raise SystemExit(f"{len(failed)} failed; the first:\n{failed[0].error}")
    print_summary(sink)
    path = options.folder / "counts.csv"
    save_counts(counts, path)
    frequent = ", ".join(f"{word} {count}" for word, count in counts.most_common(TOP))
    print(f"\n{counts.total()} words: {frequent} …\nall in {path}")


if __name__ == "__main__":
    main()
