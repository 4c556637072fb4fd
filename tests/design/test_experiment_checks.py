import pytest

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# The changes, and the one problem that is reported.
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
        "experiments[0].factors: factors depend on one another in a cycle: start_method ->",
    ),
    "a tag of an unknown level": (
        {f"{RUNTIME}.factors.logic.tags": {"numy": "x"}},
        "experiments[0].factors.logic.tags.numy: unknown level 'numy'; did you mean 'numpy'?",
    ),
    "a factor that nothing uses": (
        {f"{RUNTIME}.factors.variant": ["a", "b"], f"{RUNTIME}.baseline.variant": "a"},
        (
            'experiments[0].factors.variant: no setting uses the placeholder "{variant}", so its'
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
def test_a_wrong_factor_is_reported_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


# The changes, and the one problem that is reported.
BAD_of_grid = {
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
            " (t1, t2), which differ in workers; allowed: levels that only one treatment has"
        ),
    ),
    "no baseline": (
        {f"{RUNTIME}.baseline": {}},
        "experiments[0].baseline: missing; 12 treatments match (t1, t1-numpy, p1-fork and 9 more)",
    ),
    "a grid that excludes everything": (
        {f"{RUNTIME}.exclude": [{"workers": [1, 2]}]},
        "experiments[0].exclude: excludes every treatment; allowed: one has to remain",
    ),
    "an exclusion that matches nothing": (
        {f"{RUNTIME}.exclude": [{"executor": "thread", "start_method": "fork"}]},
        'experiments[0].exclude[0]: {executor: "thread", start_method: "fork"} matches no',
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_of_grid.values(), ids=BAD_of_grid)
def test_a_wrong_grid_is_reported_once_with_its_place_and_what_is_allowed(
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
        ({**ADDED, "workers": 1}, "this treatment exists already; allowed: new treatments"),
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
        "experiments[0].factors: several treatments have the same id: t1; the first is of {workers:"
        ' 1, executor: "thread", logic: "native"} and {workers: 1, executor: "thread", logic:'
        ' "numpy"}; allowed: one id for each; give their levels tags'
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
    assert problem.endswith("and 9 more; allowed: a-z, 0-9, _ and -; give those levels tags")
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
