import pytest

from stagebench.design.grid import expand_treatments
from stagebench.design.parameters import UPSTREAM
from stagebench.runner import stage as runner
from stagebench.store import canonical_json

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"
KEYS = ("transport", "queue_size", "timeout_s", "retries", "retry_on")


@pytest.fixture
def limit(make_study):
    """Give a stage's limits in the specification of one treatment."""

    def make(changes, treatment="t1"):
        treatments = {t.id: t.specification for t in expand_treatments(make_study(changes))}
        stage = treatments[treatment]["stages"][1]
        return {key: stage[key] for key in KEYS if key in stage}

    return make


def test_the_parameter_that_takes_results_is_named_as_in_the_runner():
    assert UPSTREAM == runner.UPSTREAM


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({f"{STAGE}.{key}": None for key in KEYS}, {}),
        ({f"{STAGE}.transport": "pickle", f"{STAGE}.retries": 0}, {}),
        ({f"{STAGE}.transport": "path"}, {"transport": "path"}),
        (
            {f"{STAGE}.queue_size": 2, f"{STAGE}.timeout_s": 3},
            {"queue_size": 2, "timeout_s": 3.0},
        ),
        (
            {f"{STAGE}.retries": 2, f"{STAGE}.retry_on": ["timed_out", "lost", "failed"]},
            {"retries": 2},
        ),
        (
            {f"{STAGE}.retries": 2, f"{STAGE}.retry_on": ["timed_out", "failed"]},
            {"retries": 2, "retry_on": ["failed", "timed_out"]},
        ),
    ],
)
def test_what_is_not_set_is_absent_however_it_is_written(limit, changes, expected):
    assert limit(changes) == expected


def test_all_of_them_may_be_factors_with_levels_that_set_nothing(limit):
    levels = {
        "transport": [None, "shared_memory"],
        "queue_size": [None, 4],
        "timeout_s": [None, 1],
        "retries": [None, 3],
        "retry_on": [None, ["lost"]],
    }
    changes = {f"{STAGE}.{key}": f"{{{key}}}" for key in KEYS}
    changes |= {f"{RUNTIME}.factors.{key}": levels[key] for key in KEYS}
    changes |= {f"{RUNTIME}.baseline.{key}": None for key in KEYS}
    tags = "transport-{}-queue_size-{}-timeout_s-{}-retries-{}-retry_on-{}"

    unset = "t1-" + tags.format(*["unset"] * 5)
    assert limit(changes, unset) == {}
    whole = "t1-" + tags.format("shared_memory", 4, 1, 3, "lost")
    assert limit(changes, whole) == {
        "transport": "shared_memory",
        "queue_size": 4,
        "timeout_s": 1.0,
        "retries": 3,
        "retry_on": ["lost"],
    }
    idle = "t1-" + tags.format("unset", "unset", "unset", "unset", "lost")
    assert limit(changes, idle) == {}


@pytest.mark.parametrize("in_flight", [None, 3])
def test_a_limit_of_tasks_in_flight_is_absent_where_it_is_not_set(make_study, in_flight):
    study = make_study({f"{RUNTIME}.in_flight": in_flight})
    specification = expand_treatments(study)[0].specification

    assert specification.get("in_flight") == in_flight
    assert ("in_flight" in canonical_json(specification)) == (in_flight is not None)


# A key of a stage and its value; and the one problem that is told of it.
BAD = {
    "an unknown transport": (
        {"transport": "pickel"},
        'transport: "pickel" is not allowed; allowed: pickle, shared_memory, path, or null for the',
    ),
    "a queue without a place": (
        {"queue_size": 0},
        "queue_size: 0 is not allowed; allowed: a whole number from 1 to 100000, or null for",
    ),
    "a time-out of nothing": (
        {"timeout_s": 0},
        "timeout_s: 0 is not allowed; allowed: seconds from 0.001 to 604800 (a week), or null",
    ),
    "a share of a retry": (
        {"retries": 0.5},
        "retries: 0.5 is not allowed; allowed: a whole number from 0 to 100, or null for none",
    ),
    "an unknown cause of retries": (
        {"retries": 1, "retry_on": ["lots"]},
        'retry_on[0]: "lots" is not allowed; allowed: failed, timed_out, lost; did you mean',
    ),
    "no cause of retries": (
        {"retries": 1, "retry_on": []},
        "retry_on: [] is not allowed; allowed: a list of at least one of failed, timed_out, lost,",
    ),
    "causes without retries": (
        {"retry_on": ["lost"]},
        'retry_on: ["lost"] changes nothing without retries; allowed: no such key, or retries',
    ),
    "a start method of coroutines": (
        {"handler": "wait_async", "executor": "asyncio", "start_method": "fork", "parameters": {}},
        'start_method: "fork" is not allowed on an asyncio stage; allowed: no such key',
    ),
}


@pytest.mark.parametrize(("keys", "text"), BAD.values(), ids=BAD)
def test_a_wrong_limit_is_told_once(find_problems, keys, text):
    first = "workflows.0.stages.0"
    if "parameters" in keys:
        keys = {**keys, "parameters": {"delay_s": 0}}
    (problem,) = find_problems({f"{first}.{key}": value for key, value in keys.items()})

    assert problem.startswith(f"workflows[0].stages[0].{text}")


def test_a_wrong_limit_of_tasks_in_flight_is_told(find_problems):
    (problem,) = find_problems({f"{RUNTIME}.in_flight": 0})

    assert problem.startswith("experiments[0].in_flight: 0 is not allowed; allowed: a whole number")
