import pytest

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# What is changed, to what; and the one problem that is told of it.
BAD = {
    "duplicated levels": (
        {f"{RUNTIME}.factors.workers": [1, 2, 1.0]},
        "experiments[0].factors.workers[2]: the level 1.0 is listed twice; allowed: each level",
    ),
    "a condition on an unknown factor": (
        {f"{RUNTIME}.factors.start_method.when": {"executors": "process"}},
        (
            "experiments[0].factors.start_method.when.executors: unknown factor 'executors'; did"
            " you mean 'executor'?; allowed: workers, executor, start_method, logic"
        ),
    ),
    "a condition on an unknown level": (
        {f"{RUNTIME}.factors.start_method.when": {"executor": "proces"}},
        (
            "experiments[0].factors.start_method.when.executor: unknown level 'proces'; did you"
            " mean 'process'?; allowed: thread, process"
        ),
    ),
    "a condition on a level of another type": (
        {f"{RUNTIME}.factors.start_method.when": {"workers": "1"}},
        'experiments[0].factors.start_method.when.workers: unknown level "1"; allowed: 1, 2',
    ),
    "a condition on itself": (
        {f"{RUNTIME}.factors.start_method.when": {"start_method": "fork"}},
        "experiments[0].factors: factors apply under one another in a cycle: start_method ->",
    ),
    "a tag of an unknown level": (
        {f"{RUNTIME}.factors.logic.tags": {"numy": "x"}},
        "experiments[0].factors.logic.tags.numy: unknown level 'numy'; did you mean 'numpy'?",
    ),
    "a factor that nothing uses": (
        {f"{RUNTIME}.factors.variant": ["a", "b"], f"{RUNTIME}.baseline.variant": "a"},
        (
            'experiments[0].factors.variant: no placeholder "{variant}" stands anywhere, so its'
            " levels would change nothing; to compare equal treatments (A/A), put it into"
            " process.environment"
        ),
    ),
    "an unknown placeholder": (
        {f"{STAGE}.retain": "{retian}"},
        (
            "workflows[0].stages[1].retain: unknown factor 'retian'; allowed: workers, executor,"
            " start_method, logic (factors of experiment 'runtime')"
        ),
    ),
    "an unknown workflow": (
        {f"{RUNTIME}.workflow": "pipelin"},
        "experiments[0].workflow: unknown workflow 'pipelin'; did you mean 'pipeline'?",
    ),
    "a baseline with an unknown level": (
        {f"{RUNTIME}.baseline.workers": 3},
        "experiments[0].baseline.workers: unknown level '3'; allowed: 1, 2",
    ),
    "an exclusion of an unknown level": (
        {f"{RUNTIME}.exclude": [{"executor": "threads"}]},
        "experiments[0].exclude[0].executor: unknown level 'threads'; did you mean 'thread'?",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_factor_is_told_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)
