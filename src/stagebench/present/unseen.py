"""Treatments whose peak of memory is not all there was: results wait where no process maps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.quantities import hides_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.experiment import Experiment

_PLACES = {"shared_memory": "shared memory", "path": "a file"}


def list_unseen(experiment: Experiment) -> list[str]:
    """Name the treatments in which a stage passes results on through no process's memory."""
    stages = experiment.tables["stages"]
    unseen = set(stages.loc[stages["transport"].map(hides_results), "treatment"])
    return [treatment for treatment in experiment.treatments if treatment in unseen]


def tell_places(experiment: Experiment) -> str:
    """Say where results wait unseen: "shared memory or a file"."""
    used = set(experiment.tables["stages"]["transport"])
    return " or ".join(called for name, called in _PLACES.items() if name in used)


def unseen_note(experiment: Experiment) -> str:
    """Say once below a table whose peaks are too low, and why; empty where none is."""
    names = list_unseen(experiment)
    if not names:
        return ""
    return (
        f"**Memory that is not seen**, in {name_treatments(names)}: results of 64 KiB and more pass"
        f" through {tell_places(experiment)}, and while one waits there no process maps it, so that"
        " no PSS has it, nor its upper bound. These peaks are shown beside the others, and not"
        " judged: *lower* is no saving."
    )


def unseen_reminder(experiment: Experiment) -> str:
    """Point to that note from further down."""
    names = list_unseen(experiment)
    if not names:
        return ""
    return (
        f"Memory of {name_treatments(names)} is shown and not judged: results that wait in"
        f" {tell_places(experiment)} are [not seen](#unseen.{experiment.name})."
    )


def name_treatments(names: Sequence[str]) -> str:
    """Give "`a`, `b`"."""
    return ", ".join(f"`{name}`" for name in names)
