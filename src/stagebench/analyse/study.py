"""One study on disk: its plan and run folders → its tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stagebench.analyse.comparisons import compare_treatments
from stagebench.analyse.contrasts import contrast_treatments
from stagebench.analyse.drift import find_drift
from stagebench.analyse.published import compare_published
from stagebench.analyse.summary import summarise_study
from stagebench.analyse.winners import find_winners
from stagebench.store import atomic_folder, read_json
from stagebench.tables import read_reference, write_tables

if TYPE_CHECKING:
    from pathlib import Path


RUNS_PER_PROCESS = 32
"""With fewer runs a further process takes longer to start than it saves."""


def analyse_study(
    plan: Path, raw: Path, reference: Path | None, out: Path, processes: int | None = None
) -> None:
    """Write all tables of a study into the folder `out`, replacing it.

    Without a `reference` (a file of published values) there is no table of published values.
    At most so many `processes` share the work: without a number as many as there are usable cores.
    """
    planned = read_json(plan)
    most = processes or len(os.sched_getaffinity(0))
    useful = len(planned["runs"]) // RUNS_PER_PROCESS
    tables = summarise_study(planned, raw, max(1, min(most, useful)))
    tables |= compare_treatments(tables, planned)
    tables["winners"] = find_winners(tables["runs"], planned)
    tables["contrasts"] = contrast_treatments(tables["runs"], planned)
    tables["drift"] = find_drift(tables["runs"])
    if reference is not None:
        tables["published"] = compare_published(tables, read_reference(reference))
    with atomic_folder(out) as folder:
        write_tables(tables, folder)
