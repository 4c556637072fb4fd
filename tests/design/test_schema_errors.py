from importlib import resources

import pytest
import yaml
from jsonschema import Draft202012Validator

from stagebench.analyse.comparisons import RUN_QUANTITIES, STAGE_QUANTITIES

SCHEMA = yaml.safe_load(
    resources.files("stagebench.design").joinpath("study.schema.yaml").read_text()
)
# Applied to a treatment's settings; the names of an experiment's keys are checked before.
SETTINGS = SCHEMA["$defs"]["settings"]

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"

# The changes, and the one problem that is reported.
BAD = {
    "misspelt top key": (
        {"replicate": 3},
        "replicate: unknown key 'replicate'; did you mean 'replicates'?; allowed: study, seed,",
    ),
    "misspelt key of an experiment": (
        {f"{RUNTIME}.excludes": []},
        "experiments[0].excludes: unknown key 'excludes'; did you mean 'exclude'?; allowed: name,",
    ),
    "misspelt key of a stage": (
        {f"{STAGE}.worker": 3},
        "workflows[0].stages[1].worker: unknown key 'worker'; did you mean 'workers'?",
    ),
    "a placeholder without quotes": (
        {f"{STAGE}.workers": {"workers": None}},
        (
            'workflows[0].stages[1].workers: {"workers": null} is not allowed; allowed: a whole'
            ' number from 1 to 1024; a placeholder needs quotes: "{workers}"'
        ),
    ),
    "misspelt key of the sampler": (
        {f"{RUNTIME}.sampler": {"interval": 1}},
        "experiments[0].sampler.interval: unknown key 'interval'; did you mean 'interval_s'?",
    ),
    "misspelt key of the emulation": (
        {f"{RUNTIME}.sampler": {"emulate": {"discovery": 1}}},
        (
            "experiments[0].sampler.emulate.discovery: unknown key 'discovery'; did you mean"
            " 'discovery_s'?; allowed: interval_s, discovery_s"
        ),
    ),
    "an emulation that is no mapping": (
        {f"{RUNTIME}.sampler": {"emulate": True}},
        (
            "experiments[0].sampler.emulate: true is not allowed; allowed: a mapping of the keys"
            " interval_s, discovery_s, or null for none"
        ),
    ),
    "an emulation without a pause": (
        {f"{RUNTIME}.sampler": {"emulate": {"interval_s": 0}}},
        "experiments[0].sampler.emulate.interval_s: 0 is not allowed; allowed: seconds from 0.001",
    ),
    "an emulation with a negative pause": (
        {f"{RUNTIME}.sampler": {"emulate": {"discovery_s": -1}}},
        "experiments[0].sampler.emulate.discovery_s: -1 is not allowed; allowed: seconds from",
    ),
    "an emulation with a pause longer than an hour": (
        {f"{RUNTIME}.sampler": {"emulate": {"discovery_s": 3601}}},
        (
            "experiments[0].sampler.emulate.discovery_s: 3601 is not allowed; allowed: seconds"
            " from 0.001 to 3600"
        ),
    ),
    "text for a number": (
        {"seed": "1"},
        'seed: "1" is not allowed; allowed: a whole number, 0 or more',
    ),
    "float for a whole number": (
        {"replicates": 2.0},
        "replicates: 2.0 is not allowed; allowed: a whole number from 1 to 1000",
    ),
    "bool for a whole number": (
        {"replicates": True},
        "replicates: true is not allowed; allowed: a whole number from 1 to 1000",
    ),
    "no replicates": ({"replicates": 0}, "replicates: 0 is not allowed; allowed: a whole number"),
    "no time": ({"time_limit_s": 0}, "time_limit_s: 0 is not allowed; allowed: seconds from 0.001"),
    "a wait without end": (
        {"quiet_wait_s": 61},
        "quiet_wait_s: 61 is not allowed; allowed: 0 (no wait), or seconds from 0.001 to 60",
    ),
    "more memory than any machine has": (
        {"warm_memory": "9999999 GiB"},
        'warm_memory: "9999999 GiB" is not allowed; allowed: false, or the most memory to touch',
    ),
    "no memory to warm": (
        {"warm_memory": "0 MiB"},
        'warm_memory: "0 MiB" is not allowed; allowed: false, or the most memory to touch',
    ),
    "warm memory without a size": (
        {"warm_memory": True},
        "warm_memory: true is not allowed; allowed: false, or the most memory to touch before a",
    ),
    "warm memory without a unit": (
        {"warm_memory": 2},
        "warm_memory: 2 is not allowed; allowed: false, or the most memory to touch before a run",
    ),
    "no time for a thread": (
        {f"{RUNTIME}.process": {"switch_interval_s": 0}},
        (
            "experiments[0].process.switch_interval_s: 0 is not allowed; allowed: seconds from"
            " 0.000001 to 3600"
        ),
    ),
    "a name with a path in it": (
        {"study": "../else"},
        'study: "../else" is not allowed; allowed: a name of a-z, 0-9, _ and -',
    ),
    "a name with a line break": ({"study": "a\n"}, 'study: "a\\n" is not allowed; allowed: a name'),
    "an experiment's name in capitals": (
        {f"{RUNTIME}.name": "Runtime"},
        'experiments[0].name: "Runtime" is not allowed; allowed: a name of',
    ),
    "a reference outside": (
        {"reference": "../published.csv"},
        'reference: "../published.csv" is not allowed; allowed: the name of a file beside',
    ),
    "an absolute reference": ({"reference": "/etc/x"}, 'reference: "/etc/x" is not allowed'),
    "no experiments": ({"experiments": []}, "experiments: [] is not allowed; allowed: a list of"),
    "experiments as a mapping": ({"experiments": {}}, "experiments: {} is not allowed; allowed: a"),
    "empty levels": (
        {f"{RUNTIME}.factors.workers": []},
        "experiments[0].factors.workers: [] is not allowed; allowed: a list of at least one level",
    ),
    "a level that is a mapping": (
        {f"{RUNTIME}.factors.workers": [1, {"a": 1}]},
        'experiments[0].factors.workers[1]: {"a": 1} is not allowed; allowed: a text without',
    ),
    "a level with a placeholder": (
        {f"{RUNTIME}.factors.logic": ["{workers}", "native"]},
        'experiments[0].factors.logic[0]: "{workers}" is not allowed; allowed: a text without',
    ),
    "a tag that is no word": (
        {f"{RUNTIME}.factors.logic.tags": {"numpy": "a/b"}},
        'experiments[0].factors.logic.tags.numpy: "a/b" is not allowed; allowed: a word of a-z',
    ),
    "an unknown executor": (
        {"workflows.0.stages.0.executor": "threads"},
        (
            'workflows[0].stages[0].executor: "threads" is not allowed; allowed: thread, process,'
            " interpreter, asyncio; did you mean 'thread'?"
        ),
    ),
    "no workers": (
        {"workflows.0.stages.0.workers": 0},
        "workflows[0].stages[0].workers: 0 is not allowed; allowed: a whole number from 1 to 1024",
    ),
    "no tasks": (
        {f"{RUNTIME}.tasks": 0},
        "experiments[0].tasks: 0 is not allowed; allowed: a whole",
    ),
    "a bad environment variable": (
        {f"{RUNTIME}.process": {"environment": {"A": True}}},
        "experiments[0].process.environment.A: true is not allowed; allowed: a text (quote true",
    ),
    "a bad variable name": (
        {f"{RUNTIME}.process": {"environment": {"A=B": "x"}}},
        "experiments[0].process.environment.A=B: not allowed as a name; allowed: a variable's name",
    ),
    "a bad module": (
        {f"{RUNTIME}.process": {"preload": ["num py"]}},
        'experiments[0].process.preload[0]: "num py" is not allowed; allowed: the name of a module',
    ),
    "a bad CPU": (
        {f"{RUNTIME}.process": {"cpus": [-1]}},
        "experiments[0].process.cpus[0]: -1 is not allowed; allowed: the number of a CPU",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_value_is_reported_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


def rules(schema):
    """Yield every part of the schema that restricts a value."""
    if isinstance(schema, dict):
        if {"type", "enum"} & schema.keys():
            yield schema
        for part in schema.values():
            yield from rules(part)


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_rule_says_what_it_allows():
    silent = [r for r in rules(SCHEMA) if "description" not in r and r is not SETTINGS]

    assert silent == []


def test_every_mapping_either_lists_its_keys_or_says_what_they_hold():
    loose = [
        r
        for r in rules(SCHEMA)
        if "object" in r.get("type", "") and "additionalProperties" not in r and "properties" in r
    ]

    assert loose == [SETTINGS]


def test_a_precision_is_of_a_quantity_that_is_compared(find_problems):
    assert {*SCHEMA["properties"]["precision"]["properties"]} == {
        *RUN_QUANTITIES,
        *STAGE_QUANTITIES,
    }
    (problem,) = find_problems({"precision": {"makespan": 0.05}})
    assert problem.startswith(
        "precision.makespan: unknown key 'makespan'; did you mean 'makespan_s'?"
    )
