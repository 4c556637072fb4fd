from stagebench.design.flow import format_stages, format_tasks

STAGE = {"name": "a", "handler": "steps:f", "executor": "asyncio"}


def test_a_file_of_tasks_is_named():
    tasks = {"file": "sizes.csv", "number": 20_000}

    assert format_tasks([{"tasks": tasks}]) == ["20,000 of sizes.csv", "at once"]


def test_what_differs_between_treatments_is_told_once_each():
    assert format_tasks([{"tasks": 1}, {"tasks": [{}, {}]}, {"tasks": 1}]) == ["1 or 2", "at once"]


def test_a_stage_without_limits_is_its_handler_and_executor():
    assert list(format_stages([{"stages": [STAGE]}])) == [("a", ["steps:f on asyncio"])]


def test_every_limit_has_its_words():
    limits = {
        "transport": "path",
        "queue_size": 3,
        "timeout_s": 90.0,
        "retries": 1,
        "retry_on": ["lost", "timed_out"],
    }

    ((_, words),) = format_stages([{"stages": [STAGE | limits]}])

    assert words == [
        "steps:f on asyncio",
        "by path",
        "queue of 3",
        "time-out 90 s",
        "1 retries",
        "tried again after lost/timed_out",
    ]
