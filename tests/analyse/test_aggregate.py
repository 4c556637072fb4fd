from __future__ import annotations

import pandas as pd

from stagebench.analyse.aggregate import summarise_treatments
from stagebench.quantities import RUN_QUANTITIES
from stagebench.tables import make_table


def runs(*makespans, status="ok"):
    return make_table(
        "runs",
        [
            {
                "experiment": "e",
                "treatment": "t",
                "replicate": replicate,
                "status": status,
                "makespan_s": makespan,
            }
            for replicate, makespan in enumerate(makespans, 1)
        ],
    )


def makespan(table):
    return table[table["quantity"] == "makespan_s"].iloc[0]


def test_an_even_number_of_runs_has_the_mean_of_the_middle_two_as_median():
    assert makespan(summarise_treatments(runs(1, 2, 4, 9)))["median"] == 3


def test_a_value_that_is_missing_in_a_run_is_left_out_and_not_counted():
    row = makespan(summarise_treatments(runs(1, None, 3)))
    assert (row["median"], row["min"], row["max"], row["n"]) == (2, 1, 3, 2)


def test_every_quantity_has_a_row_in_a_fixed_order():
    assert tuple(summarise_treatments(runs(1))["quantity"]) == RUN_QUANTITIES


def test_runs_that_failed_do_not_count():
    row = makespan(summarise_treatments(runs(1, 2, status="tasks_failed")))
    assert (row["n"], pd.isna(row["max"])) == (0, True)
