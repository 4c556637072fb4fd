"""The nodes of an experiment's runs: what each did, its memory, and what its link carried."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stagebench.present.experiment import choose_treatments
from stagebench.present.markdown import MISSING, format_bracket, format_number, format_table
from stagebench.present.treatments import PER_MIB

if TYPE_CHECKING:
    import pandas as pd

    from stagebench.present.experiment import Experiment

MOST_TREATMENTS = 32
"""Treatments with nodes that the table lists; all are in run_nodes.csv."""


def nodes_table(experiment: Experiment) -> str:
    """Return the medians of each node over the ok runs of each treatment; "" without nodes."""
    nodes = experiment.tables.get("run_nodes")
    if nodes is None or nodes.empty:
        return ""
    columns = ["treatment", "node", "cores", "workers", "tasks", "memory MiB"]
    columns += ["sent MiB", "received MiB", "link MiB/s"]
    rows = []
    for treatment in choose_treatments(experiment, MOST_TREATMENTS):
        ok = experiment.runs(treatment)["replicate"]
        own = nodes[(nodes["treatment"] == treatment) & nodes["replicate"].isin(ok)]
        for number, of_node in own.groupby("node_number"):
            cores = "all" if of_node["cores"].isna().all() else _median(of_node["cores"])
            counts = [_median(of_node[name]) for name in ("workers", "tasks_served")]
            carried = [_median(of_node[f"{name}_bytes"], PER_MIB) for name in ("sent", "received")]
            link = _median(of_node["link_bytes_per_s"], PER_MIB)
            rows.append([treatment, str(number), cores, *counts, _memory(of_node), *carried, link])
    return format_table(columns, rows, texts=1) if rows else ""


def _memory(nodes: pd.DataFrame) -> str:
    """Return the median peak in MiB, from its lower to its upper bound."""
    low, upper = nodes["peak_bytes"].median(), nodes["peak_upper_bytes"]
    high = math.inf if upper.isna().any() else float(upper.median())
    return MISSING if math.isnan(float(low)) else format_bracket((low, high), scale=PER_MIB)


def _median(values: pd.Series[float], scale: float = 1) -> str:
    """Return a median; missing if it is unknown for a run."""
    return MISSING if values.isna().any() else format_number(float(values.median()), scale=scale)
