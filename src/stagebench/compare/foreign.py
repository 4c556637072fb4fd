"""Records of other tools as tables that `compare` reads: each benchmark or command a treatment.

A run is what was started anew: of hyperfine each time, of pyperf each process, whose values are
averaged because they share its luck. Of tadween-core each treatment of its published logs was run
once. What a file does not have stays unknown, first of all the work that was done and the blocks in
which it was measured: runs are numbered in their order.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import ConfigError, OptionError, StoreError
from stagebench.present.markdown import count_noun
from stagebench.store import atomic_folder, canonical_json, read_file, read_json
from stagebench.tables.io import make_table, write_table
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Row = dict[str, Any]

PYPERF, HYPERFINE, TADWEEN = "pyperf", "hyperfine", "tadween-core"

_PROPERTIES = {
    "hostname": "host",
    "cpu_model_name": "cpu_model",
    "cpu_count": "cores",
    "platform": "os",
    "python_version": "python",
    "python_implementation": "python_implementation",
    "python_compiler": "python_compiler",
    "aslr": "aslr",
    "cpu_affinity": "affinity",
    "perf_version": "packages.pyperf",
}
"""Metadata of pyperf → property of the table `environment`."""

_MOST_PROBLEMS = 10


class ImportedRuns(NamedTuple):
    """What a file has: the tool that made it, runs, and properties of machine and software."""

    tool: str
    runs: list[Row]
    environment: Mapping[str, str]


class _ContentError(Exception):
    """A place of a file that is not what is expected there: `text` has place, value, allowed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def import_records(file: Path, out: Path | None = None) -> str:
    """Write the tables of a file by another tool into a new folder; return what to do with it."""
    target = out or Path("results", file.stem)
    if target.exists():
        raise OptionError(f"--out {target}: exists already; allowed: a new folder")
    found = read_foreign(file)
    properties = [
        {"property": name, "value": value, "runs": len(found.runs), "where": ""}
        for name, value in found.environment.items()
    ]
    tables = {"runs": found.runs, "stages": [], "environment": properties}
    try:
        with atomic_folder(target) as folder:
            for name, rows in tables.items():
                write_table(make_table(name, rows), folder / "tables" / f"{name}.csv")
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error.strerror})") from error
    treatments = len({(row["experiment"], row["treatment"]) for row in found.runs})
    return (
        f"{target}: {count_noun(len(found.runs), 'run')} of {count_noun(treatments, 'treatment')}"
        f" from {found.tool}\n"
    )


def read_foreign(file: Path) -> ImportedRuns:
    """Read a file by another tool; raises StoreError or ConfigError with what is wrong in it."""
    data = read_file(file)
    campaign = f"sha256 {hashlib.sha256(data).hexdigest()[:12]}"
    if file.suffix == ".csv":
        return _read_tadween(file, data, campaign)
    content = read_json(file)
    if isinstance(content, dict) and isinstance(content.get("benchmarks"), list):
        tool, items = PYPERF, content["benchmarks"]
    elif isinstance(content, dict) and isinstance(content.get("results"), list):
        tool, items = HYPERFINE, content["results"]
    else:
        raise StoreError(
            f"{file}: is not known; allowed: JSON by pyperf (`benchmarks`) or by hyperfine"
            f" (`results`), CSV of tadween-core's logs"
        )
    common = content.get("metadata")
    metadata = common if isinstance(common, dict) else {}

    def read(place: str, one: Any) -> Iterator[Row]:
        if tool == PYPERF:
            return _list_pyperf(place, one, metadata)
        return _list_hyperfine(place, one)

    runs = _collect(file, items, read)
    numbered = _complete(file, tool, runs, str(metadata.get("date") or campaign))
    return ImportedRuns(tool, numbered, _read_properties(metadata, items))


def _collect(
    file: Path, items: Sequence[Any], read: Callable[[str, Any], Iterator[Row]]
) -> list[Row]:
    """Read all items, and report all problems at once."""
    rows, problems = [], []
    for place, one in enumerate(items):
        try:
            rows += list(read(f"[{place}]", one))
        except _ContentError as error:
            problems.append(error.text)
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        rest = [f"and {more} more"] if more > 0 else []
        raise ConfigError([*problems[:_MOST_PROBLEMS], *rest], file=str(file))
    if not rows:
        raise StoreError(f"{file}: has no runs; allowed: at least one value")
    return rows


def _complete(file: Path, tool: str, rows: Sequence[Row], campaign: str) -> list[Row]:
    """Add what all runs have, and their numbers; raises StoreError if two have one name."""
    numbers: dict[str, int] = {}
    owners: dict[str, object] = {}
    found = []
    for row in rows:
        name, owner = row["treatment"], row.pop("owner", row["treatment"])
        if owners.setdefault(name, owner) != owner:
            raise StoreError(f"{file}: {name!r} is the name of two benchmarks; allowed: of one")
        numbers[name] = number = numbers.get(name, 0) + 1
        common = {"replicate": number, "block": number, "campaign": campaign, "shown": False}
        usual = {"experiment": tool, "baseline": False, "status": "ok", "factors": "{}"}
        found.append(usual | common | row)
    return found


def _list_hyperfine(place: str, result: Any) -> Iterator[Row]:
    place = f"results{place}"
    if not isinstance(result, dict):
        raise _ContentError(f"{place}: {type(result).__name__}; allowed: a mapping")
    name = _read_name(f"{place}.command", result.get("command"))
    times = result.get("times")
    if not isinstance(times, list) or not times:
        raise _ContentError(f"{place}.times: {times!r}; allowed: a list of seconds")
    codes = result.get("exit_codes")
    codes = codes if isinstance(codes, list) and len(codes) == len(times) else [0] * len(times)
    parameters = result.get("parameters")
    factors = canonical_json(parameters) if isinstance(parameters, dict) else "{}"
    for number, (value, code) in enumerate(zip(times, codes, strict=True)):
        seconds = _read_seconds(f"{place}.times[{number}]", value)
        ended = {"status": "ok"} if code == 0 else {"status": "failed", "detail": f"exit {code}"}
        yield {"treatment": name, "owner": place, "factors": factors, "makespan_s": seconds} | ended


def _list_pyperf(place: str, benchmark: Any, common: Mapping[str, Any]) -> Iterator[Row]:
    place = f"benchmarks{place}"
    if not isinstance(benchmark, dict):
        raise _ContentError(f"{place}: {type(benchmark).__name__}; allowed: a mapping")
    own = benchmark.get("metadata")
    metadata = {**common, **(own if isinstance(own, dict) else {})}
    name = _read_name(f"{place}.metadata.name", metadata.get("name"))
    unit = metadata.get("unit", "second")
    if unit != "second":
        raise _ContentError(f"{place}.metadata.unit: {unit!r}; allowed: 'second'")
    runs = benchmark.get("runs")
    if not isinstance(runs, list):
        raise _ContentError(f"{place}.runs: {type(runs).__name__}; allowed: a list")
    for number, run in enumerate(runs):
        if not isinstance(run, dict):
            raise _ContentError(f"{place}.runs[{number}]: {run!r}; allowed: a mapping")
        values = run.get("values", [])
        if not isinstance(values, list):
            raise _ContentError(f"{place}.runs[{number}].values: {values!r}; allowed: a list")
        seconds = [
            _read_seconds(f"{place}.runs[{number}].values[{index}]", value)
            for index, value in enumerate(values)
        ]
        if seconds:  # a process that only calibrates has none
            when = run.get("metadata")
            date = when.get("date") if isinstance(when, dict) else None
            row = {"treatment": name, "owner": place, "makespan_s": fmean(seconds)}
            yield row | ({"started_at": str(date)} if date else {})


def _read_name(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _ContentError(f"{place}: {value!r}; allowed: a name")
    return value


def _read_seconds(place: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise _ContentError(f"{place}: {value!r}; allowed: seconds above 0")
    return float(value)


def _read_properties(metadata: Mapping[str, Any], items: Sequence[Any]) -> dict[str, str]:
    """Return the properties that all benchmarks of a file have in common."""
    each = [one.get("metadata") for one in items if isinstance(one, dict)]
    own = each[0] if len(each) == 1 and isinstance(each[0], dict) else {}
    known = {**metadata, **own}
    return {name: str(known[key]) for key, name in _PROPERTIES.items() if key in known}


_RUNTIME = ("treatment", "executor", "start_method", "workers", "logic", "stage", "tasks")
_RUNTIME_VALUE = "response_time_of_slowest_task_s"
_MEMORY = ("treatment", "executor", "start_method", "workers", "retain", "peak_total_mb")


def _read_tadween(file: Path, data: bytes, campaign: str) -> ImportedRuns:
    """Read the published logs: a row per stage with the run's time, or per run with its peak."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError(f"{file}: is no text in UTF-8 ({error.reason})") from error
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    if {*_RUNTIME, _RUNTIME_VALUE} <= {*columns}:
        make, experiment = _make_runtime_run, "runtime"
    elif {*_MEMORY} <= {*columns}:
        make, experiment = _make_memory_run, "memory"
    else:
        raise StoreError(
            f"{file}: its columns are not those of tadween-core's logs; allowed:"
            f" {', '.join((*_RUNTIME, _RUNTIME_VALUE))}, or {', '.join(_MEMORY)}"
        )
    first: dict[str, tuple[str, Row]] = {}
    for row in reader:
        # Every stage of a run has the time of the run.
        first.setdefault(str(row["treatment"]), (f"line {reader.line_num}", row))
    items = [*first.values()]
    rows = _collect(file, items, lambda _, one: iter([make(*one)]))
    named = [row | {"experiment": experiment} for row in rows]
    return ImportedRuns(TADWEEN, _complete(file, TADWEEN, named, campaign), {})


def _make_runtime_run(place: str, row: Row) -> Row:
    """Make a run; all tasks were submitted at once, so the slowest one's response is the makespan.

    So does config/published.csv.
    """
    return {
        "treatment": _read_name(f"{place}, treatment", row["treatment"]),
        "factors": _read_factors(place, row, "logic"),
        "tasks": _read_whole(f"{place}, tasks", row["tasks"]),
        "makespan_s": _parse(f"{place}, {_RUNTIME_VALUE}", row[_RUNTIME_VALUE]),
    }


def _make_memory_run(place: str, row: Row) -> Row:
    """Make a run; its peak was polled, so that it is a lower end without an upper one."""
    return {
        "treatment": _read_name(f"{place}, treatment", row["treatment"]),
        "factors": _read_factors(place, row, "retain"),
        "tree_peak_bytes": round(
            _parse(f"{place}, peak_total_mb", row["peak_total_mb"]) * MIB  # MB there is MiB
        ),
    }


def _read_factors(place: str, row: Row, last: str) -> str:
    factors: Row = {
        "workers": _read_whole(f"{place}, workers", row["workers"]),
        "executor": row["executor"],
    }
    if row["start_method"]:
        factors["start_method"] = row["start_method"]
    factors[last] = {"True": True, "False": False}.get(row[last], row[last])
    return canonical_json(factors)


def _read_whole(place: str, text: Any) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10):
        raise _ContentError(f"{place}: {text!r}; allowed: a whole number")
    return int(text)


def _parse(place: str, text: Any) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise _ContentError(f"{place}: {text!r}; allowed: a number above 0")
    return value
