"""Changes as people ask for them: each key, what factors set, and what is not allowed."""

from dataclasses import replace

import pytest
from tests.made_runs import even_run, measured_run, served, stage_run

from stagebench.errors import ModelError
from stagebench.model.predict import describe_run, predict, speed_up
from stagebench.model.whatif import EXECUTORS, find_limits_of_knowledge, parse_changes

FORK = {"executor": "process", "start_method": "fork"}
SPAWN = {"executor": "process", "start_method": "spawn"}


def two_stages(treatment="t1", tasks=3, work=None, save=None, **others):
    """Make a run of two stages of threads, with changes of each."""
    first = [served(n, float(n), n + 1.0, due_s=0.0) for n in range(tasks)]
    second = [served(n, n + 1.0, n + 2.0) for n in range(tasks)]
    stages = (
        stage_run("work", first, **(work or {})),
        stage_run("save", second, after=(0,), **(save or {})),
    )
    return measured_run(*stages, treatment=treatment, **others)


def parse(*texts, runs=None, factors=None):
    runs = runs or [two_stages()]
    return parse_changes(texts, runs, factors or {run.treatment: {} for run in runs})


def change(*texts, runs=None, factors=None, of=0):
    """Return the scenario of one of the runs after changes."""
    runs = runs or [two_stages()]
    scenario = describe_run(runs[of])
    for each in parse(*texts, runs=runs, factors=factors):
        scenario = each.apply(scenario)
    return scenario


def error_of(*texts, **others):
    with pytest.raises(ModelError) as error:
        parse(*texts, **others)
    return str(error.value)


# Each key of a stage.


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("work.workers=8", "conditions.workers", 8),
        ("work.executor=thread", "conditions.executor", "thread"),
        ("work.executor=asyncio", "conditions.executor", "asyncio"),
        ("work.queue_size=3", "queue_size", 3),
        ("work.batch=4", "batch", 4),
        ("work.speed=2.5", "speed", 2.5),
    ],
)
def test_a_key_sets_one_thing_of_its_stage_alone(text, place, expected):
    before, after = describe_run(two_stages()), change(text)
    value = after.stages[0]
    for name in place.split("."):
        value = getattr(value, name)
    assert value == expected
    assert after.stages[1:] == before.stages[1:]
    assert after.arrivals == before.arrivals


def test_processes_are_forked_unless_a_start_method_was_there():
    assert change("work.executor=process").stages[0].conditions[2:4] == ("process", "fork")
    run = two_stages(work=SPAWN)
    kept = change("work.executor=process", runs=[run])
    assert kept.stages[0].conditions[2:4] == ("process", "spawn")
    assert change("work.executor=thread", runs=[run]).stages[0].conditions[2:4] == ("thread", None)


def test_a_start_method_is_of_processes_alone():
    assert change("work.start_method=spawn") == describe_run(two_stages())
    found = change("work.start_method=forkserver", runs=[two_stages(work=FORK)])
    assert found.stages[0].conditions.start_method == "forkserver"
    found = change("work.executor=process", "work.start_method=spawn")
    assert found.stages[0].conditions[2:4] == ("process", "spawn")


def test_a_bound_can_be_taken_away():
    run = two_stages(save={"queue_size": 2})
    assert change("save.queue_size=none", runs=[run]).stages[1].queue_size is None


def test_speeds_are_multiplied():
    assert change("work.speed=2", "work.speed=3").stages[0].speed == 6.0


# What concerns the whole workflow.


def test_names_without_a_stage_concern_the_workflow_or_the_machine():
    found = change("cores=8", "gil=off", "in_flight=2")
    assert (found.cores, found.has_gil, found.in_flight) == (8, False, 2)
    assert change("gil=on").has_gil
    assert change("in_flight=none", runs=[two_stages(in_flight=2)]).in_flight is None


def test_more_tasks_come_as_far_apart_as_those_measured():
    assert change("tasks=5").arrivals == [0.0] * 5
    assert change("tasks=2").arrivals == [0.0] * 2
    run = two_stages(due_s={0: 0.0, 1: 1.0, 2: 4.0})
    assert change("tasks=5", runs=[run]).arrivals == [0.0, 1.0, 4.0, 6.0, 8.0]
    assert change("tasks=2", runs=[run]).arrivals == [0.0, 1.0]
    assert change("tasks=2", runs=[two_stages(tasks=1)]).arrivals == [0.0, 0.0]


def test_changes_have_their_text():
    assert [each.text for each in parse("cores=8", "work.workers=2")] == [
        "cores=8",
        "work.workers=2",
    ]
    assert parse() == []


# What factors set.


def grid(factor, levels, make):
    """Return runs of a treatment for each level, and their factors."""
    runs = [make(level, f"t-{level}") for level in levels]
    return {
        "runs": runs,
        "factors": {f"t-{level}": {factor: level} for level in levels},
    }


def test_a_factor_sets_what_follows_its_levels_in_every_treatment():
    study = grid("size", [1, 2], lambda n, name: two_stages(name, work={"workers": n}))
    found = change("size=8", **study)
    assert [stage.conditions.workers for stage in found.stages] == [8, 1]


def test_a_factor_may_set_several_stages():
    study = grid(
        "workers",
        [1, 2],
        lambda n, name: two_stages(name, work={"workers": n}, save={"workers": n}),
    )
    assert [stage.conditions.workers for stage in change("workers=3", **study).stages] == [3, 3]


def test_a_factor_may_set_executors_start_methods_queues_and_batches():
    study = grid("kind", ["thread", "process"], lambda kind, name: two_stages(
        name, work={"executor": kind, "start_method": None if kind == "thread" else "spawn"}
    ))  # fmt: skip
    assert change("kind=process", **study).stages[0].conditions[2:4] == ("process", "fork")
    study = grid("how", ["fork", "spawn"], lambda how, name: two_stages(
        name, save={"executor": "process", "start_method": how}
    ))  # fmt: skip
    assert change("how=forkserver", **study).stages[1].conditions.start_method == "forkserver"
    study = grid("bound", [None, 2], lambda n, name: two_stages(name, save={"queue_size": n}))
    assert change("bound=5", **study).stages[1].queue_size == 5
    assert change("bound=none", of=1, **study).stages[1].queue_size is None
    study = grid("together", [1, 4], lambda n, name: two_stages(name, work={"batch": n}))
    assert change("together=2", **study).stages[0].batch == 2


def test_treatments_to_which_a_factor_does_not_apply_say_nothing_of_it():
    runs = [
        two_stages("thread"),
        two_stages("fork", work=FORK),
        two_stages("spawn", work=SPAWN),
    ]
    factors = {
        "thread": {"executor": "thread"},
        "fork": {"executor": "process", "start_method": "fork"},
        "spawn": {"executor": "process", "start_method": "spawn"},
    }
    study = {"runs": runs, "factors": factors}
    assert change("start_method=forkserver", of=1, **study).stages[0].conditions[2:4] == (
        "process",
        "forkserver",
    )
    assert change("start_method=forkserver", **study) == describe_run(runs[0])


def sums(level, name, parameters="{}"):
    return two_stages(name, work={"handler": f"sum_{level}", "parameters": parameters})


def test_a_factor_may_be_a_part_of_the_name_of_a_handler():
    study = grid("code", ["native", "numpy"], sums)
    found = change("code=numpy", **study)
    assert found.stages[0].conditions.handler == "sum_numpy"
    assert found.stages[1].conditions.handler == "wait"
    assert predict(found, study["runs"], 0.0) == [4.0]


def test_a_factor_may_be_the_name_of_a_handler():
    study = grid(
        "handler", ["resize", "crop"], lambda name, key: two_stages(key, work={"handler": name})
    )
    assert change("handler=crop", **study).stages[0].conditions.handler == "crop"


def test_a_level_that_has_another_one_in_it_is_replaced_as_a_whole():
    study = grid("code", ["numpy", "numpy_fast", "native"], sums)
    assert change("code=native", of=1, **study).stages[0].conditions.handler == "sum_native"
    assert change("code=numpy", of=1, **study).stages[0].conditions.handler == "sum_numpy"
    assert change("code=numpy_fast", of=1, **study) == describe_run(study["runs"][1])


def test_another_handler_keeps_its_parameters_if_it_was_measured_with_them():
    runs, factors = [], {}
    for size in (1, 5):
        for code in ("native", "numpy"):
            name = f"{code}-{size}"
            runs.append(sums(code, name, f'{{"elements":{size}}}'))
            factors[name] = {"code": code, "size": size}
    found = change("code=numpy", runs=runs, factors=factors, of=2)
    assert found.stages[0].conditions[:2] == ("sum_numpy", '{"elements":5}')


def test_another_handler_has_the_parameters_with_which_it_was_measured():
    runs = [sums("native", "t-native", '{"elements":5}'), sums("numpy", "t-numpy", '{"size":5}')]
    factors = {"t-native": {"code": "native"}, "t-numpy": {"code": "numpy"}}
    found = change("code=numpy", runs=runs, factors=factors)
    assert found.stages[0].conditions[:2] == ("sum_numpy", '{"size":5}')


# What is not allowed.

KEYS = "workers, executor, start_method, queue_size, batch, speed"
OF_STAGES = ", ".join(f"STAGE.{key}" for key in KEYS.split(", "))
MEANT_THREAD = "; did you mean 'thread'?"
WHOLE_NUMBERS = ("work.workers", "work.queue_size", "work.batch", "cores", "in_flight", "tasks")
WIDE_DIGIT = "\N{FULLWIDTH DIGIT TWO}"


@pytest.mark.parametrize("text", ["", "workers", "workers=", "=", "work.workers"])
def test_a_change_has_a_name_and_a_value(text):
    assert error_of(text) == (
        f"--set {text!r} is not allowed; allowed: NAME=VALUE, such as workers=8"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrk.workers=2", "stage 'wrk' is not allowed; allowed: work, save; did you mean 'work'?"),
        (
            "work.worker=2",
            f"key 'worker' is not allowed; allowed: {KEYS}; did you mean 'workers'?",
        ),
        ("work.=2", f"key '' is not allowed; allowed: {KEYS}"),
        (
            "work.executor=threads",
            "executor 'threads' is not allowed; allowed: " + ", ".join(EXECUTORS) + MEANT_THREAD,
        ),
        (
            "work.start_method=clone",
            "start method 'clone' is not allowed; allowed: fork, forkserver, spawn",
        ),
        ("gil=maybe", "value 'maybe' is not allowed; allowed: on, off"),
        (
            "size=2",
            f"factor 'size' is not allowed; allowed: cores, gil, in_flight, tasks, {OF_STAGES}",
        ),
    ],
)
def test_what_is_not_known_is_named_with_all_that_is_and_the_closest(text, message):
    assert error_of(text) == f"--set {text!r}: {message}"


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "100001", "1" * 40, WIDE_DIGIT])
@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_numbers_are_whole_and_not_too_large(name, value):
    assert error_of(f"{name}={value}") == (
        f"--set '{name}={value}' is not allowed; allowed: a whole number from 1 to 100,000"
    )


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "fast", "1001"])
def test_a_speed_is_a_number_within_reason(value):
    assert error_of(f"work.speed={value}") == (
        f"--set 'work.speed={value}' is not allowed; allowed: a number from 0.001 to 1000"
    )


def test_a_factor_that_sets_nothing_known_is_an_error():
    study = grid("colour", ["red", "blue"], lambda _, name: two_stages(name))
    assert error_of("colour=red", **study) == (
        "--set 'colour=red': the factor 'colour' sets nothing that the model knows; allowed:"
        " factors that set workers, executor, start_method, queue_size, batch, speed of a stage,"
        " or its handler"
    )


def test_a_factor_of_one_level_sets_nothing_that_could_be_found():
    study = grid("workers", [1], lambda n, name: two_stages(name, work={"workers": n}))
    assert "sets nothing that the model knows" in error_of("workers=2", **study)


def test_levels_are_checked_at_once():
    study = grid("workers", [1, 2], lambda n, name: two_stages(name, work={"workers": n}))
    assert error_of("workers=none", **study) == (
        "--set 'workers=none' is not allowed; allowed: a whole number from 1 to 100,000"
    )
    study = grid("code", ["native", "numpy"], sums)
    assert error_of("code=nunpy", **study) == (
        "--set 'code=nunpy': level 'nunpy' is not allowed; allowed: native, numpy; did you mean"
        " 'numpy'?"
    )


def test_factors_come_first_among_the_names_that_are_allowed():
    study = grid("workers", [1, 2], lambda n, name: two_stages(name, work={"workers": n}))
    assert "allowed: workers, cores, gil" in error_of("wokers=2", **study)
    assert error_of("wokers=2", **study).endswith("; did you mean 'workers'?")


# What was not measured.


def beyond(after, *runs, of=0):
    return find_limits_of_knowledge(after, describe_run(runs[of]), runs)


def test_what_was_measured_is_not_beyond():
    runs = [two_stages(), two_stages("t2", work={"workers": 2})]
    assert beyond(describe_run(runs[1]), *runs) == []
    assert beyond(change("work.workers=4", runs=runs), *runs) == []


def test_what_was_never_measured_is_named():
    run = two_stages()
    assert beyond(change("cores=8"), run) == ["measured on 2 cores alone"]
    assert beyond(change("gil=off"), run) == ["no run without a GIL"]
    assert beyond(change("work.workers=3"), run) == ["work had at most 1 such workers"]
    assert beyond(change("work.executor=process"), run) == ["work never ran with process fork"]
    assert beyond(change("work.speed=2"), run) == ["another speed of work was not measured"]
    assert beyond(change("save.queue_size=1"), run) == ["this queue of save was not measured"]
    assert beyond(change("save.batch=2"), run) == ["this batch of save was not measured"]
    assert beyond(speed_up(describe_run(run), "save", 0.5), run) == [
        "another speed of save was not measured"
    ]


def test_cores_that_some_treatment_had_were_measured():
    runs = [two_stages(), two_stages("pinned", cores=1)]
    assert beyond(describe_run(runs[1]), *runs, of=1) == []
    assert beyond(change("cores=4", runs=runs), *runs) == ["measured on 1 and 2 cores alone"]


def test_a_machine_without_a_gil_is_no_news_to_runs_without_one():
    run = even_run(has_gil=False)
    assert beyond(describe_run(run), run) == []


def test_a_study_with_an_interpreter_without_the_gil_has_measured_that():
    scenario = replace(describe_run(even_run()), has_gil=False)
    runs = [even_run(), even_run(treatment="t2", python="other", has_gil=False)]
    assert find_limits_of_knowledge(scenario, scenario, runs) == []
    assert find_limits_of_knowledge(scenario, scenario, runs[:1]) == ["no run without a GIL"]
