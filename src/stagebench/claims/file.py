"""A claims file → checked claims, or all of its problems at once."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.claims.figure_claims import make_figures
from stagebench.claims.model import (
    CHOSEN,
    LOGGED,
    RATIO,
    RUN_MEASURES,
    STAGE_MEASURES,
    STATED,
    WORDS,
    AmountError,
    Claim,
    ClaimTest,
    Limit,
    Measure,
    Published,
    Range,
    is_count,
    measure_unit,
    parse_amount,
    parse_limit,
    parse_range,
    publish,
    read_needs,
)
from stagebench.design.grid import MARGIN
from stagebench.design.problems import KeyPath, Problem, problem, unknown
from stagebench.design.schema_errors import list_problems, make_validator
from stagebench.design.yaml import load_config, read_keys
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from stagebench.claims.model import Amount, Grid

Json = dict[str, Any]


class ClaimsSources(NamedTuple):
    """What the verdicts on a claims file depend on beside it: its index, and studies by name."""

    tags: Path | None
    studies: tuple[str, ...]


def find_sources(path: Path) -> ClaimsSources:
    """Name what a claims file depends on, as far as it can be understood; nothing is checked.

    Raises ConfigError for a file that cannot be read.
    """
    mapping = read_keys(path, "experiments", "index")
    tags, studies = mapping.get("index"), dict[str, None]()
    for file in dict.fromkeys(name_configs(mapping).values()):
        with contextlib.suppress(ConfigError):  # the full check reports it
            studies[_name_study(path.parent / file)] = None
    return ClaimsSources(path.parent / tags if isinstance(tags, str) else None, tuple(studies))


def _name_study(config: Path) -> str:
    """Return the study's name, which a config may have from what it extends."""
    name = read_keys(config, "study").get("study")
    return str(load_config(config).data.get("study") if name is None else name)


def name_configs(mapping: Json) -> dict[str, str]:
    """Return the config of each experiment of a claims file, as far as it can be understood."""
    named = mapping.get("experiments")
    pairs = named.items() if isinstance(named, dict) else ()
    return {name: file for name, file in pairs if isinstance(file, str)}


_FORMS = ("equal", "above", "below", "between")


def check_claims(
    mapping: Json,
    grids: Mapping[str, Grid],
    reference: list[Json],
    tags: Collection[str] | None = None,
) -> tuple[tuple[Claim, ...], list[Problem]]:
    """Return the claims of a file, those of its figures last, and all of its problems.

    `grids` has the experiments that the file names, if their configs could be read; `reference` has
    the rows of the file of published values; `tags` has the places of the index, if there is one.
    """
    validator = make_validator("stagebench.claims", "claims.schema.yaml")
    problems = list_problems(validator, validator.iter_errors(mapping))
    checker = _Checker(mapping, grids, tags, problems)
    claims = [
        *(checker.claim(given, path) for given, path in checker.sound("claims")),
        *make_figures(checker.sound("figures"), grids, reference, checker.problems),
    ]
    checker.find_duplicates(claims)
    checker.check_controls()
    checker.check_figures()
    return tuple(claims), checker.problems


class _Checker:
    """Reads claims one by one, and collects their problems."""

    def __init__(
        self,
        mapping: Json,
        grids: Mapping[str, Grid],
        tags: Collection[str] | None,
        problems: list[Problem],
    ) -> None:
        self.problems = problems
        self._broken = [found.path for found in problems]
        self._mapping = mapping
        self._grids = grids
        self._tags = tags

    def sound(self, key: str) -> Iterator[tuple[Json, KeyPath]]:
        """Yield the entries of a list whose structure is valid."""
        entries = self._mapping.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not any(path[:2] == (key, index) for path in self._broken):
                yield entry, (key, index)

    def claim(self, given: Json, path: KeyPath) -> Claim:
        """Read one claim, without the tests that have problems."""
        places = _listed(given.get("place", []))
        for index, place in enumerate(places):
            if self._tags is not None and place not in self._tags:
                self._report((*path, "place", index), unknown("tag", place, self._tags))
        default = given.get("experiment")
        tests = [
            test
            for index, entry in enumerate(given["tests"])
            for test in self._tests({"experiment": default} | entry, (*path, "tests", index))
        ]
        return Claim(
            id=given["id"],
            kind=given["kind"],
            says=given["says"],
            place=", ".join(places),
            experiment=default or next((test.experiment for test in tests), ""),
            tests=tuple(tests),
            needs=read_needs(given),
            controls=tuple(_listed(given.get("control", []))),
            otherwise=given.get("otherwise", ""),
        )

    def find_duplicates(self, claims: list[Claim]) -> None:
        """Report ids that several claims share."""
        counts = Counter(claim.id for claim in claims)
        for name, count in counts.items():
            if count > 1:
                text = f"'{name}' is the id of {count} claims; allowed: each id once"
                self._report(("claims",), text)

    def check_controls(self) -> None:
        """Report controls that are not other claims."""
        given = list(self.sound("claims"))
        for entry, path in given:
            others = [other["id"] for other, _ in given if other is not entry]
            for name in _listed(entry.get("control", [])):
                if name not in others:
                    self._report((*path, "control"), unknown("claim", name, others))

    def check_figures(self) -> None:
        """Report unknown names in entries of figures, even if no published value matches."""
        for given, path in self.sound("figures"):
            grid = self._grid(given["experiment"], (*path, "experiment"))
            if grid is None:
                continue
            if "stage" in given:
                self._measure({"stage": None} | given, path, grid)
            elif given["quantity"] not in (*RUN_MEASURES, *STAGE_MEASURES):
                names = sorted({*RUN_MEASURES, *STAGE_MEASURES})
                self._report((*path, "quantity"), unknown("quantity", given["quantity"], names))
            self._check_where(given, path, grid)

    def _check_where(self, given: Json, path: KeyPath, grid: Grid) -> None:
        for factor, level in given.get("where", {}).items():
            known = [f[factor] for f in grid.treatments.values() if factor in f]
            if not known:
                names = dict.fromkeys(name for f in grid.treatments.values() for name in f)
                self._report((*path, "where", factor), unknown("factor", factor, names))
            for value in level if isinstance(level, list) and level not in known else [level]:
                if known and value not in known:
                    levels = dict.fromkeys(map(str, known))
                    self._report((*path, "where", factor), unknown("level", str(value), levels))

    def _tests(self, given: Json, path: KeyPath) -> list[ClaimTest]:
        """Read one entry of `tests`: one test per treatment that it names."""
        grid = self._grid(given["experiment"], (*path, "experiment"))
        if grid is None:
            return []
        known = len(self.problems)
        treatments, to = _listed(given["of"]), given.get("to", "")
        for key, name in [*(("of", name) for name in treatments), *([("to", to)] if to else [])]:
            if name not in grid.treatments:
                self._report((*path, key), unknown("treatment", name, grid.treatments))
        if "by" in given and not to:
            self._report((*path, "by"), "nothing to compare with; allowed: together with to")
        measure = self._measure(given, path, grid)
        if measure is None:
            return []
        by = given.get("by", RATIO) if to else ""
        unit = "ratio" if by == RATIO else measure.unit
        allowed, limit = self._allowed(given, path, unit, measure)
        published = self._published(given, path, (unit, measure_unit(measure.quantity)))
        if allowed is not None and not published.contradiction:
            published = _contradict(published, given, unit, allowed, limit)
        if len(self.problems) > known:
            return []
        return [
            ClaimTest(
                experiment=given["experiment"],
                treatment=treatment,
                to=to,
                by=by,
                measure=measure,
                unit=unit,
                allowed=allowed,
                limit=limit,
                published=published,
            )
            for treatment in treatments
        ]

    def _grid(self, experiment: str | None, path: KeyPath) -> Grid | None:
        """Return the grid of an experiment; None if it is unknown or its config has problems."""
        declared = self._mapping.get("experiments")
        names = list(declared) if isinstance(declared, dict) else []
        if experiment is None:
            self._report(path, f"missing; allowed: {', '.join(names)}")
        elif experiment not in names:
            self._report(path, unknown("experiment", experiment, names))
        return self._grids.get(experiment or "")

    def _measure(self, given: Json, path: KeyPath, grid: Grid) -> Measure | None:
        stage = given.get("stage") or ""
        if stage and stage not in grid.stages:
            self._report((*path, "stage"), unknown("stage", stage, grid.stages))
            return None
        keys = [key for key in ("quantity", "minus", "times", "over") if key in given]
        texts = {key: _why_no_quantity(key, given[key], stage, grid) for key in keys}
        for key, text in texts.items():
            if text:
                self._report((*path, key), text)
        if any(texts.values()):
            return None
        units = {key: measure_unit(given[key]) for key in keys}
        unit = units["quantity"]
        if "minus" in units and units["minus"] != unit:
            text = f"{given['minus']} ({units['minus']}) cannot be subtracted; allowed: {unit}"
            self._report((*path, "minus"), text)
        if "times" in units and units["times"] not in ("1", "share"):
            text = f"{given['times']} ({units['times']}) is no factor; allowed: a count, a share"
            self._report((*path, "times"), text)
        if "over" in units:
            unit = self._divided(unit, units["over"], given["over"], (*path, "over"))
        return Measure(
            quantity=given["quantity"],
            stage=stage,
            minus=given.get("minus", ""),
            times=given.get("times", ""),
            over=given.get("over", ""),
            unit=unit,
        )

    def _divided(self, unit: str, divisor: str, name: str, path: KeyPath) -> str:
        if unit == divisor:
            return "ratio"
        if divisor != "1":
            self._report(path, f"{name} ({divisor}) cannot divide {unit}; allowed: {unit}, a count")
        return unit

    def _allowed(
        self, given: Json, path: KeyPath, unit: str, measure: Measure
    ) -> tuple[Range | None, Limit]:
        """Return what a test allows and where that comes from; without `expect` it is shown."""
        if "expect" not in given:
            if "from" in given:
                self._report((*path, "from"), "nothing to explain; allowed: together with expect")
            return None, Limit()
        expect = given["expect"]
        allowed = self._range(expect, (*path, "expect"), unit, measure)
        if allowed is None:
            return None, Limit()
        source = CHOSEN
        if "equal" in expect:
            source = next((key for key in (STATED, LOGGED) if key in given), CHOSEN)
        elif unit == "ratio" and 1 in (allowed.low, allowed.high) and allowed.open:
            source = WORDS
        return allowed, parse_limit(expect, unit, given.get("from", source))

    def _range(self, expect: Json, path: KeyPath, unit: str, measure: Measure) -> Range | None:
        forms = [form for form in _FORMS if form in expect]
        if len(forms) != 1:
            found = ", ".join(forms) or "none"
            self._report(path, f"{found} of its forms; allowed: one of {', '.join(_FORMS)}")
            return None
        if "tolerance" in expect and forms != ["equal"]:
            self._report((*path, "tolerance"), "not allowed here; allowed: together with equal")
        exact = is_count(measure.quantity) and unit == "1"
        if forms == ["equal"] and "tolerance" not in expect and not exact:
            text = "missing; allowed: a number with %, or with the unit of the quantity"
            self._report((*path, "tolerance"), text)
        try:
            return parse_range(expect, unit)
        except AmountError as error:
            self._report(path, str(error))
            return None

    def _published(self, given: Json, path: KeyPath, units: tuple[str, str]) -> Published:
        keys = ("stated", "logged", "to_nearest")
        stated, logged, nearest = (self._amount(given, key, path, units) for key in keys)
        return publish(stated, logged, nearest)

    def _amount(
        self, given: Json, key: str, path: KeyPath, units: tuple[str, str]
    ) -> Amount | None:
        """Read a published amount, in the unit of the test or of its quantity."""
        if key not in given:
            return None
        for unit in dict.fromkeys(units):
            try:
                return parse_amount(given[key], unit)
            except AmountError as error:
                text = str(error)
        self._report((*path, key), text)
        return None

    def _report(self, path: KeyPath, text: str) -> None:
        self.problems.append(problem(path, text))


def _contradict(
    published: Published, given: Json, unit: str, allowed: Range, limit: Limit
) -> Published:
    """Say so if the log is outside of what the statement means, even with twice what was chosen.

    Where a statement says only which side has more, the log must be beyond the margin of practical
    equivalence, too.
    """
    try:
        logged = parse_amount(given["logged"], unit).value
    except (KeyError, AmountError):  # no log, or one in another unit
        return published
    ends = (logged, logged)
    if unit == "ratio" and allowed.open and 1 in (allowed.low, allowed.high):
        ends = (logged / (1 + MARGIN), logged * (1 + MARGIN))
    if not (allowed.misses(*ends) and (limit.twice or allowed).misses(*ends)):
        return published
    place = f"{given['of']}{' to ' + given['to'] if 'to' in given else ''}"
    text = f"the statement means {allowed.text} for {place}, its log says {published.logged}"
    return replace(published, contradiction=text)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _why_no_quantity(key: str, name: str, stage: str, grid: Grid) -> str:
    if name in (STAGE_MEASURES if stage else RUN_MEASURES):
        return ""
    if stage and key in ("times", "over") and name in RUN_MEASURES:
        return ""
    if stage:
        return unknown("quantity of a stage", name, STAGE_MEASURES)
    if name in STAGE_MEASURES:
        stages = ", ".join(grid.stages)
        return f"'{name}' is a quantity of a stage; allowed: together with stage: {stages}"
    return unknown("quantity", name, RUN_MEASURES)
