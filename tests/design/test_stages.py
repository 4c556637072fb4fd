import pytest

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# What is changed, to what; and the one problem that is told of it.
BAD = {
    "an unknown handler": (
        {"workflows.0.stages.0.handler": "downlaod"},
        (
            "workflows[0].stages[0].handler: unknown handler 'downlaod'; did you mean 'download'?;"
            " allowed: checksum, download, flaky, matrix_product, payload, sum_squares_native,"
            " sum_squares_numpy, wait, wait_async, or module:function"
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
def test_a_wrong_stage_is_told_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)
