import copy

import pytest
from tests.known_runs import FACTS

from stagebench.analyse.conditions import (
    describe_conditions,
    summarise_environment,
    summarise_interpreter,
)


def rows_of(traces, *runs):
    rows = summarise_environment(traces(*runs))
    return [(row["property"], row["value"], row["runs"]) for row in rows]


def test_a_property_that_all_runs_share_has_one_row(traces, known_run):
    rows = rows_of(traces, known_run(), known_run(replicate=2))
    assert ("kernel", "6.18", 2) in rows
    assert ("packages.numpy", "2.4.6", 2) in rows


def test_a_property_that_changed_has_a_row_a_value(traces, known_run):
    rows = rows_of(traces, known_run(), known_run(replicate=2, run={"environment": {"os": "BSD"}}))
    assert [row for row in rows if row[0] == "os"] == [("os", "Linux", 1), ("os", "BSD", 1)]


def test_an_unknown_property_has_no_row(traces, known_run):
    assert all(name != "commit" for name, _, _ in rows_of(traces, known_run()))


def places_of(traces, *runs):
    rows = summarise_environment(traces(*runs))
    return [row["where"] for row in rows if row["property"] == "os"]


BSD = {"environment": {"os": "BSD"}}


def test_the_settings_of_the_machine_are_properties(traces, known_run):
    rows = rows_of(traces, known_run())
    assert ("governor", "performance", 1) in rows
    assert ("cgroup_memory_limit", "8589934592", 1) in rows


def test_a_property_that_all_runs_share_has_no_place(traces, known_run):
    assert places_of(traces, known_run(), known_run(replicate=2)) == [""]


def test_a_property_of_one_experiment_alone_is_placed_there(traces, known_run):
    runs = [known_run(), known_run(replicate=2), known_run(experiment="second", run=BSD)]
    assert places_of(traces, *runs) == ["pipe", "second"]


def test_a_property_of_some_treatments_or_replicates_is_placed_there(traces, known_run):
    other = {"treatment": "t2", "baseline": False, "run": BSD}
    assert places_of(traces, known_run(), known_run(**other)) == ["pipe/p1-fork", "pipe/t2"]
    runs = [known_run(), known_run(replicate=2, run=BSD)]
    assert places_of(traces, *runs) == ["pipe/p1-fork (1 of 2 runs)", "pipe/p1-fork (1 of 2 runs)"]


def test_of_many_treatments_the_runs_are_counted(traces, known_run):
    runs = [
        known_run(treatment=f"t{n}", baseline=n == 0, replicate=r) for n in range(5) for r in (1, 2)
    ]
    changed = [
        known_run(treatment=f"t{n}", baseline=n == 0, replicate=3, run=BSD) for n in range(5)
    ]
    assert places_of(traces, *runs, *changed) == ["pipe (10 of 15 runs)", "pipe (5 of 15 runs)"]


@pytest.fixture
def conditions():
    """Describe the known, calm run with some values changed: `a__b` is the key `b` in `a`."""

    def describe(**changes):
        run = copy.deepcopy(FACTS["run"])
        for place, value in changes.items():
            *outer, last = place.split("__")
            target = run
            for name in outer:
                target = target[name]
            target[last] = value
        return describe_conditions(run)

    return describe


def test_a_calm_run_is_described_and_not_flagged(conditions):
    assert conditions() == {
        "quiet_wait_s": 0.0,
        "idle_before_share": 0.9375,
        "quiet": True,
        "throttled": 0,
        "pressure_cpu_share": 0.25,
        "pressure_memory_share": 0.0,
        "pressure_io_share": None,
        "machine_context_switches": 2500,
        "context_switches_voluntary": 300,
        "context_switches_involuntary": 20,
        "warm_needed_bytes": 67108864,
        "warm_touched_bytes": 67108864,
        "warm_s": 0.0,
        "not_warmed": None,
        "fresh_page_s": 8.192e-06,
        "used_page_s": 2.56e-07,
        "noisy": "",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"quiet": {"waited_s": 2.0, "idle_share": 0.5, "quiet": False}},
            "not quiet before (50 % idle)",
        ),
        ({"noise__steal_share": 0.02}, "2 % of CPU time stolen by the host"),
        ({"noise__others_cpu_share": 0.06}, "others used 6 % of CPU time"),
        ({"machine_after__throttled__cgroup": 7}, "throttled 3 times"),
        ({"machine_after__throttled__cgroup": 5}, "throttled 1 time"),
        (
            {"machine_after__pressure__memory__some_us": 500_000},
            "memory was short 5 % of the time",
        ),
        (
            {"machine_after__settings__governor": "powersave"},
            "governor changed from performance to powersave",
        ),
    ],
)
def test_what_disturbs_a_run_is_named_with_its_size(conditions, changes, reason):
    assert conditions(**changes)["noisy"] == reason


def test_all_reasons_are_named(conditions):
    found = conditions(noise__steal_share=0.02, machine_after__throttled__cgroup=6)
    assert found["noisy"] == "2 % of CPU time stolen by the host; throttled 2 times"


@pytest.mark.parametrize("share", ["steal_share", "others_cpu_share"])
def test_a_share_of_a_short_run_is_below_the_kernels_grain_and_no_flag(conditions, share):
    short = FACTS["run"]["machine_before"]["time_ns"] + 250_000_000
    changes = {f"noise__{share}": 0.09, "machine_after__time_ns": short}
    assert conditions(**changes)["noisy"] == ""


def test_what_is_unknown_is_missing_and_no_flag(conditions):
    unknown = {"thermal": None, "cgroup": None}
    found = conditions(
        quiet={"waited_s": 0.0, "idle_share": None, "quiet": None},
        noise__steal_share=None,
        noise__others_cpu_share=None,
        machine_before__throttled=unknown,
        machine_after__throttled=unknown,
        machine_before__pressure__memory=None,
        machine_before__context_switches=None,
    )
    missing = ("quiet", "throttled", "pressure_memory_share", "machine_context_switches")
    assert [found[name] for name in missing] == [None, None, None, None]
    assert found["noisy"] == ""


ONE = {"python": {"name": "one", "version": "3.12.1", "build": "1", "packages": {}}}
TWO = {"python": {"name": "two", "version": "3.13.5", "build": "2", "packages": {}}}


def ran_by(version="3.12.1", *, name="one", gil=True, **packages):
    """Return what run.json has of an interpreter."""
    facts = {"name": name, "version": version, "implementation": "CPython", "build": version}
    facts |= {"free_threaded": True, "gil": gil, "jit": None, "gil_switched_on_by": None}
    return {"interpreter": facts | {"packages": packages}}


def mixed(traces, *runs):
    return {row["property"] for row in summarise_environment(traces(*runs)) if row["where"]}


def test_interpreters_that_a_study_compares_are_no_mixture(traces, known_run):
    first = known_run(specified=ONE, run=ran_by(thing="1.0"))
    second = {"treatment": "t2", "baseline": False, "specified": TWO}
    others = known_run(**second, run=ran_by("3.13.5", name="two", gil=False, thing="2.0"))

    assert mixed(traces, first, others) == set()
    rows = summarise_environment(traces(first, others))
    assert [row["value"] for row in rows if row["property"] == "python"] == ["3.12.1", "3.13.5"]


def test_a_package_that_changed_between_runs_of_one_interpreter_is_a_mixture(traces, known_run):
    first = known_run(specified=ONE, run=ran_by(thing="1.0"))
    second = known_run(replicate=2, specified=ONE, run=ran_by(thing="1.1"))

    assert mixed(traces, first, second) == {"packages.thing"}


def test_a_package_that_only_some_treatments_import_is_no_mixture(traces, known_run):
    first = known_run(specified=ONE, run=ran_by(thing="1.0"))
    others = known_run(treatment="t2", baseline=False, specified=ONE, run=ran_by())

    assert mixed(traces, first, others) == set()


def test_handlers_that_switch_the_gil_on_are_no_mixture_but_runs_of_a_treatment_are(
    traces, known_run
):
    first = known_run(specified=ONE, run=ran_by(gil=False))
    handler = known_run(treatment="t2", baseline=False, specified=ONE, run=ran_by(gil=True))
    replicate = known_run(replicate=2, specified=ONE, run=ran_by(gil=True))

    assert mixed(traces, first, handler) == set()
    assert mixed(traces, first, replicate) == {"gil"}


def test_without_the_key_another_version_is_a_mixture(traces, known_run):
    first, second = known_run(run=ran_by(name=None)), known_run(replicate=2)
    other = known_run(replicate=2, run=ran_by("3.12.2", name=None))

    assert "python" not in mixed(traces, first)
    assert "python" in mixed(traces, first, other)
    assert summarise_interpreter(traces(second)[0])[0]["python"] is None


def test_of_runs_before_it_was_recorded_only_what_is_certain_is_known(run_trace, known_run):
    [with_gil] = summarise_interpreter(run_trace(known_run()))
    off = {"environment": {"gil": False}}
    [without] = summarise_interpreter(run_trace(known_run(run=off)))

    assert (with_gil["gil"], without["gil"]) == (True, None), "an import may have switched it on"
    assert with_gil["version"] == FACTS["run"]["environment"]["python"]
    assert with_gil.get("free_threaded") is None


def test_a_run_has_a_row_with_what_ran_it(run_trace, known_run):
    [row] = summarise_interpreter(
        run_trace(known_run(specified=ONE, run=ran_by(thing="1.0", more="2")))
    )

    assert (row["python"], row["version"], row["packages"]) == (
        "one",
        "3.12.1",
        "thing 1.0, more 2",
    )


def nodes_of(traces, known_run, *environments):
    environment = FACTS["run"]["environment"]
    runs = [
        known_run(replicate=n, start=20 * n, run={"environment": environment | own})
        for n, own in enumerate(environments, start=1)
    ]
    rows = summarise_environment(traces(*runs))
    return {
        (row["property"], row["value"]): (row["where"], row["nodes"])
        for row in rows
        if row["property"] in ("host", "node", "kernel", "cores")
    }


def test_what_differs_between_nodes_is_named_by_node(traces, known_run):
    first, second = {"node": "n1", "kernel": "6"}, {"node": "n2", "kernel": "7"}
    found = nodes_of(traces, known_run, first, second, second | {"node": "n3"})
    assert found["kernel", "6"] == ("", "n1")
    assert found["kernel", "7"] == ("", "n2, n3")
    assert found["node", "n3"] == ("", "n3")
    assert found["host", "bench"] == ("", "")


def test_what_changed_on_a_node_is_a_mixture(traces, known_run):
    first, second = {"node": "n1", "kernel": "6"}, {"node": "n2", "kernel": "7"}
    found = nodes_of(traces, known_run, first, second, second | {"kernel": "6"})
    assert found["kernel", "6"] == ("pipe/p1-fork (2 of 3 runs)", "")


def test_a_node_that_is_called_as_its_host_is_said_once(traces, known_run):
    found = nodes_of(traces, known_run, {"node": "bench"}, {"node": "bench"})
    assert ("node", "bench") not in found
    assert found["host", "bench"] == ("", "")
