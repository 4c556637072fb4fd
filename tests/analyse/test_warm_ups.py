from __future__ import annotations

import shutil

import pytest

from stagebench.analyse.summary import summarise_study
from stagebench.errors import StoreError


def test_a_warm_up_is_told_and_in_no_other_table(study, known_run):
    warm_up = known_run(warm_up=True, status="crashed", detail="exit code 1").stretched(9)
    tables = summarise_study(*study(warm_up, known_run(start=20)))
    told = tables["warm_ups"].iloc[0]
    assert (told["replicate"], told["status"], told["detail"]) == (1, "crashed", "exit code 1")
    without = summarise_study(*study(known_run(start=20)))
    for name in sorted(set(tables) - {"warm_ups"}):
        places = ["rank", "position"] if name == "runs" else []
        assert tables[name].drop(columns=places).equals(without[name].drop(columns=places)), name


def test_a_warm_up_that_was_not_measured_is_named(study, known_run):
    plan, raw = study(known_run(warm_up=True), known_run(start=20))
    shutil.rmtree(raw / "pipe/p1-fork/w1")
    with pytest.raises(StoreError, match="pipe/p1-fork/w1: this run of the plan has not been"):
        summarise_study(plan, raw)


def test_a_warm_up_in_the_folder_of_a_run_is_an_error(study, known_run):
    plan, raw = study(known_run(warm_up=True), known_run(start=20))
    shutil.rmtree(raw / "pipe/p1-fork/r1")
    (raw / "pipe/p1-fork/w1").rename(raw / "pipe/p1-fork/r1")
    with pytest.raises(StoreError, match=r"r1/run.json: warm_up is True, the plan says False"):
        summarise_study(plan, raw)
