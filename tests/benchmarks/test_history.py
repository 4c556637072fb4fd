"""The history of what our own runner costs: with what a study is compared, and what is kept."""

import shutil

import pytest
from benchmarks.history import (
    COSTS_MORE,
    LEAST_CAMPAIGNS,
    MOST_COMPARED,
    SAME,
    choose_comparison,
    list_archives,
)
from tests.known_studies import default_runs
from tests.study import ROOT

from stagebench.compare.archive import pack_study
from stagebench.compare.sources import read_sources
from stagebench.design.config import load_study


@pytest.fixture
def study(analyse):
    return analyse(*default_runs())


def add(folder, study, number):
    folder.mkdir(exist_ok=True)
    return pack_study(study, folder / f"2026-11-{number:02}T000000.stagebench.zip").file


def elsewhere(study, tmp_path):
    """Return a copy of a study that was measured by another processor."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(study, copy)
    path = copy / "tables/environment.csv"
    text = path.read_text()
    assert "\ncpu_model," in text
    path.write_text(text.replace("\ncpu_model,", "\ncpu_model,Another "))
    return copy


def choose(folder, study):
    (new,) = read_sources([str(study)])
    return choose_comparison(folder, new)


def test_without_a_history_nothing_is_compared(study, tmp_path):
    assert choose(tmp_path / "history", study) == []


def test_few_earlier_studies_are_shown_and_enough_of_them_judge(study, tmp_path):
    folder = tmp_path / "history"
    for number in range(1, LEAST_CAMPAIGNS + 1):
        add(folder, study, number)
        arguments = choose(folder, study)
        assert arguments[0].count(".zip") == number
        assert ("--fail-if" in arguments) == (number >= LEAST_CAMPAIGNS)
    assert arguments[-1] == COSTS_MORE[-1]


def test_only_the_latest_are_compared(study, tmp_path):
    folder = tmp_path / "history"
    first = add(folder, study, 1)
    for number in range(2, MOST_COMPARED + 2):
        add(folder, study, number)
    assert list_archives(folder)[0] == first
    earlier = choose(folder, study)[0]
    assert earlier.count(".zip") == MOST_COMPARED
    assert str(first) not in earlier


def test_another_processor_judges_nothing_and_is_shown_only_where_there_is_nothing_better(
    study, tmp_path
):
    folder, other = tmp_path / "history", elsewhere(study, tmp_path)
    for number in range(2, 2 + LEAST_CAMPAIGNS):
        latest = add(folder, other, number)
    arguments = choose(folder, study)
    assert arguments[0] == f"earlier={latest}"
    assert "--fail-if" not in arguments
    like = add(folder, study, 1)
    assert choose(folder, study)[0] == f"earlier={like}"


def test_what_must_be_the_same_is_recorded(study):
    (new,) = read_sources([str(study)])
    assert set(SAME) <= set(new.environment["property"])


def test_two_names_of_its_study_are_the_same_treatment():
    treatments = [
        one
        for one in load_study(ROOT / "config/overhead.yaml").treatments
        if one.experiment == "names"
    ]
    assert len(treatments) == 2
    for one in treatments:
        assert one.specification["process"].pop("environment").keys() == {"STAGEBENCH_NAME"}
        for name in ("treatment", "factors"):
            del one.specification[name]
    assert treatments[0].specification == treatments[1].specification
