"""A claims file and the tables of studies → verdicts.

Every verdict has a sentence made from the numbers: measured, expected and published. Verdicts are
written as tables, and can be shown as text.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.claims.brief import JudgedStudy, format_brief
from stagebench.claims.evidence import Estimate, gather_evidence, measure_test
from stagebench.claims.file import check_claims, name_configs
from stagebench.claims.model import RATIO, Grid
from stagebench.claims.text import format_claims, format_limits
from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.design.problems import Problem, problem, unknown
from stagebench.design.yaml import load_config, load_file, raise_problems
from stagebench.errors import ConfigError, StoreError
from stagebench.present.markdown import format_estimate
from stagebench.store import atomic_folder, read_json
from stagebench.tables.decisions import USUAL_MARGIN
from stagebench.tables.io import (
    list_rows,
    make_table,
    read_claims,
    read_reference,
    read_table,
    write_tables,
)
from stagebench.tables.quantities import words_of
from stagebench.tables.schema import IN_BLOCKS, OTHER_CAMPAIGN, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from stagebench.claims.evidence import Evidence
    from stagebench.claims.model import Claim, ClaimTest, Measure, Needs, Range


Json = dict[str, Any]

_EVIDENCE = ("runs", "stages", "environment")
"""The tables by which claims are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsFile:
    """A checked claims file: its claims, and the config and study of each experiment in it.

    `index` is the file of places, if there is one.
    """

    claims: tuple[Claim, ...]
    configs: Mapping[str, str]
    studies: Mapping[str, str]
    index: Path | None


def load_claims(path: Path, reference: Path | None, results: Path | None = None) -> ClaimsFile:
    """Read and check a claims file against the plans of the studies that it names.

    A plan is that in the study's folder in `results`, if it is there, else the config's. Raises
    ConfigError.
    """
    try:
        return _load_claims(path, reference, results)
    except ConfigError:
        if results is None:
            raise
        # A study may have been run before its config and these claims were edited.
        return _load_claims(path, reference, None)


def _load_claims(path: Path, reference: Path | None, results: Path | None) -> ClaimsFile:
    config = load_file(path)
    mapping, problems = config.data, list(config.problems)
    configs = name_configs(mapping)
    files = dict.fromkeys(configs.values())
    plans = {file: _load_plan(path.parent / file, results) for file in files}
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
    raise_problems([*problems, *found_problems], config.places, file=str(path))
    studies = {name: str(_sound(plans[file])["study"]) for name, file in configs.items()}
    return ClaimsFile(claims=claims, configs=configs, studies=studies, index=index)


def judge_study(folder: Path, claims: Path, reference: Path | None) -> None:
    """Judge claims by the tables of the study in `folder`, and write the verdicts beside them.

    Tables of the other studies that the claims file names count, too, if they are in folders beside
    this one.
    """
    file = load_claims(claims, reference, folder.parent)
    rows = [] if reference is None else list_rows(read_reference(reference))
    plan = read_json(folder / "plan.json")
    study = plan["study"]
    evidence = gather_evidence(study, _read_evidence(folder / "tables"), rows, plan["margin"])
    missing: dict[str, str] = {}
    for name in dict.fromkeys(file.studies.values()):
        if name != study:
            evidence = _gather_other(name, folder.parent / name, rows, missing) | evidence
    for experiment, config in file.configs.items():
        missing[experiment] = missing.get(file.studies[experiment], f"run {config}")
    with atomic_folder(folder / "claims") as out:
        write_tables(judge_claims(file.claims, evidence, missing), out)


def show_claims(folders: list[Path], *, is_whole: bool = True) -> str:
    """Return the stored verdicts of studies as text for a terminal, without judging again."""
    studies = [JudgedStudy(str(folder), *_read_claims(folder)) for folder in folders]
    return "\n".join(format_claims(*one) for one in studies) if is_whole else format_brief(studies)


def _load_plan(path: Path, results: Path | None) -> Json | ConfigError:
    """Return the plan of a config's study: as it was run, if it was."""
    try:
        if results is not None:
            study = load_config(path).data.get("study")
            stored = results / str(study) / "plan.json"
            if stored.is_file():
                plan: Json = read_json(stored)
                return plan
        return make_plan(load_study(path))
    except ConfigError as error:
        return error


def _sound(plan: Json | ConfigError) -> Json:
    if isinstance(plan, ConfigError):
        raise plan
    return plan


def _find_grid(experiment: str, file: str, plan: Json | ConfigError) -> Grid | Problem:
    """Return what claims may name in an experiment, or the problem of its config."""
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
    """Return the evidence of another study; if it cannot be read, add the reason to `missing`."""
    tables = folder / "tables"
    if not tables.is_dir():
        return {}
    try:
        margin = read_json(folder / "plan.json").get("margin", USUAL_MARGIN)
        return gather_evidence(study, _read_evidence(tables), reference, margin)
    except StoreError:
        missing[study] = f"{tables} is of another version; analyse study {study} again"
        return {}


def _read_claims(folder: Path) -> list[pd.DataFrame]:
    path = folder / "claims" / "claims.csv"
    if not path.is_file():
        raise StoreError(
            f"{folder}: no judged claims ({path} is missing); name the folder of a study that was"
            " run and whose config names claims, such as results/published"
        )
    return list(read_claims(path.parent).values())


MOST_TESTS = 4
"""The most tests that a sentence describes; those that decide come first."""


def describe_claim(
    judged: Sequence[tuple[ClaimTest, Estimate]], reason: str, limits: str = ""
) -> str:
    """Describe what was measured for a claim, what was published, and why it is not judged.

    `limits` says which limits were chosen here, and what the verdict owes to them.
    """
    known = [(test, measured) for test, measured in judged if measured.estimate is not None]
    parts = [_describe(test, measured) for test, measured in known[:MOST_TESTS]]
    if len(known) > MOST_TESTS:
        parts.append(f"{len(known) - MOST_TESTS} more like it")
    published = dict.fromkeys(filter(None, (_published(test) for test, _ in judged)))
    parts += list(published)[:MOST_TESTS]
    text = "; ".join([*parts, *filter(None, (reason, limits))])
    return f"{text[:1].upper()}{text[1:]}."


def _describe(test: ClaimTest, measured: Estimate) -> str:
    """Format a test: "makespan of t2: 1.02 [0.98, 1.06] × t1 in 5 blocks, expected 1 ± 10 %"."""
    if measured.estimate is None:
        return ""
    values = (measured.estimate, *([] if measured.upper is None else [measured.upper]))
    number = format_limits(values, (measured.low, measured.high), test.unit)
    blocks = f"{measured.n} block{'' if measured.n == 1 else 's'}"
    stage = f"{test.measure.stage} in " if test.measure.stage else ""
    what = f"{_name(test.measure)} of {stage}{test.treatment}"
    text = f"{what}: {number}{_against(test)} in {blocks}"
    if apart := _describe_apart(test, measured):
        text += f" ({apart})"
    if measured.pairing not in ("", IN_BLOCKS):
        apart = ", from another campaign" if measured.pairing == OTHER_CAMPAIGN else ""
        text += f" (not paired by block{apart})"
    return text if test.allowed is None else f"{text}, expected {test.allowed.text}"


def _describe_apart(test: ClaimTest, measured: Estimate) -> str:
    """Say that the number is a median and why, if readers can see the difference."""
    if measured.apart is None or measured.estimate is None:
        return ""
    other = format_estimate((measured.apart,), None, test.unit)
    if other == format_estimate((measured.estimate,), None, test.unit):
        return ""
    return f"median, since one of {measured.n} lies apart: {other}"


def _against(test: ClaimTest) -> str:
    if not test.to:
        return ""
    return f" {test.to}" if test.by == RATIO else f" against {test.to}"


def _name(measure: Measure) -> str:
    """Name a measure: "main end minus main base"."""
    name = words_of(measure.quantity)
    if measure.minus:
        name += f" minus {words_of(measure.minus)}"
    if measure.times:
        name += f" times {words_of(measure.times)}"
    if measure.over:
        name += f" divided by {words_of(measure.over)}"
    return name


def _published(test: ClaimTest) -> str:
    stated, logged = test.published.stated, test.published.logged
    if stated and logged:
        return f"stated {stated}, logged {logged}"
    if stated or logged:
        return f"stated {stated}" if stated else f"logged {logged}"
    return ""


REFUTED, CONTRADICTED, INCONCLUSIVE, NOT_TESTABLE, REPRODUCED, SHOWN = VERDICTS

_ORDER = (REFUTED, NOT_TESTABLE, INCONCLUSIVE, REPRODUCED, SHOWN)
"""Verdicts of tests, first to last: a claim has the first one among its tests."""

_DECIDED = (REFUTED, INCONCLUSIVE, REPRODUCED)
"""Verdicts that follow from numbers, and so from limits."""


class Judged(NamedTuple):
    """The verdict on one test.

    `at_half` and `at_twice` are the verdicts with half and twice of what the claims file chose; ""
    if it chose nothing that counts.
    """

    test: ClaimTest
    study: str
    measured: Estimate
    verdict: str
    reason: str
    chosen: str = ""
    at_half: str = ""
    at_twice: str = ""


def judge_claims(
    claims: Iterable[Claim], evidence: Mapping[str, Evidence], missing: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """Judge every claim: the tables `claims` and `claim_tests`, in the order of the claims.

    `missing` says how to get the evidence of each experiment that has none.
    """
    tested = [(claim, _judge_tests(claim, evidence, missing)) for claim in claims]
    verdicts = {claim.id: _judge(claim, judged) for claim, judged in tested}
    rows = [_claim_row(claim, judged, *_control(claim, verdicts)) for claim, judged in tested]
    tests = [
        _test_row(claim, number, one)
        for claim, judged in tested
        for number, one in enumerate(judged, 1)
    ]
    return {
        "claims": make_table("claims", rows),
        "claim_tests": make_table("claim_tests", tests),
    }


def _judge_tests(
    claim: Claim, evidence: Mapping[str, Evidence], missing: Mapping[str, str]
) -> list[Judged]:
    why = _why_not_testable(claim, evidence, missing)
    return [_judge_test(test, evidence.get(test.experiment), why) for test in claim.tests]


def _control(claim: Claim, verdicts: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Return a claim's verdict and reason; if a control does not hold, nothing is decided.

    A control that could not be tested makes its claim one that cannot be, either.
    """
    verdict, reason = verdicts[claim.id]
    failed = [name for name in claim.controls if verdicts[name][0] != REPRODUCED]
    if not failed or verdict not in (REFUTED, REPRODUCED):
        return verdict, reason
    untested = [name for name in failed if verdicts[name][0] == NOT_TESTABLE]
    if untested:
        whys = "; ".join(f"{name}, {verdicts[name][1]}" for name in untested)
        return NOT_TESTABLE, f"its control could not be tested: {whys}"
    controls = ", ".join(f"{name} is {verdicts[name][0]}" for name in failed)
    return INCONCLUSIVE, f"its control does not hold: {controls}"


def _judge(claim: Claim, judged: list[Judged]) -> tuple[str, str]:
    """Return the verdict on a claim, and the reason if it is not in the numbers."""
    contradictions = [test.published.contradiction for test in claim.tests]
    if any(contradictions):
        return CONTRADICTED, next(filter(None, contradictions))
    verdict = _first(one.verdict for one in judged)
    reasons = dict.fromkeys(one.reason for one in judged if one.verdict == verdict and one.reason)
    return verdict, "; ".join(reasons)


def _first(verdicts: Iterable[str]) -> str:
    return min(verdicts, key=_ORDER.index)


def _judge_test(test: ClaimTest, evidence: Evidence | None, why: str) -> Judged:
    """Judge one test; `why` says why its claim is not testable here, or is ""."""
    measured = measure_test(test, evidence.runs) if evidence else Estimate()
    study = evidence.study if evidence else ""
    if why:
        return Judged(test, study, measured, NOT_TESTABLE, why)
    if test.allowed is None:
        return Judged(test, study, measured, SHOWN, measured.why)
    if measured.is_missing:
        return Judged(test, study, measured, NOT_TESTABLE, f"not measured: {measured.why}")
    margin = evidence.margin if evidence else USUAL_MARGIN
    verdict = _compare(test, test.allowed, measured, margin)
    judged = Judged(test, study, measured, verdict, _why(test, measured, verdict, margin))
    if measured.low is None:
        return judged
    half, twice = test.limit.half or test.allowed, test.limit.twice or test.allowed
    at_half = _compare(test, half, measured, margin / 2)
    at_twice = _compare(test, twice, measured, margin * 2)
    chosen = test.limit.chosen
    if test.is_order and (judged.reason or {verdict, at_half, at_twice} & {REFUTED}):
        chosen = f"a margin of {100 * margin:g} % around 1" if verdict != REPRODUCED else ""
    if not chosen:
        return judged
    return judged._replace(chosen=chosen, at_half=at_half, at_twice=at_twice)


def _compare(test: ClaimTest, allowed: Range, measured: Estimate, margin: float) -> str:
    """Compare an interval with a range.

    Where a statement says only which side has more, it takes more than the margin of practical
    equivalence on the other side to refute it.
    """
    low, high = measured.low, measured.high
    if low is None or high is None:
        return INCONCLUSIVE
    if allowed.holds(low, high):
        return REPRODUCED
    if test.is_order:
        low, high = low / (1 + margin), high * (1 + margin)
    return REFUTED if allowed.misses(low, high) else INCONCLUSIVE


def _why(test: ClaimTest, measured: Estimate, verdict: str, margin: float) -> str:
    """Say what is not in the numbers: why nothing is decided, or how little a difference is."""
    low, high = measured.low, measured.high
    if measured.why or low is None or high is None:
        return measured.why
    if test.is_order and 1 / (1 + margin) <= low and high <= 1 + margin:
        equal = f"within {100 * margin:g} % of 1, the margin of practical equivalence"
        return (
            f"little: {equal}" if verdict == REPRODUCED else f"no difference in practice: {equal}"
        )
    if verdict != INCONCLUSIVE or measured.upper is None or test.allowed is None:
        return ""
    if math.inf in (measured.upper, high):
        return "the readings give a lower end alone"
    ends = sorted((measured.estimate or 0.0, measured.upper))
    is_whole = test.allowed.holds(*ends) or test.allowed.misses(*ends)
    return "" if is_whole else "the bracket of a run reaches across the limit"


def _why_not_testable(
    claim: Claim, evidence: Mapping[str, Evidence], missing: Mapping[str, str]
) -> str:
    for test in claim.tests:
        found = evidence.get(test.experiment)
        if found is None:
            why = f"experiment {test.experiment} was not run: {missing[test.experiment]}"
            return f"not measured: {why}"
        for treatment in (test.treatment, test.to):
            if treatment and treatment not in found.planned:
                why = f"study {found.study} has no treatment {treatment} of {test.experiment}"
                return f"not measured: {why}"
        if why := _why_unmet(claim.needs, found):
            return why
    return ""


def _why_unmet(needs: Needs, found: Evidence) -> str:
    if needs.cores and (found.cores is None or found.cores < needs.cores):
        has = "has an unknown number" if found.cores is None else f"has {found.cores}"
        return f"needs {needs.cores} cores, {has}"
    if needs.full_scale and found.misfit:
        return f"needs the published size ({found.misfit})"
    return ""


def describe_limits(judged: Sequence[Judged], verdict: str) -> str:
    """Name the limits that were chosen here, and say whether the verdict depends on them.

    Half and twice of a tolerance are half and twice as wide; of another limit, half and twice as
    far from no effect.
    """
    chosen = [one for one in judged if one.chosen]
    if verdict not in _DECIDED or not chosen:
        return ""
    half, twice = verdicts_at(judged)
    if half == twice == verdict:
        effect = "half or twice would change nothing"
    else:
        changes = [f"half: {half}" if half != verdict else "half: no change"]
        changes.append(f"twice: {twice}" if twice != verdict else "twice: no change")
        effect = ", ".join(changes)
    names = ", ".join(dict.fromkeys(one.chosen for one in chosen))
    return f"chosen here: {names} ({effect})"


def verdicts_at(judged: Iterable[Judged]) -> tuple[str, str]:
    """Return the verdicts on a claim with half and with twice of what was chosen."""
    pairs = [(one.at_half or one.verdict, one.at_twice or one.verdict) for one in judged]
    return _first(half for half, _ in pairs), _first(twice for _, twice in pairs)


def _claim_row(claim: Claim, judged: list[Judged], verdict: str, reason: str) -> Json:
    """Return the row of a claim, with the numbers of the test that decided its verdict."""
    ordered = sorted(judged, key=lambda one: _ORDER.index(one.verdict))
    # Where both are published, the sentence has them already.
    is_told = verdict == CONTRADICTED and any(
        test.published.contradiction and test.published.stated for test in claim.tests
    )
    aside = "" if is_told else reason
    # A control that fails decides, whatever the limits.
    is_decided = verdict in _DECIDED and verdict == _first(one.verdict for one in judged)
    limits = describe_limits(ordered, verdict) if is_decided else ""
    half, twice = verdicts_at(judged) if limits else ("", "")
    return {
        "id": claim.id,
        "kind": claim.kind,
        "says": claim.says,
        "place": claim.place,
        "experiment": claim.experiment,
        "verdict": verdict,
        "reason": reason,
        **_numbers(ordered[0]),
        "stated": _joined(test.published.stated for test in claim.tests),
        "logged": _joined(test.published.logged for test in claim.tests),
        "at_half": half,
        "at_twice": twice,
        "sentence": describe_claim([(one.test, one.measured) for one in ordered], aside, limits),
        "otherwise": claim.otherwise,
    }


def _test_row(claim: Claim, number: int, judged: Judged) -> Json:
    test, measure, allowed = judged.test, judged.test.measure, judged.test.allowed
    ends = {} if allowed is None else {"low": allowed.low, "high": allowed.high}
    return {
        "claim": claim.id,
        "test": number,
        "study": judged.study,
        "experiment": test.experiment,
        "treatment": test.treatment,
        "to": test.to,
        "by": test.by,
        "stage": measure.stage,
        "quantity": measure.quantity,
        "minus": measure.minus,
        "times": measure.times,
        "over": measure.over,
        "verdict": judged.verdict,
        "reason": judged.reason,
        **_numbers(judged),
        "measured_upper": _finite(judged.measured.upper),
        "apart": judged.measured.apart,
        "pairing": judged.measured.pairing,
        "expected": "" if allowed is None else allowed.text,
        # An infinite end is no limit.
        **{f"expected_{name}": end for name, end in ends.items() if math.isfinite(end)},
        "expected_from": test.limit.source,
        "chosen": judged.chosen,
        "at_half": judged.at_half,
        "at_twice": judged.at_twice,
        "stated": test.published.stated,
        "logged": test.published.logged,
    }


def _numbers(judged: Judged) -> Json:
    found = judged.measured
    return {
        "measured": found.estimate,
        "low": _finite(found.low),
        "high": _finite(found.high),
        "unit": judged.test.unit,
        "n": found.n,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, texts)))
