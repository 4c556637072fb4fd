import pytest

from stagebench.design.grid import expand_treatments
from stagebench.handlers.source import source_hash
from stagebench.store import PROTOCOL, canonical_json

RUNTIME = "experiments.0"


@pytest.fixture
def specify(make_study):
    """Give the specification of one treatment of the small study with changes."""

    def make(changes=None, treatment="p2-fork"):
        treatments = expand_treatments(make_study(changes))
        return next(t.specification for t in treatments if t.id == treatment)

    return make


def test_a_specification_has_all_keys_of_the_contract(specify):
    assert specify() == {
        "protocol": PROTOCOL,
        "experiment": "runtime",
        "treatment": "p2-fork",
        "factors": {
            "workers": 2,
            "executor": "process",
            "start_method": "fork",
            "logic": "native",
        },
        "stages": [
            {
                "name": "download",
                "handler": "download",
                "source": source_hash("download"),
                "executor": "thread",
                "workers": 5,
                "retain": False,
                "parameters": {
                    "file_size_mb": 1.0,
                    "bandwidth_mbps": 10.0,
                    "latency_ms": 0.5,
                    "chunk_bytes": 65536,
                    "cpu_overhead": 0.05,
                    "compression": True,
                    "checksum": True,
                },
                "after": [],
            },
            {
                "name": "cpu_bound",
                "handler": "sum_squares_native",
                "source": source_hash("sum_squares_native"),
                "executor": "process",
                "start_method": "fork",
                "workers": 2,
                "retain": False,
                "parameters": {"elements": 1000},
                "after": ["download"],
            },
        ],
        "tasks": 4,
        "sampler": {"interval_s": 0.01, "cpu_budget": 0.01, "census": "auto"},
        "linger": {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0},
        "process": {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {f"{RUNTIME}.sampler": {"interval_s": 0.01, "census": "auto"}},
        {f"{RUNTIME}.sampler": {}},
        {f"{RUNTIME}.sampler": {"emulate": None}},
        {f"{RUNTIME}.linger": {"before_start_s": 0}},
        {f"{RUNTIME}.process": {"cpus": None, "blas_threads": 1}},
        {f"{RUNTIME}.process": {"switch_interval_s": None}},
        {"workflows.0.stages.0.retain": False},
        {"workflows.0.stages.0.after": []},
        {"workflows.0.stages.0.parameters.file_size_mb": 1.0},
        {"workflows.0.stages.0.parameters.compression": True},
    ],
    ids=str,
)
def test_a_default_that_is_written_out_changes_nothing(specify, changes):
    assert canonical_json(specify(changes)) == canonical_json(specify())


def test_a_handlers_own_default_is_the_published_one(specify):
    parameters = specify()["stages"][0]["parameters"]

    assert parameters["chunk_bytes"] == 64 * 1024


def test_the_order_of_cpus_changes_nothing(specify):
    def with_cpus(cpus):
        return canonical_json(specify({f"{RUNTIME}.process": {"cpus": cpus}}))

    assert with_cpus([1, 0]) == with_cpus([0, 1])


def test_numbers_in_the_environment_become_text_and_null_stays(specify):
    environment = {"A": 65536, "B": None, "C": "x", "D": 0.5}

    process = specify({f"{RUNTIME}.process": {"environment": environment}})["process"]

    assert process["environment"] == {"A": "65536", "B": None, "C": "x", "D": "0.5"}


def test_parameters_of_single_tasks_are_kept_without_defaults(specify):
    tasks = [{"download": {"file_size_mb": 2}}, {}, {"cpu_bound": {"elements": 5}}]

    assert specify({f"{RUNTIME}.tasks": tasks})["tasks"] == [
        {"download": {"file_size_mb": 2.0}},
        {},
        {"cpu_bound": {"elements": 5}},
    ]


def test_settings_of_the_process_may_be_factors(specify):
    changes = {
        f"{RUNTIME}.factors.preload": [[], ["numpy"]],
        f"{RUNTIME}.factors.cpus": [None, [0]],
        f"{RUNTIME}.factors.blas": [1, 2],
        f"{RUNTIME}.process": {
            "preload": "{preload}",
            "cpus": "{cpus}",
            "blas_threads": "{blas}",
            "environment": {"X": "n={blas}"},
        },
        f"{RUNTIME}.baseline": {
            "workers": 1,
            "executor": "thread",
            "logic": "native",
            "preload": [["numpy"]],
            "cpus": None,
            "blas": 1,
        },
    }

    specification = specify(changes, "t1-preload-numpy-cpus-0-blas-2")

    assert specification["process"] == {
        "environment": {"X": "n=2"},
        "preload": ["numpy"],
        "cpus": [0],
        "blas_threads": 2,
    }


def test_the_switch_interval_may_be_a_factor_and_is_absent_where_it_is_null(specify):
    changes = {
        f"{RUNTIME}.factors.switch": {"levels": [None, 1], "tags": {"null": "", "1": "slow"}},
        f"{RUNTIME}.process": {"switch_interval_s": "{switch}"},
        f"{RUNTIME}.baseline.switch": None,
    }

    assert "switch_interval_s" not in specify(changes)["process"]
    assert specify(changes, "p2-fork-slow")["process"]["switch_interval_s"] == 1.0


def test_a_variable_of_the_environment_may_be_a_factor_with_a_level_that_removes_it(specify):
    changes = {
        f"{RUNTIME}.factors.mmap": {"levels": [None, 65536], "tags": {"null": "", "65536": "mmap"}},
        f"{RUNTIME}.process": {"environment": {"MALLOC_MMAP_THRESHOLD_": "{mmap}"}},
        f"{RUNTIME}.baseline.mmap": None,
    }

    def variable(treatment):
        return specify(changes, treatment)["process"]["environment"]["MALLOC_MMAP_THRESHOLD_"]

    assert (variable("p2-fork"), variable("p2-fork-mmap")) == (None, "65536")
