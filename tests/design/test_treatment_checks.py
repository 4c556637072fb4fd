""""""

import pytest

from stagebench.design.specification import LONGEST

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# What is changed, to what; and the one problem that is told of it.
BAD = {
    "a baseline that is no treatment": (
        {f"{RUNTIME}.exclude": [{"workers": 1, "executor": "thread"}]},
        (
            'experiments[0].baseline: {workers: 1, executor: "thread", logic: "native"} is no'
            " treatment; closest is p1-fork (differs in executor)"
        ),
    ),
    "a baseline of several treatments": (
        {f"{RUNTIME}.baseline": {"executor": "thread", "logic": "native"}},
        (
            'experiments[0].baseline: {executor: "thread", logic: "native"}; 2 treatments match'
            " (t1, t2); allowed: levels that only one has"
        ),
    ),
    "no baseline": (
        {f"{RUNTIME}.baseline": {}},
        "experiments[0].baseline: missing; 12 treatments match (t1, t1-numpy, p1-fork and 9 more)",
    ),
    "a grid that excludes everything": (
        {f"{RUNTIME}.exclude": [{"workers": [1, 2]}]},
        "experiments[0].exclude: excludes every treatment; allowed: one has to be left",
    ),
    "an exclusion that matches nothing": (
        {f"{RUNTIME}.exclude": [{"executor": "thread", "start_method": "fork"}]},
        'experiments[0].exclude[0]: {executor: "thread", start_method: "fork"} matches no',
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_grid_is_told_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


ADDED = {"workers": 9, "executor": "thread", "logic": "native"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"workers": 9, "executor": "thread"}, "'logic' is missing; allowed: every factor that"),
        (
            {**ADDED, "start_method": "fork"},
            "'start_method' does not apply here; allowed: only factors that apply",
        ),
        (
            {**ADDED, "executor": "process"},
            "'start_method' is missing; allowed: every factor that applies",
        ),
        ({**ADDED, "workers": 1}, "this treatment is there already; allowed: others than those"),
    ],
)
def test_an_included_treatment_has_to_be_whole_and_new(find_problems, entry, message):
    (problem,) = find_problems({f"{RUNTIME}.include": [entry]})

    assert problem.startswith(f"experiments[0].include[0]: {message}")


def test_an_included_treatment_may_name_only_known_factors(find_problems):
    (problem,) = find_problems({f"{RUNTIME}.include": [{**ADDED, "logik": "x"}]})

    assert problem.startswith("experiments[0].include[0].logik: unknown factor 'logik'; did you")


def test_an_excluded_treatment_may_be_included_again(make_study):
    study = make_study(
        {
            f"{RUNTIME}.exclude": [{"executor": "thread"}],
            f"{RUNTIME}.include": [{**ADDED, "workers": 1}],
        }
    )

    assert len(study.experiments[0].include) == 1


def test_two_treatments_with_one_id_are_both_named(find_problems):
    (problem,) = find_problems(
        {
            f"{RUNTIME}.factors.logic.tags": {"native": "", "numpy": ""},
            f"{RUNTIME}.factors.workers": [1],
            f"{RUNTIME}.exclude": [{"executor": "process"}],
        }
    )

    assert problem == (
        "experiments[0].factors: several treatments get one id: t1; the first is that of {workers:"
        ' 1, executor: "thread", logic: "native"} and {workers: 1, executor: "thread", logic:'
        ' "numpy"}; allowed: an id for each, so give their levels tags'
    )


@pytest.mark.parametrize("level", ["Upper", "a/b", "../up", "x" * 101])
def test_a_level_that_is_no_word_of_a_path_needs_a_tag(find_problems, make_study, level):
    changes = {
        f"{RUNTIME}.factors.label": [level, "b"],
        f"{RUNTIME}.process": {"environment": {"LABEL": "{label}"}},
        f"{RUNTIME}.baseline.label": "b",
    }

    (problem,) = find_problems(changes)

    assert problem.startswith(
        "experiments[0].factors: treatment ids that cannot be a folder's name:"
    )
    assert problem.endswith("and 9 more; allowed: a-z, 0-9, _ and -, so give those levels tags")
    tagged = {"levels": [level, "b"], "tags": {level: "tag"}}
    assert make_study(changes | {f"{RUNTIME}.factors.label": tagged})


def test_a_huge_grid_is_refused_with_its_count(find_problems):
    (problem,) = find_problems(
        {
            f"{RUNTIME}.factors.n": list(range(1, 10_000)),
            f"{STAGE}.parameters.elements": "{n}",
            f"{RUNTIME}.baseline.n": 1,
        }
    )

    assert problem == (
        "experiments[0].factors: the levels make at least 119,988 treatments; allowed: 20,000,"
        " before anything is excluded"
    )


# What is changed, to what; and the one problem that some treatments have.
BAD_of_settings = {
    "no workers in some treatments": (
        {f"{RUNTIME}.factors.workers": [0, 1]},
        (
            "workflows[0].stages[1].workers: 0 is not allowed; allowed: a whole number from 1 to"
            " 1024"
            " (in t0, t0-numpy, p0-fork and 3 more)"
        ),
    ),
    "workers of another type": (
        {f"{RUNTIME}.factors.workers": [1, "2"]},
        (
            'workflows[0].stages[1].workers: "2" is not allowed; allowed: a whole number from 1 to'
            " 1024"
        ),
    ),
    "an unknown start method": (
        {f"{RUNTIME}.factors.start_method.levels": ["fork", "spwan"]},
        (
            'workflows[0].stages[1].start_method: "spwan" is not allowed; allowed: fork,'
            " forkserver, spawn (and no such key for other stages); did you mean 'spawn'? (in"
            " p1-spwan,"
        ),
    ),
    "an unknown executor": (
        {
            f"{RUNTIME}.factors.executor": ["thread", "proces"],
            f"{RUNTIME}.factors.start_method.when": {"executor": "proces"},
        },
        (
            'workflows[0].stages[1].executor: "proces" is not allowed; allowed: thread, process,'
            " asyncio; did you mean 'process'? (in "
        ),
    ),
    "an unknown handler": (
        {f"{RUNTIME}.factors.logic": ["native", "numpi"]},
        (
            "workflows[0].stages[1].handler: unknown handler 'sum_squares_numpi'; did you mean"
            " 'sum_squares_numpy'?; allowed: checksum, download, flaky, matrix_product, payload,"
            " sum_squares_native, sum_squares_numpy, wait, wait_async, or module:function (in "
        ),
    ),
    "a start method for threads": (
        {
            f"{RUNTIME}.factors.start_method": ["fork"],
            f"{RUNTIME}.baseline.start_method": "fork",
        },
        (
            'workflows[0].stages[1].start_method: "fork" is not allowed on a thread stage;'
            " allowed: no"
            " such key (in "
        ),
    ),
    "a process without a start method": (
        {f"{RUNTIME}.factors.start_method.when": {"executor": "process", "workers": 1}},
        (
            "workflows[0].stages[1].start_method: missing on a process stage; allowed: fork,"
            " forkserver,"
            " spawn (in "
        ),
    ),
    "a gap in a text": (
        {
            f"{RUNTIME}.factors.logic.when": {"executor": "thread"},
        },
        (
            "workflows[0].stages[1].handler: \"sum_squares_{logic}\": factor 'logic' does not"
            " apply, so"
            " the text has a gap (in "
        ),
    ),
    "a required key whose factor does not apply": (
        {
            f"{RUNTIME}.factors.workers": {"levels": [1, 2], "when": {"executor": "thread"}},
        },
        "workflows[0].stages[1].workers: missing; allowed: a whole number from 1 to 1024 (in ",
    ),
    "a parameter out of bounds": (
        {
            f"{RUNTIME}.factors.elements": [0, 5],
            f"{STAGE}.parameters.elements": "{elements}",
            f"{RUNTIME}.baseline.elements": 5,
        },
        (
            "workflows[0].stages[1].parameters.elements: 0 is not allowed; allowed: a whole number"
            " >= 1"
            " (in "
        ),
    ),
    "a bad interval": (
        {
            f"{RUNTIME}.factors.interval": [0, 0.5],
            f"{RUNTIME}.sampler": {"interval_s": "{interval}"},
            f"{RUNTIME}.baseline.interval": 0.5,
        },
        (
            "experiments[0].sampler.interval_s: 0 is not allowed; allowed: seconds from"
            " 0.001 to 3600 (in "
        ),
    ),
    "a bad number of tasks": (
        {
            f"{RUNTIME}.factors.tasks": [0, 1],
            f"{RUNTIME}.tasks": "{tasks}",
            f"{RUNTIME}.baseline.tasks": 1,
        },
        "experiments[0].tasks: 0 is not allowed; allowed: a whole number from 1 to 100000, or a",
    ),
    "a cycle in some treatments": (
        {
            f"{RUNTIME}.factors.first": ["download", "cpu_bound"],
            f"{STAGE}.after": ["{first}"],
            f"{RUNTIME}.baseline.first": "download",
        },
        (
            "workflows[0].stages[1].after[0]: stage 'cpu_bound' waits for itself; allowed: other"
            " stages"
            " (in "
        ),
    ),
    "a missing parameter": (
        {f"{STAGE}.parameters": {}},
        "workflows[0].stages[1].parameters.elements: missing; allowed: a whole number >= 1",
    ),
    "a parameter that one task lacks": (
        {
            f"{STAGE}.parameters": {},
            f"{RUNTIME}.tasks": [{"cpu_bound": {"elements": 1}}, {"cpu_bound": {}}],
        },
        "experiments[0].tasks[1].cpu_bound.elements: missing; allowed: a whole number >= 1",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_of_settings.values(), ids=BAD_of_settings)
def test_what_some_treatments_have_wrong_is_told_once(find_problems, changes, expected):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_what_every_treatment_has_wrong_names_no_treatment(find_problems):
    (problem,) = find_problems({f"{STAGE}.parameters": {}})

    assert "(in " not in problem


def test_a_specification_too_long_for_a_command_line_is_refused(find_problems):
    tasks = [{"cpu_bound": {"elements": 10**6 + i}} for i in range(4000)]

    exclude = [{"executor": "process"}]
    (problem,) = find_problems({f"{RUNTIME}.tasks": tasks, f"{RUNTIME}.exclude": exclude})

    assert problem.startswith("experiments[0]: the specification has up to 1")
    assert f"allowed: {LONGEST:,} (in t1, t1-numpy, t2 and 1 more)" in problem


def test_single_tasks_may_give_what_a_stage_requires(make_study):
    study = make_study(
        {f"{STAGE}.parameters": {}, f"{RUNTIME}.tasks": [{"cpu_bound": {"elements": 1}}] * 2}
    )

    assert study.experiments[0].template["tasks"] == [{"cpu_bound": {"elements": 1}}] * 2
