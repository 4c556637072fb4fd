"""Problems of treatments after their levels were filled in."""

import shlex
import subprocess

import pytest

from stagebench.design.specification import LONGEST
from stagebench.design.yaml import LARGEST_OVERRIDE

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# The changes, and the one problem that some treatments have.
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
            " interpreter, asyncio; did you mean 'process'? (in "
        ),
    ),
    "an unknown handler": (
        {f"{RUNTIME}.factors.logic": ["native", "numpi"]},
        (
            "workflows[0].stages[1].handler: unknown handler 'sum_squares_numpi'; did you mean"
            " 'sum_squares_numpy'?; allowed: checksum, download, flaky, matrix_product, payload,"
            " shared_counter, shared_table, sum_squares_native, sum_squares_numpy, wait,"
            " wait_async, or module:function (in "
        ),
    ),
    "a start method for threads": (
        {
            f"{RUNTIME}.factors.start_method": ["fork"],
            f"{RUNTIME}.baseline.start_method": "fork",
        },
        (
            'workflows[0].stages[1].start_method: "fork" is not allowed on a thread stage;'
            " allowed: no such key; a factor of start methods needs"
            ' "when: {executor: process}" (in '
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
            " the text would have a gap (in "
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
def test_what_some_treatments_have_wrong_is_reported_once(find_problems, changes, expected):
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


def test_a_specification_that_quotes_make_too_long_for_a_command_line_is_refused(find_problems):
    process = {"environment": {"TEXT": "'" * 25_000}}
    (problem,) = find_problems({f"{RUNTIME}.process": process})

    assert problem.startswith("experiments[0]: the specification has up to 12")
    assert f"allowed: {LONGEST:,} (in " in problem or problem.endswith(f"allowed: {LONGEST:,}")


@pytest.mark.parametrize("copies", [1, 2])
def test_what_is_allowed_fits_into_a_command_line(copies):
    longest = {1: LONGEST, 2: LARGEST_OVERRIDE}[copies]
    command = f"true {copies * (' ' + shlex.quote(chr(39) * ((longest - 2) // 5)))}"

    assert len(command) > copies * (longest - 10)
    assert subprocess.run(["/bin/bash", "-c", command], check=False).returncode == 0


def test_single_tasks_may_give_what_a_stage_requires(make_study):
    study = make_study(
        {f"{STAGE}.parameters": {}, f"{RUNTIME}.tasks": [{"cpu_bound": {"elements": 1}}] * 2}
    )

    assert study.experiments[0].template["tasks"] == [{"cpu_bound": {"elements": 1}}] * 2


SECOND = {
    "name": "second",
    "workflow": "pipeline",
    "tasks": 4,
    "factors": {
        "workers": [1],
        "executor": ["process"],
        "start_method": ["fork", "spwan"],
        "logic": ["native"],
    },
    "baseline": {"start_method": "fork"},
}


def test_what_treatments_of_several_experiments_have_wrong_is_reported_once(find_problems):
    (problem,) = find_problems(
        {
            f"{RUNTIME}.factors.start_method.levels": ["fork", "spwan"],
            f"{RUNTIME}.factors.logic.levels": ["native"],
            f"{RUNTIME}.factors.logic.tags": {"native": ""},
            "experiments.1": SECOND,
        }
    )

    assert problem.startswith('workflows[0].stages[1].start_method: "spwan" is not allowed')
    assert problem.endswith("(in runtime/p1-spwan, runtime/p2-spwan, second/p1-spwan-logic-native)")


def test_what_is_refused_leads_to_no_other_problem(find_problems):
    problems = find_problems(
        {
            f"{STAGE}.executor": "proces",
            f"{STAGE}.parameters": 3,
            "workflows.0.stages.0.handler": None,
        }
    )

    assert [text.partition(":")[0] for text in problems] == [
        "workflows[0].stages[0].handler",
        "workflows[0].stages[1].executor",
        "workflows[0].stages[1].parameters",
    ]


def test_settings_are_checked_where_the_grid_is_broken_with_all_levels_unknown(find_problems):
    problems = find_problems(
        {
            f"{RUNTIME}.factors.start_method.when": {"executr": "process"},
            f"{RUNTIME}.process": {"cpus": ["{workers}", "{workers}"], "blas_threads": 0},
            f"{STAGE}.after": ["downlod"],
            "workflows.0.stages.0.parameters.latency": 1,
        }
    )

    assert [text.partition(":")[0] for text in problems] == [
        "workflows[0].stages[0].parameters.latency",
        "workflows[0].stages[1].after[0]",
        "experiments[0].factors.start_method.when.executr",
        "experiments[0].process.blas_threads",
    ]


def test_stages_that_no_experiment_uses_are_checked_too(find_problems):
    stage = {"name": "a", "handler": "wiat", "executor": "{executor}", "workers": "{workers}"}

    (problem,) = find_problems({"workflows.1": {"name": "other", "stages": [stage]}})

    assert problem.startswith(
        "workflows[1].stages[0].handler: unknown handler 'wiat'; did you mean"
    )


def test_a_wrong_workflow_name_does_not_make_its_uses_unknown(find_problems):
    (problem,) = find_problems({"workflows.0.name": "Pipeline"})

    assert problem.startswith('workflows[0].name: "Pipeline" is not allowed')


def test_an_item_after_one_that_is_left_out_keeps_its_place(find_problems, beside):
    process = {"preload": ["{start_method}", "num py"]}
    folder = beside(fork_py="", spawn_py="")
    problems = find_problems({f"{RUNTIME}.process": process}, folder)

    assert [text.partition(":")[0] for text in problems] == ["experiments[0].process.preload[1]"]
    assert "(in " not in problems[0]


def test_a_refused_constant_is_reported_once(find_problems):
    (problem,) = find_problems({"constants": {"size": {"a": 1}}})

    assert problem.startswith('constants.size: {"a": 1} is not allowed; allowed: a text without')
