"""A claims file and the tables of studies → the tables of their verdicts, and back as text."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stagebench.analyse.claim import Grid
from stagebench.analyse.claim_evidence import gather_evidence
from stagebench.analyse.claim_file import check_claims
from stagebench.analyse.claims import judge_claims
from stagebench.design.config import check_config, load_config
from stagebench.design.plain import make_plain
from stagebench.design.plan import make_plan
from stagebench.errors import ConfigError, StoreError
from stagebench.present.claims_text import format_claims
from stagebench.problems import Problem, problem, unknown
from stagebench.store import atomic_folder, read_json
from stagebench.tables import list_rows, read_claims, read_reference, read_table, write_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from stagebench.analyse.claim import Claim
    from stagebench.analyse.claim_evidence import Evidence
    from stagebench.design.study import Study

Json = dict[str, Any]

_EVIDENCE = ("runs", "stages", "environment")
"""Tables that claims are judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsFile:
    """A checked claims file: its claims, the config and the study of each experiment it names.

    `index` is the file of places, if there is one.
    """

    claims: tuple[Claim, ...]
    configs: Mapping[str, str]
    studies: Mapping[str, str]
    index: Path | None


def load_claims(path: Path, reference: Path | None) -> ClaimsFile:
    """Read and check a claims file and the configs that it names; raises ConfigError."""
    mapping, problems = make_plain(load_config(path))
    if not isinstance(mapping, dict):
        raise ConfigError([str(one) for one in problems], file=str(path))
    configs = _configs(mapping)
    plans = {file: _load_plan(path.parent / file) for file in dict.fromkeys(configs.values())}
    grids: dict[str, Grid] = {}
    for experiment, file in configs.items():
        found = _find_grid(experiment, file, plans[file])
        if isinstance(found, Grid):
            grids[experiment] = found
        else:
            problems.append(found)
    index = mapping.get("index")
    index = path.parent / index if isinstance(index, str) else None
    rows = [] if reference is None else list_rows(read_reference(reference))
    tags = None if index is None else _read_tags(index)
    claims, found_problems = check_claims(mapping, grids, rows, tags)
    if problems or found_problems:
        told = [str(one) for one in [*problems, *found_problems]]
        raise ConfigError(list(dict.fromkeys(told)), file=str(path))
    studies = {name: str(_sound(plans[file])["study"]) for name, file in configs.items()}
    return ClaimsFile(claims=claims, configs=configs, studies=studies, index=index)


def load_study_claims(study: Study, folder: Path) -> ClaimsFile | None:
    """Read the claims of a study whose config lies in `folder`; None where it has none."""
    if study.claims is None:
        return None
    return load_claims(folder / study.claims, folder / study.reference if study.reference else None)


def judge_study(folder: Path, claims: Path, reference: Path | None) -> None:
    """Judge claims by the tables of the study in `folder`, and write the verdicts beside them.

    What other studies that the claims file names have in the folders beside it counts, too.
    """
    file = load_claims(claims, reference)
    rows = [] if reference is None else list_rows(read_reference(reference))
    study = read_json(folder / "plan.json")["study"]
    evidence = gather_evidence(study, _read_evidence(folder / "tables"), rows)
    missing: dict[str, str] = {}
    for name in dict.fromkeys(file.studies.values()):
        if name != study:
            evidence = _gather_other(name, folder.parent / name, rows, missing) | evidence
    for experiment, config in file.configs.items():
        missing[experiment] = missing.get(file.studies[experiment], f"run {config}")
    with atomic_folder(folder / "claims") as out:
        write_tables(judge_claims(file.claims, evidence, missing), out)


def show_claims(folders: list[Path]) -> str:
    """Give the stored verdicts of studies as text for a terminal; nothing is judged anew."""
    return "\n".join(format_claims(str(folder), *_read_claims(folder)) for folder in folders)


def _configs(mapping: Json) -> dict[str, str]:
    """Give the config of each experiment, as far as the file can be understood."""
    named = mapping.get("experiments")
    pairs = named.items() if isinstance(named, dict) else ()
    return {name: file for name, file in pairs if isinstance(file, str)}


def _load_plan(path: Path) -> Json | ConfigError:
    try:
        return make_plan(check_config(load_config(path), path.parent))
    except ConfigError as error:
        return error


def _sound(plan: Json | ConfigError) -> Json:
    if isinstance(plan, ConfigError):
        raise plan
    return plan


def _find_grid(experiment: str, file: str, plan: Json | ConfigError) -> Grid | Problem:
    """Give what claims may name of an experiment, or the problem of its config."""
    path = ("experiments", experiment)
    if isinstance(plan, ConfigError):
        more = f" (and {len(plan.problems) - 1} more)" if len(plan.problems) > 1 else ""
        return problem(path, f"{file} cannot be used: {plan.problems[0]}{more}")
    known = {one["name"]: one for one in plan["experiments"]}
    if experiment not in known:
        return problem(path, f"{file}: {unknown('experiment', experiment, known)}")
    ids = known[experiment]["treatments"]
    specifications = {
        name: plan["treatments"][f"{experiment}/{name}"]["specification"] for name in ids
    }
    return Grid(
        config=file,
        treatments={name: one["factors"] for name, one in specifications.items()},
        stages=tuple(stage["name"] for stage in specifications[ids[0]]["stages"]),
        baseline=known[experiment]["baseline"],
    )


def _read_tags(index: Path) -> list[str]:
    try:
        text = index.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{index}: cannot be read: {error.strerror}"], file="index") from error
    rows = csv.DictReader(text.splitlines())
    if "tag" not in (rows.fieldnames or ()):
        found = ", ".join(rows.fieldnames or ())
        text = f"{index}: its columns are {found}; allowed: tag,section,observation"
        raise ConfigError([text], file="index")
    return [row["tag"] for row in rows]


def _read_evidence(tables: Path) -> dict[str, pd.DataFrame]:
    return {name: read_table(tables / f"{name}.csv") for name in _EVIDENCE}


def _gather_other(
    study: str, folder: Path, reference: list[Json], missing: dict[str, str]
) -> dict[str, Evidence]:
    """Give the evidence of another study; where there is none that can be read, note why."""
    tables = folder / "tables"
    if not tables.is_dir():
        return {}
    try:
        return gather_evidence(study, _read_evidence(tables), reference)
    except StoreError:
        missing[study] = f"{tables} is of another version; analyse study {study} again"
        return {}


def _read_claims(folder: Path) -> list[pd.DataFrame]:
    path = folder / "claims" / "claims.csv"
    if not path.is_file():
        raise StoreError(
            f"{folder}: no judged claims ({path} is missing); give the folder of a study that was"
            " run and whose config names claims, such as results/published"
        )
    return list(read_claims(path.parent).values())
