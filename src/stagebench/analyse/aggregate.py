"""One row per treatment and quantity: median and spread over the replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stagebench.quantities import RUN_QUANTITIES, STAGE_QUANTITIES, unit_of
from stagebench.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


def summarise_treatments(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise the quantities of runs: median, minimum, maximum and number of ok runs."""
    return _summarise("treatments", runs, ["experiment", "treatment"], RUN_QUANTITIES)


def summarise_treatment_stages(stages: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise the quantities of stages over the ok runs of each treatment."""
    key = ["experiment", "treatment", "replicate"]
    stages = stages.merge(runs[[*key, "status"]], on=key, how="left", validate="many_to_one")
    group = ["experiment", "treatment", "stage"]
    return _summarise("treatment_stages", stages, group, STAGE_QUANTITIES)


def _summarise(
    name: str,
    values: pd.DataFrame,
    group: list[str],
    quantities: Sequence[str],
) -> pd.DataFrame:
    rows = []
    # Rows come in the order of the plan; a treatment without an ok run keeps its rows, with n = 0.
    for key, members in values.groupby(group, sort=False):
        found = dict(zip(group, key, strict=True))
        ok = members.loc[members["status"] == "ok", list(quantities)].astype("float64")
        columns = zip(quantities, ok.to_numpy().T, strict=True)
        rows += [found | _statistics(quantity, column) for quantity, column in columns]
    return make_table(name, rows)


def _statistics(quantity: str, values: NDArray[np.float64]) -> dict[str, object]:
    known = values[~np.isnan(values)]
    found = (
        {"median": np.median(known), "min": known.min(), "max": known.max()} if len(known) else {}
    )
    return {"quantity": quantity, "unit": unit_of(quantity), **found, "n": len(known)}
