"""Checks of stages, arrivals and limits."""

import pytest

from stagebench.design.annotations import UPSTREAM
from stagebench.design.stage_checks import NEEDS
from stagebench.runner import stage as runner
from stagebench.runner.stage import ARRIVALS, Arrival
from stagebench.store import canonical_json

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# The changes, and the one problem that is reported.
BAD = {
    "an unknown handler": (
        {"workflows.0.stages.0.handler": "downlaod"},
        (
            "workflows[0].stages[0].handler: unknown handler 'downlaod'; did you mean 'download'?;"
            " allowed: checksum, download, flaky, matrix_product, payload, shared_counter,"
            " shared_table, sum_squares_native, sum_squares_numpy, wait, wait_async, or"
            " module:function"
        ),
    ),
    "an unknown parameter": (
        {"workflows.0.stages.0.parameters.latency": 3},
        (
            "workflows[0].stages[0].parameters.latency: unknown parameter 'latency'; did you mean"
            " 'latency_ms'?; allowed: file_size_mb,"
        ),
    ),
    "a parameter of the wrong type": (
        {"workflows.0.stages.0.parameters.latency_ms": "3"},
        'workflows[0].stages[0].parameters.latency_ms: "3" is not allowed; allowed: a number >= 0',
    ),
    "a bool for a number": (
        {"workflows.0.stages.0.parameters.latency_ms": True},
        "workflows[0].stages[0].parameters.latency_ms: true is not allowed; allowed: a number >= 0",
    ),
    "a parameter out of bounds": (
        {"workflows.0.stages.0.parameters.cpu_overhead": 1.5},
        (
            "workflows[0].stages[0].parameters.cpu_overhead: 1.5 is not allowed; allowed: a number"
            " >= 0 and <= 1"
        ),
    ),
    "a start method for threads": (
        {"workflows.0.stages.0.start_method": "fork"},
        'workflows[0].stages[0].start_method: "fork" is not allowed on a thread stage; allowed: no',
    ),
    "a process without a start method": (
        {"workflows.0.stages.0.executor": "process"},
        "workflows[0].stages[0].start_method: missing on a process stage; allowed: fork,",
    ),
    "an unknown upstream stage": (
        {f"{STAGE}.after": ["downlod"]},
        "workflows[0].stages[1].after[0]: unknown stage 'downlod'; did you mean 'download'?",
    ),
    "a stage after itself": (
        {f"{STAGE}.after": ["cpu_bound"]},
        "workflows[0].stages[1].after[0]: stage 'cpu_bound' waits for itself",
    ),
    "cyclic stages": (
        {"workflows.0.stages.0.after": ["cpu_bound"]},
        "workflows[0].stages: stages wait for one another in a cycle: ",
    ),
    "a stage's name taken twice": (
        {f"{STAGE}.name": "download", f"{STAGE}.after": []},
        "workflows[0].stages[1].name: the name 'download' is taken",
    ),
    "tasks of an unknown stage": (
        {f"{RUNTIME}.tasks": [{"cpu": {}}]},
        "experiments[0].tasks[0].cpu: unknown stage 'cpu'; allowed: download, cpu_bound",
    ),
    "tasks with an unknown parameter": (
        {f"{RUNTIME}.tasks": [{"download": {"latency": 1}}]},
        "experiments[0].tasks[0].download.latency: unknown parameter 'latency'; did you mean",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_stage_is_reported_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


ARRIVAL = f"{RUNTIME}.arrival"


@pytest.fixture
def arrivals(make_study):
    """Return the arrival of each treatment of one thread, by id."""

    def make(changes):
        treatments = make_study(changes).treatments
        return {t.id: t.specification.get("arrival") for t in treatments if t.id.startswith("t1")}

    return make


def test_the_kinds_are_those_of_the_runner_and_it_takes_what_they_need():
    assert tuple(NEEDS) == ARRIVALS
    given = {"rate_per_s": 2.0, "seed": 1}
    for kind, needs in NEEDS.items():
        assert Arrival(kind=kind, **{name: given[name] for name in needs}).kind == kind


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        (None, None),
        ({"kind": "at_once"}, None),
        ({"kind": "at_once", "rate_per_s": None}, None),
        ({"kind": "fixed_rate", "rate_per_s": 2}, {"kind": "fixed_rate", "rate_per_s": 2.0}),
        (
            {"kind": "poisson", "rate_per_s": 0.5, "seed": 3},
            {"kind": "poisson", "rate_per_s": 0.5, "seed": 3},
        ),
    ],
)
def test_a_specification_has_what_the_kind_needs_and_nothing_for_tasks_at_once(
    arrivals, arrival, expected
):
    assert arrivals({ARRIVAL: arrival})["t1"] == expected


def test_one_mapping_serves_all_kinds_where_the_kind_is_a_factor(arrivals):
    found = arrivals(
        {
            ARRIVAL: {"kind": "{arrival}", "rate_per_s": 20, "seed": 1},
            f"{RUNTIME}.factors.arrival": list(ARRIVALS),
            f"{RUNTIME}.baseline.arrival": "at_once",
        }
    )

    assert found["t1-arrival-at_once"] is None
    assert found["t1-arrival-fixed_rate"] == {"kind": "fixed_rate", "rate_per_s": 20.0}
    assert found["t1-arrival-poisson"] == {"kind": "poisson", "rate_per_s": 20.0, "seed": 1}


# An arrival, and the one problem that is reported.
BAD_of_arrival = {
    "no kind": ({"rate_per_s": 1}, ".kind: missing; allowed: at_once, fixed_rate, poisson"),
    "an unknown kind": (
        {"kind": "poison", "rate_per_s": 1, "seed": 0},
        '.kind: "poison" is not allowed; allowed: at_once, fixed_rate, poisson; did you mean',
    ),
    "a kind alone": ("poisson", ': "poisson" is not allowed; allowed: a mapping of the keys kind,'),
    "no rate": (
        {"kind": "fixed_rate"},
        ".rate_per_s: missing for fixed_rate; allowed: tasks a second, above 0 and at most",
    ),
    "a rate of nothing": (
        {"kind": "fixed_rate", "rate_per_s": 0},
        ".rate_per_s: 0 is not allowed; allowed: tasks a second, above 0 and at most 1000000",
    ),
    "no seed": (
        {"kind": "poisson", "rate_per_s": 1, "seed": None},
        ".seed: missing for poisson; allowed: a whole number, 0 or more",
    ),
    "a seed for nothing": (
        {"kind": "fixed_rate", "rate_per_s": 1, "seed": 0},
        ".seed: 0 changes nothing for fixed_rate; allowed: no such key",
    ),
    "a rate for nothing": (
        {"kind": "at_once", "rate_per_s": 5},
        ".rate_per_s: 5 changes nothing for at_once; allowed: no such key",
    ),
}


@pytest.mark.parametrize(("arrival", "text"), BAD_of_arrival.values(), ids=BAD_of_arrival)
def test_a_wrong_arrival_is_reported_once(find_problems, arrival, text):
    (problem,) = find_problems({ARRIVAL: arrival})

    assert problem.startswith(f"experiments[0].arrival{text}")


def test_a_kind_that_lacks_something_in_some_treatments_names_them(find_problems):
    (problem,) = find_problems(
        {
            ARRIVAL: {"kind": "{arrival}"},
            f"{RUNTIME}.factors.arrival": ["at_once", "fixed_rate"],
            f"{RUNTIME}.baseline.arrival": "at_once",
        }
    )

    assert problem.startswith("experiments[0].arrival.rate_per_s: missing for fixed_rate;")
    assert "(in t1-arrival-fixed_rate, t1-numpy-arrival-fixed_rate, " in problem


KEYS = ("transport", "queue_size", "timeout_s", "retries", "retry_on", "batch", "prefetch")


@pytest.fixture
def limit(make_study):
    """Return the limits of a stage in the specification of one treatment."""

    def make(changes, treatment="t1"):
        treatments = {t.id: t.specification for t in make_study(changes).treatments}
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
        ({f"{STAGE}.batch": 1}, {}),
        ({f"{STAGE}.batch": 4}, {"batch": 4}),
        ({f"{STAGE}.prefetch": 0}, {}),
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
def test_settings_without_effect_are_absent_however_they_are_written(limit, changes, expected):
    assert limit(changes) == expected


def test_they_may_be_factors_with_levels_that_set_nothing(limit):
    levels = {
        "transport": [None, "shared_memory"],
        "queue_size": [None, 4],
        "timeout_s": [None, 1],
        "retries": [None, 3],
        "retry_on": [None, ["lost"]],
    }
    changes = {f"{STAGE}.{key}": f"{{{key}}}" for key in levels}
    changes |= {f"{RUNTIME}.factors.{key}": levels[key] for key in levels}
    changes |= {f"{RUNTIME}.baseline.{key}": None for key in levels}
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


def test_a_batch_may_be_a_factor(limit):
    changes = {
        f"{STAGE}.batch": "{batch}",
        f"{RUNTIME}.factors.batch": [1, 8],
        f"{RUNTIME}.baseline.batch": 1,
    }

    assert limit(changes, "t1-batch-1") == {}
    assert limit(changes, "t1-batch-8") == {"batch": 8}


@pytest.mark.parametrize("in_flight", [None, 3])
def test_a_limit_of_tasks_in_flight_is_absent_where_it_is_not_set(make_study, in_flight):
    study = make_study({f"{RUNTIME}.in_flight": in_flight})
    specification = study.treatments[0].specification

    assert specification.get("in_flight") == in_flight
    assert ("in_flight" in canonical_json(specification)) == (in_flight is not None)


# Keys of a stage, and the one problem that is reported.
BAD_of_limits = {
    "an unknown transport": (
        {"transport": "pickel"},
        'transport: "pickel" is not allowed; allowed: pickle, shared_memory, path, or null for the',
    ),
    "a queue without a place": (
        {"queue_size": 0},
        "queue_size: 0 is not allowed; allowed: a whole number from 1 to 100000, or null for",
    ),
    "a batch of nothing": (
        {"batch": 0},
        "batch: 0 is not allowed; allowed: a whole number from 1 to 100000, or null for the",
    ),
    "tasks sent ahead to threads": (
        {"executor": "thread", "prefetch": 2},
        "prefetch: 2 is not allowed on a stage without processes, which alone have their next task",
    ),
    "batches sent ahead": (
        {"executor": "process", "start_method": "fork", "prefetch": 2, "batch": 3},
        "prefetch: 2 is not allowed with a batch of 3; allowed: 0, or a batch of 1",
    ),
    "a batch of coroutines": (
        {"handler": "wait_async", "executor": "asyncio", "batch": 4, "parameters": {}},
        "batch: 4 is not allowed on an asyncio stage, whose coroutines take one task each",
    ),
    "a start method of subinterpreters": (
        {"executor": "interpreter", "start_method": "fork"},
        'start_method: "fork" is not allowed on an interpreter stage; allowed: no such key',
    ),
    "a time-out of subinterpreters": (
        {"executor": "interpreter", "timeout_s": 3},
        "timeout_s: 3 is not allowed on an interpreter stage, whose tasks cannot be ended",
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


@pytest.mark.parametrize(("keys", "text"), BAD_of_limits.values(), ids=BAD_of_limits)
def test_a_wrong_limit_is_reported_once(find_problems, keys, text):
    first = "workflows.0.stages.0"
    if "parameters" in keys:
        keys = {**keys, "parameters": {"delay_s": 0}}
    (problem,) = find_problems({f"{first}.{key}": value for key, value in keys.items()})

    assert problem.startswith(f"workflows[0].stages[0].{text}")


def test_a_wrong_limit_of_tasks_in_flight_is_reported(find_problems):
    (problem,) = find_problems({f"{RUNTIME}.in_flight": 0})

    assert problem.startswith("experiments[0].in_flight: 0 is not allowed; allowed: a whole number")
