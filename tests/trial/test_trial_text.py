"""What people read of trials."""

import copy
from pathlib import Path

import pytest

from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.errors import MeasureError
from stagebench.peak.bracket import Bracket
from stagebench.trial.observed import Observed, StageUse, Times, not_run
from stagebench.trial.one_task import Trial, TrialRequest
from stagebench.trial.outlook import TimeRange
from stagebench.trial.trial_text import check_trials, format_range, format_trials
from stagebench.units import GIB, MIB

SMOKE = Path(__file__).parents[2] / "config" / "smoke.yaml"


@pytest.fixture
def request_():
    plan = make_plan(load_study(SMOKE))
    place = {key: f"smoke.yaml:{line}" for line, key in enumerate(plan["treatments"])}
    return TrialRequest(plan, SMOKE.parent, place, 0, lambda _: 0)


KNOWN = Bracket(1 * MIB, 1, 300 * MIB)


def observe(treatment, *, seconds=1.0, growth_bytes=1 * MIB, peak=KNOWN):
    stages = treatment["specification"]["stages"]
    uses = {stage["name"]: StageUse(seconds, seconds, growth_bytes) for stage in stages}
    return Observed("ok", "", 0.0512, peak, Times(seconds, 0.25, uses, 0, 1e-6))


def make_trials(request_, **options):
    treatments = request_.plan["treatments"].items()
    return [Trial(key, one, observe(one, **options)) for key, one in treatments]


def test_the_table_has_a_line_for_each_treatment_in_80_columns(request_):
    text = format_trials(request_, make_trials(request_), 1 * GIB)

    assert max(map(len, text.splitlines())) == 80
    assert [line.split()[0] for line in text.splitlines() if " ok " in line] == [
        treatment["treatment"] for treatment in request_.plan["treatments"].values()
    ]
    assert "up to 300 MiB" in text
    assert "estimated time of 18 runs: about" in text
    assert "warning" not in text


def test_long_names_have_a_line_of_their_own(request_):
    trials = make_trials(request_)
    name = "p2-spawn-" + "long-" * 15
    trials[0] = trials[0]._replace(treatment={**trials[0].treatment, "treatment": name})

    lines = format_trials(request_, trials, 1 * GIB).splitlines()

    place = lines.index(f"  {name}")
    assert lines[place + 1].startswith("                    ok ")


@pytest.mark.parametrize(
    ("peak", "shown"),
    [(Bracket(5 * MIB, 1, None), "≥ 5 MiB"), (Bracket(None, None, None), "–")],
)
def test_a_bound_stays_a_bound(request_, peak, shown):
    text = format_trials(request_, make_trials(request_, peak=peak), 1 * GIB)

    (row, *_) = [line for line in text.splitlines() if line.startswith("  t1")]
    assert shown in row
    assert "up to" not in row


def test_the_time_of_warm_ups_counts(request_):
    request_.plan["warm_up_runs"] = request_.plan["runs"][:9]

    assert "of 27 runs" in format_trials(request_, make_trials(request_), 1 * GIB)


def test_treatments_that_may_not_fit_into_memory_are_named_with_both_figures(request_):
    trials = make_trials(request_)
    trials[0] = trials[0]._replace(observed=observe(trials[0].treatment, growth_bytes=700 * MIB))

    text = format_trials(request_, trials, 1 * GIB).replace("\n  ", " ")

    assert text.count("warning") == 1
    assert "warning: runtime/t1 may not fit into memory" in text
    # Two workers each of download and upload, and one between them.
    assert "up to 1.66 GiB, this machine has 1 GiB" in text


def test_treatments_that_may_exceed_the_time_limit_are_named(request_):
    trials = make_trials(request_)
    trials[1] = trials[1]._replace(observed=observe(trials[1].treatment, seconds=19))

    text = format_trials(request_, trials, 1 * GIB)

    assert "warning: a run may exceed the time limit of 20 s: runtime/p2-fork" in text


def test_a_list_of_tasks_is_said_to_stand_for_its_first(request_):
    trials = make_trials(request_)
    assert "Where tasks differ" not in format_trials(request_, trials, 1 * GIB)

    listed = copy.deepcopy(trials[0].treatment)
    listed["specification"]["tasks"] = [{}, {}]
    trials[0] = trials[0]._replace(treatment=listed)

    assert "Where tasks differ" in format_trials(request_, trials, 1 * GIB)


def test_all_failures_are_raised_at_once_with_their_places_and_last_words(request_):
    trials = make_trials(request_)
    lost = Observed("worker_lost", "stage 'work': killed", output=("a", "b"))
    trials[0] = trials[0]._replace(observed=lost)
    trials[2] = trials[2]._replace(observed=not_run("no\nfile"))

    with pytest.raises(MeasureError) as caught:
        check_trials(request_, trials)

    assert str(caught.value).splitlines() == [
        "2 of 9 treatments failed with one task",
        "  smoke.yaml:0: runtime/t1: a worker was lost: stage 'work': killed",
        "    output: a",
        "    output: b",
        "  smoke.yaml:2: runtime/p2-spawn: was not run: no file",
    ]
    text = format_trials(request_, trials, 1 * GIB).replace("\n  ", " ")
    assert "estimated time of 14 runs" in text
    assert "without 4 runs of treatments whose trial was not ok" in text


def test_trials_without_a_failure_raise_nothing(request_):
    check_trials(request_, make_trials(request_))


@pytest.mark.parametrize(
    ("low_s", "high_s", "shown"),
    [
        (0.26, 0.34, "0.3 s"),
        (33.4, 61, "33 to 61 s"),
        (90, 150, "1.5 to 2.5 min"),
        (720, 1230, "12 to 20 min"),
        (3600, 7200, "1.0 to 2.0 h"),
        (12.2, 12.4, "12 s"),
    ],
)
def test_a_range_has_one_unit(low_s, high_s, shown):
    assert format_range(TimeRange(low_s, high_s)) == shown
