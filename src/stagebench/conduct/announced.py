"""How the Snakefile announces its study to our logger plugin: by a log record, as all else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STUDY = "stagebench_study"
"""The attribute of the record that has the study."""

MESSAGE = "stagebench_message"
"""The attribute of a record whose text is for people, such as where the report is."""

SCREEN = "STAGEBENCH_SCREEN"
"""The variable by which `stagebench run` names the descriptor that our logger plugin writes to."""


class Announced(NamedTuple):
    """The plan of the study that Snakemake runs, and the folders of its results and its config."""

    plan: Mapping[str, Any]
    results: Path
    beside: Path
