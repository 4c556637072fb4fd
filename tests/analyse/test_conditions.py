import copy

import pytest
from tests.known_runs import FACTS

from stagebench.analyse.conditions import describe_conditions, summarise_environment


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
