"""One study on disk: its plan and run folders → its tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stagebench.analyse.comparisons import compare_treatments
from stagebench.analyse.contrasts import contrast_treatments
from stagebench.analyse.drift import find_drift
from stagebench.analyse.summary import NOTHING_ADDED, AddedTables, summarise_study
from stagebench.analyse.winners import find_winners
from stagebench.store import atomic_folder, read_json
from stagebench.tables import write_tables

if TYPE_CHECKING:
    from pathlib import Path


RUNS_PER_PROCESS = 32
"""With fewer runs a further process takes longer to start than it saves."""


def analyse_study(
    plan: Path,
    raw: Path,
    out: Path,
    processes: int | None = None,
    added: AddedTables = NOTHING_ADDED,
) -> None:
    """Write all tables of a study into the folder `out`, replacing it.

    At most so many `processes` share the work: without a number as many as there are usable cores.
    """
    planned = read_json(plan)
    most = processes or len(os.sched_getaffinity(0))
    useful = len(planned["runs"]) // RUNS_PER_PROCESS
    tables = summarise_study(planned, raw, max(1, min(most, useful)), added)
    tables |= compare_treatments(tables, planned)
    tables["winners"] = find_winners(tables["runs"], planned)
    tables["contrasts"] = contrast_treatments(tables["runs"], planned)
    tables["drift"] = find_drift(tables["runs"])
    tables |= {name: make(tables) for name, make in added.whole.items()}
    with atomic_folder(out) as folder:
        write_tables(tables, folder)
