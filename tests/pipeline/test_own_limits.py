"""What a pipeline says of its own limits, where they are known."""

import pytest

from stagebench import EventRecord, Pipeline, TaskRecord
from stagebench.pipeline.own_limits import describe_passage
from stagebench.pipeline.passage import CallerTimes, KeptRecords

MS = 1_000_000


def quick(item):
    return item


def rest(item):
    return item


def kept(*tasks):
    """Return records of tasks, each given as stage, task, start, end and CPU time in ms."""
    records = KeptRecords(1000)
    records.event(EventRecord(event="workflow_started", stage="", time_ns=0, detail=""))
    for stage, task, began, ended, cpu in tasks:
        records.task(
            TaskRecord(
                task=task,
                stage=stage,
                attempt=1,
                status="ok",
                due_ns=1,
                submitted_ns=1,
                started_ns=began * MS + 1,
                finished_ns=ended * MS + 1,
                received_ns=ended * MS + 1,
                cpu_ns=cpu * MS,
                pid=1,
                thread_id=1,
                error=None,
            )
        )
    return records


def times_of(items, *, reading_s=0.0, away_s=0.0):
    times = CallerTimes()
    times.items, times.reading_s, times.away_s = items, reading_s, away_s
    return times


IN_TURN = [("quick", task, 10 * task, 10 * task + 10, 0) for task in range(10)]
SPINNING = [("quick", task, 40 * (task // 4), 40 * (task // 4) + 40, 10) for task in range(8)]
IN_TWO = [("quick", 0, 0, 50, 0), ("rest", 0, 50, 100, 0)]
IDLE = [("quick", task, 20 * task, 20 * task + 5, 0) for task in range(6)]


@pytest.mark.parametrize(
    ("pipe", "tasks", "times", "text"),
    [
        (
            Pipeline().threads(quick),
            IN_TURN,
            {},
            "Limited by the only worker of quick: at",
        ),
        (Pipeline().threads(quick, workers=4), SPINNING, {}, "Limited by the GIL, if threads hold"),
        (Pipeline().threads(quick).threads(rest), IN_TWO, {}, "Limited by the path of one item"),
        (Pipeline().threads(quick), IDLE, {"reading_s": 0.1}, "Limited by reading items: at least"),
        (Pipeline().threads(quick), IDLE, {"away_s": 0.1}, "Limited by the loop over the results"),
        (
            Pipeline().threads(quick),
            IDLE,
            {},
            "Nothing is full: the only worker of quick would allow 30 ms of 105 ms.",
        ),
    ],
)
def test_the_limit_is_named(pipe, tasks, times, text):
    own = times_of(len({task for _, task, *_ in tasks}), **times)
    assert text in describe_passage(pipe.stages, kept(*tasks), own)


def report_of(pipe, items):
    with pipe:
        list(pipe.map(items))
        return pipe.report()


def test_a_report_shows_each_function_in_eighty_columns():
    pipe = (
        Pipeline()
        .threads(quick, workers=2)
        .processes(rest, start_method="fork", name="a_very_long_name_of_a_function")
    )
    lines = report_of(pipe, range(10)).splitlines()
    assert lines[0].startswith("10 items in ")
    assert [line.split()[0] for line in lines[2:5]] == ["function", "quick", "a_very_long_name_…"]
    assert max(map(len, lines)) <= 80


def test_a_report_is_of_the_last_map_and_says_how_much_of_it():
    with Pipeline(records=10).threads(quick) as pipe:
        list(pipe.map(range(30)))
        assert pipe.report().startswith("The last 10 items in ")
        list(pipe.map(range(5)))
        assert pipe.report().startswith("5 items in ")
    with Pipeline().threads(quick) as pipe:
        assert "Nothing was served" in pipe.report()
