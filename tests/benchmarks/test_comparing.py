"""Small versions of the checks of `compare`."""

import json
import math

import pytest
from benchmarks.comparing import (
    AS_MEASURED,
    LEAST_FOUND,
    MOST_FALSE,
    WIDER_SPREAD,
    Case,
    Rates,
    check_cases,
    tabulate,
)
from benchmarks.comparing_real import make_config

from stagebench.compare.findings import CAMPAIGNS_DIFFER
from stagebench.design.config import check_config, load_config

PAIRS = 150


@pytest.mark.parametrize(
    "case",
    [
        Case(AS_MEASURED, 5),
        Case(AS_MEASURED, 5, (1, 1), CAMPAIGNS_DIFFER),
        Case(AS_MEASURED, 3, (4, 4), WIDER_SPREAD),
    ],
    ids=["runs", "single campaigns", "campaigns"],
)
def test_studies_of_the_same_seldom_differ(case):
    (found,) = check_cases([case], 1, PAIRS)
    # The limit is three standard errors above 5 %.
    assert found.false <= PAIRS * MOST_FALSE + 3 * math.sqrt(PAIRS * 0.05 * 0.95)
    assert not found.is_too_high


def test_a_handler_that_takes_ten_percent_longer_is_found():
    (found,) = check_cases([Case(AS_MEASURED, 5)], 2, PAIRS)
    assert found.found >= LEAST_FOUND * PAIRS
    assert not found.is_missed


def test_a_missed_bar_is_said():
    missed = Rates(Case(AS_MEASURED, 5), 1000, 90, 100)
    assert missed.is_too_high
    assert missed.is_missed
    assert "too many false, missed" in tabulate([missed])


def test_the_config_of_the_real_studies_is_valid(tmp_path):
    (tmp_path / "known_work.py").write_text("def work():\n    return 0\n")
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(make_config("some")))
    study = check_config(load_config(file, None), tmp_path)
    assert [one.id for one in study.treatments] == ["t1", "t2", "p2-fork"]
