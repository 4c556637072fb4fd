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

NOTE = """\
*memory* is the most that the processes of a node had mapped at a time, each page once, between its
lower and its upper bound. A page that two nodes share counts for both, as on two machines: so the
nodes add up to more than the tree. *sent* and *received* are what the node's link carried until the
last task ended, with all that the engine itself says. All nodes are on this machine: they share its
memory, its disk and, where *cores* says all, its cores."""


def describe_nodes(experiment: Experiment) -> str:
    """Return the table of nodes and what its columns mean; "" without nodes."""
    table = nodes_table(experiment)
    return f"{table}\n\n{NOTE}" if table else ""


def nodes_table(experiment: Experiment) -> str:
    """Return the medians of each node over the ok runs of each treatment; "" without nodes."""
    nodes = experiment.tables.get("run_nodes")
    if nodes is None or nodes.empty:
        return ""
    columns = ["treatment", "node", "cores", "workers", "tasks", "memory MiB"]
    columns += ["sent MiB", "received MiB", "link MiB/s"]
    rows = []
    shown = choose_treatments(experiment, MOST_TREATMENTS)
    for treatment in (one for one in experiment.treatments if one in shown):
        ok = experiment.runs(treatment)["replicate"]
        own = nodes[(nodes["treatment"] == treatment) & nodes["replicate"].isin(ok)]
        for number, of_node in own.groupby("node_number"):
            has_limit = of_node["cores"].notna().all()
            cells = [str(number), _count(of_node["cores"]) if has_limit else "all"]
            cells += [_count(of_node[name]) for name in ("workers", "tasks_served")]
            cells.append(_memory(of_node))
            rates = ("sent_bytes", "received_bytes", "link_bytes_per_s")
            rows.append([treatment, *cells, *(_size(of_node[name]) for name in rates)])
    return format_table(columns, rows, texts=1) if rows else ""


def _memory(nodes: pd.DataFrame) -> str:
    """Return the median peak in MiB, from its lower to its upper bound."""
    low, upper = nodes["peak_bytes"].median(), nodes["peak_upper_bytes"]
    high = math.inf if upper.isna().any() else float(upper.median())
    return MISSING if math.isnan(float(low)) else format_bracket((low, high), scale=PER_MIB)


def _count(values: pd.Series[float]) -> str:
    """Return a median of counts; missing if one is unknown."""
    return MISSING if values.isna().any() else f"{float(values.median()):g}"


def _size(values: pd.Series[float]) -> str:
    """Return a median in MiB; missing if one is unknown."""
    known = not values.isna().any()
    return format_number(float(values.median()), scale=PER_MIB) if known else MISSING
