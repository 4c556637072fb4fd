from __future__ import annotations

import pytest

from stagebench.present.report_speed import speed_sentences
from stagebench.tables import make_table

RUN = {"quantity": "makespan_s", "unit": "s", "basis": "ratio to t1", "measured_relative": 1}
TASK = {"quantity": "service_mean_s", "unit": "s"}
SIZE = {"quantity": "parameter.elements", "unit": "1", "stage": "work", "measured_relative": 1}


def tables(*published, verdict="refuted"):
    rows = [{"experiment": "pipe", "treatment": "t1", "stage": ""} | row for row in published]
    claims = [{"id": name, "kind": "figure", "verdict": verdict} for name in ("a", "b", "c")]
    claims.append({"id": "d", "kind": "comparison", "verdict": "refuted"})
    claims.append({"id": "e", "kind": "figure", "verdict": "contradicted by its own log"})
    tested = [
        {"claim": "a", "quantity": "makespan_s", "to": "t1", "treatment": "t2"},
        {"claim": "b", "quantity": "share_of_total_time", "stage": "load"},
        {"claim": "c", "quantity": "share_of_total_time", "stage": "work"},
        *(
            {"claim": name, "quantity": "makespan_s", "to": "t1", "treatment": "t3"}
            for name in ("d", "e")
        ),
    ]
    known = {"experiment": "pipe", "verdict": "refuted"}
    return {
        "published": make_table("published", rows),
        "claims": make_table("claims", claims),
        "claim_tests": make_table("claim_tests", [row | known for row in tested]),
    }


SLOWER = (
    {**SIZE, "treatment": ""},
    {**RUN, "stated": 50, "logged": 40, "median": 80},
    {**TASK, "stage": "load", "logged": 2, "median": 1.8},
    {**TASK, "stage": "work", "stated": 3, "median": 9},
)


def test_a_slower_cpu_beside_the_same_network_is_told_with_what_was_refuted_there():
    (told,) = speed_sentences(tables(*SLOWER))
    assert told.startswith(
        "t1 of pipe took 2.00 × the published time (80.0 s here, 40.0 s there), and not in the same"
        " way everywhere: a task took 0.900 × in load, 3.00 × in work."
    )
    assert "refuted (ratios 1, shares 2) is *not so on this machine*" in told


def test_a_machine_that_is_slower_in_all_alike_excuses_nothing():
    work = SLOWER[3] | {"median": 2.8}
    assert speed_sentences(tables(*SLOWER[:3], work)) == []


@pytest.mark.parametrize(
    "known",
    [
        tables(*SLOWER, verdict="reproduced"),
        tables(SLOWER[0] | {"measured_relative": 0.125}, *SLOWER[1:]),
        tables(SLOWER[0], *SLOWER[2:]),
        tables(),
    ],
    ids=["nothing refuted", "another size", "no makespan", "nothing published"],
)
def test_without_what_can_be_compared_nothing_is_said(known):
    assert speed_sentences(known) == []
