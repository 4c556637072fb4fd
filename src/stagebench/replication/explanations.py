"""The report's section that explains main's memory, where one pool determines it.

Four questions, each answered from the tables: why main's PSS falls while workers live, why main
peaks above its base and its results, what a start method costs, and what remains at the end. A
cause is named only if the data agree with it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.present.markdown import (
    count_noun,
    format_percent,
    format_table,
    quote_code,
    render_template,
)
from stagebench.present.report import Section
from stagebench.replication.memory_figures import MAIN_FIGURE, choose_of
from stagebench.replication.pool_memory import (
    KINDS,
    Explanation,
    group_by_workers,
    in_mib,
    in_results,
    list_pools,
    name_all,
    some_of,
    spread,
    steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from stagebench.present.experiment import Experiment
    from stagebench.present.report import Contents
    from stagebench.replication.pool_memory import PoolMemory


_TEMPLATE = Path(__file__).with_name("explanations.md.j2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The explanations of one experiment, and the path of its figure of main, or ""."""

    experiment: str
    figure: str
    explanations: Sequence[Explanation]


def render_explanations(contents: Contents) -> str:
    """Return the section that explains main's memory; "" if no experiment has a single stage."""
    environment = contents.tables["environment"]
    explained = explain_experiments(contents.experiments, environment, contents.figures)
    return render_template(_TEMPLATE, {"explained": explained}) if explained else ""


def explain_experiments(
    experiments: Sequence[Experiment], environment: pd.DataFrame, figures: Path
) -> list[Explained]:
    """Explain every single-stage experiment whose base is known."""
    python = _python_version(environment)
    explained = [_explain(experiment, python, figures) for experiment in experiments]
    return [one for one in explained if one.explanations]


def _explain(experiment: Experiment, python: tuple[int, int] | None, figures: Path) -> Explained:
    figure = figures / experiment.name / f"{MAIN_FIGURE.name}.png"
    pools = list_pools(experiment)
    found = (
        explain_sharing(pools),
        explain_transit(pools, python),
        explain_cost(pools),
        explain_remains(pools),
    )
    return Explained(
        experiment=experiment.name,
        figure=figure.as_posix() if choose_of(pools) else "",
        explanations=[one for one in found if one is not None],
    )


def _python_version(environment: pd.DataFrame) -> tuple[int, int] | None:
    """Return major and minor version if all runs used the same CPython."""
    values = environment.groupby("property")["value"].apply(list).to_dict()
    if values.get("python_implementation") != ["CPython"]:
        return None
    versions = {
        (int(found[1]), int(found[2]))
        for text in values.get("python", [])
        if (found := re.match(r"(\d+)\.(\d+)", text))
    }
    return versions.pop() if len(versions) == 1 else None


EXPLANATIONS = Section(
    "why-memory",
    "Why memory looks as it does",
    "what main's memory is made of, in experiments of one stage",
    render_explanations,
)


HELPERS = {
    "resource_tracker": "resource tracker",
    "forkserver": "fork server",
    "daemon": "daemon of an engine",
    "other": "other",
}
"""Role of a child that serves no task → its name in the report."""

_ALIKE = 0.25
"""Sizes whose ratio differs from 1 by less are reported as alike."""

_READY = {"PSS": "pss", "anonymous": "anon", "files": "file", "USS": "uss"}
_WORKER_NAMES = {"fork": "forked", "forkserver": "fork server's", "spawn": "spawned"}


def explain_cost(pools: list[PoolMemory]) -> Explanation | None:
    """Split the children's PSS by role, and a worker's into its own part and its results."""
    processes = [pool for pool in pools if not math.isnan(pool.role("worker", "created"))]
    if not processes:
        return None
    chosen = [pool for kind in _WORKER_NAMES if (pool := _plainest(processes, kind)) is not None]
    workers = [_worker(pool) for pool in chosen]
    found = (*workers, _difference(chosen), _helpers(processes), _preload(processes))
    helpers = [
        role for role in HELPERS if any(pool.role(role, "created") > 0 for pool in processes)
    ]
    columns = [
        "treatment",
        *(f"ready: {name}" if name == "PSS" else name for name in _READY),
        "largest serving",
        *(HELPERS[role] for role in helpers),
        "children at peak",
    ]
    return Explanation(
        title="What a start method costs",
        sentences=[sentence for sentence in found if sentence],
        caption=(
            "PSS in MiB of one ready worker and its parts, of the largest worker and helper, and "
            "of all children at the tree's peak."
        ),
        table=format_table(columns, [_cost_row(pool, helpers) for pool in processes], texts=1),
    )


def _cost_row(pool: PoolMemory, helpers: list[str]) -> list[str]:
    ready = [in_mib(_ready(pool, part)) for part in _READY.values()]
    largest = [in_mib(pool.role(role, "largest_pss_bytes")) for role in ("worker", *helpers)]
    return [pool.treatment, *ready, *largest, in_mib(_children_at_peak(pool))]


def _ready(pool: PoolMemory, part: str) -> float:
    return pool.role("worker", f"ready_{part}_bytes")


def _children_at_peak(pool: PoolMemory) -> float:
    sizes = [pool.role(role, "at_peak_pss_bytes") for role in ("worker", *HELPERS)]
    known = [size for size in sizes if not math.isnan(size)]
    return sum(known) if known else math.nan


def _plainest(pools: list[PoolMemory], kind: str) -> PoolMemory | None:
    """Return the pool of a kind with the fewest workers, preferably one that drops its results."""
    own = [pool for pool in pools if pool.kind == kind and not math.isnan(_ready(pool, "pss"))]
    return min(own, key=lambda pool: (pool.workers, pool.retain), default=None)


def _worker(pool: PoolMemory) -> str:
    sizes = {part: in_mib(_ready(pool, part)) for part in _READY.values()}
    parts = (
        f"A ready **{_WORKER_NAMES[pool.kind]} worker** (`{pool.treatment}`) has"
        f" {sizes['pss']} MiB of PSS: {sizes['anon']} anonymous, {sizes['file']} of files;"
        f" {sizes['uss']} MiB belong to it alone (USS)."
    )
    found = (parts, _imports(pool), _handed_over(pool))
    return " ".join(sentence for sentence in found if sentence)


def _imports(pool: PoolMemory) -> str:
    """Compare a worker's private memory with the anonymous memory of main's base."""
    own, base = _ready(pool, "uss"), pool.main("base", "anon")
    share = own / base
    sizes = f"{in_mib(own)} MiB against {in_mib(base)} MiB of anonymous memory at main's base"
    if abs(share - 1) <= _ALIKE:
        return (
            f"That is as much as main itself had written ({sizes}): the worker built it all again."
        )
    if share < 1:
        text = f"That is {format_percent(share)} of what main itself had written ({sizes})"
        return f"{text}: it shares the rest." if pool.kind == "fork" else f"{text}."
    return f"That is more than main itself had written ({sizes})."


def _handed_over(pool: PoolMemory) -> str:
    rise = pool.role("worker", "largest_pss_bytes") - _ready(pool, "pss")
    count = rise / pool.result
    if math.isnan(count) or count < _ALIKE:
        return ""
    return (
        f"While serving tasks it grew by another {in_mib(rise)} MiB, the size of"
        f" {in_results(count)} results: that comes from its work, not from its start."
    )


def _difference(chosen: list[PoolMemory]) -> str:
    by_kind = {pool.kind: pool for pool in chosen}
    fork = by_kind.pop("fork", None)
    differences = [
        f"{in_mib(_ready(pool, 'uss') - _ready(fork, 'uss'))} MiB (`{pool.treatment}` over"
        f" `{fork.treatment}`)"
        for pool in by_kind.values()
        if fork is not None and pool.workers == fork.workers
    ]
    if not differences:
        return ""
    listed = ", ".join(differences)
    return f"In private memory (USS), a worker that is not forked costs {listed} more."


def _helpers(pools: list[PoolMemory]) -> str:
    found = []
    for role, name in HELPERS.items():
        own = [pool for pool in pools if pool.role(role, "created") > 0]
        if own:
            found.append(_helper(role, name, own))
    if found:
        return " ".join(found)
    return "No resource tracker or other helper was started besides the workers."


def _helper(role: str, name: str, pools: list[PoolMemory]) -> str:
    kinds = " and ".join(dict.fromkeys(pool.kind for pool in pools))
    once = ", one for any number of them" if _is_single(role, pools) else ""
    where = f"A **{name}** process runs beside the workers of {kinds}{once}"
    one = max(pools, key=lambda pool: _share(pool, role))
    if math.isnan(_share(one, role)):
        return f"{where}; no sweep read it at the tree's peak."
    return (
        f"{where}: {in_mib(one.role(role, 'largest_pss_bytes'))} MiB of PSS, at most"
        f" {format_percent(_share(one, role))} of the children's at the tree's peak"
        f" (`{one.treatment}`)."
    )


def _is_single(role: str, pools: list[PoolMemory]) -> bool:
    several = len({pool.workers for pool in pools}) > 1
    return several and all(pool.role(role, "created") == 1 for pool in pools)


def _share(pool: PoolMemory, role: str) -> float:
    whole = _children_at_peak(pool)
    return pool.role(role, "at_peak_pss_bytes") / whole if whole else math.nan


def _preload(pools: list[PoolMemory]) -> str:
    modules = sorted({pool.preload for pool in pools if pool.preload})
    if not modules:
        return ""
    return (
        f"Main had imported {' or '.join(map(quote_code, modules))} before its workers"
        " started. Every worker imports the same when it starts, as a spawned one imports the"
        " script of its program again; in a forked one they are already loaded."
    )


_NOTHING = 0.25
"""Less than this share of a result is reported as nothing."""


def explain_remains(pools: list[PoolMemory]) -> Explanation | None:
    """Compare main's end with its base where results are dropped and the pool is closed."""
    closed = [pool for pool in pools if pool.is_closed_at_end and not math.isnan(pool.result)]
    if not closed:
        return None
    threads = [pool for pool in closed if pool.kind == "thread"]
    processes = [pool for pool in closed if pool.kind != "thread"]
    found = (_threads_remains(threads), _processes_remains(processes))
    columns = ["treatment", "base", "peak", "end", "end − base", "in results"]
    return Explanation(
        title="What remains after the last task",
        sentences=[sentence for sentence in found if sentence],
        caption=(
            "Main's PSS in MiB, where results are dropped and the pool is closed before the end."
        ),
        table=format_table(columns, [_remains_row(pool) for pool in closed], texts=1),
    )


def _remains(pool: PoolMemory) -> float:
    return pool.growth("pss", "end")


def _remains_row(pool: PoolMemory) -> list[str]:
    sizes = [pool.main(phase, "pss") for phase in ("base", "peak", "end")]
    cells = [in_mib(size) for size in (*sizes, sizes[2] - sizes[0])]
    return [pool.treatment, *cells, in_results(_remains(pool))]


def _threads_remains(pools: list[PoolMemory]) -> str:
    if not pools:
        return ""
    left = [pool for pool in pools if _remains(pool) >= _NOTHING]
    if not left:
        return f"**Threads**: nothing of a result's size remains in main in {name_all(pools)}."
    sizes = ", ".join(f"{in_results(_remains(pool))} (`{pool.treatment}`)" for pool in left)
    each = all(abs(_remains(pool) / pool.workers - 1) <= _NOTHING for pool in left)
    return (
        f"**Threads**: main keeps memory of the size of {sizes} results"
        f"{', one per worker' if each else ''}. By then all results were dropped and the threads"
        f" had ended, so no worker can be holding its last result. {_hypothesis(pools)}"
    )


def _hypothesis(pools: list[PoolMemory]) -> str:
    cause = "A hypothesis is that the allocator keeps the pages of freed blocks"
    if len({pool.others for pool in pools}) > 1:
        return f"{cause}; the table shows what other factors change."
    return f"{cause}; this experiment does not test it."


def _processes_remains(pools: list[PoolMemory]) -> str:
    if not pools:
        return ""
    sizes = spread(_remains(pool) for pool in pools)
    if max(_remains(pool) for pool in pools) < _NOTHING:
        return f"**Processes**: nothing of a result's size remains in main ({sizes} results)."
    left = [pool for pool in pools if _remains(pool) >= _NOTHING]
    return f"**Processes**: {sizes} results remain in main, mainly in {name_all(left)}."


FALL = 0.05
"""A value that changes by less than this share is reported as unchanged."""

_PARTS = {"PSS": "pss", "anonymous": "anon", "USS": "uss", "RSS": "rss"}
_KIND_NAMES = {
    "thread": "Threads",
    "fork": "Forked workers",
    "forkserver": "Workers of a fork server",
    "spawn": "Spawned workers",
}


def explain_sharing(pools: list[PoolMemory]) -> Explanation | None:
    """Compare main's PSS, anonymous PSS, USS and RSS before, beside and after its workers."""
    if not any(pool.workers_in("trough") for pool in pools):
        return None
    by_kind = {kind: [pool for pool in pools if pool.kind == kind] for kind in KINDS}
    sentences = [
        f"**{_KIND_NAMES[kind]}**: "
        f"{_threads_sharing(own) if kind == 'thread' else _processes_sharing(own)}"
        for kind, own in by_kind.items()
        if own
    ]
    table = format_table(["treatment", *_PARTS], [_sharing_row(pool) for pool in pools], texts=1)
    return Explanation(
        title="Why main's PSS falls while workers live",
        sentences=sentences,
        caption="Main in MiB: at its base → at its lowest PSS beside workers → at the end.",
        table=table,
    )


def _sharing_row(pool: PoolMemory) -> list[str]:
    phases = ("base", "trough", "end")
    return [
        pool.treatment,
        *(steps(pool.main(phase, part) for phase in phases) for part in _PARTS.values()),
    ]


def _fell(pool: PoolMemory, part: str) -> bool:
    return pool.main("trough", part) < (1 - FALL) * pool.main("base", part)


def _fall(pool: PoolMemory, part: str) -> float:
    return pool.main("base", part) - pool.main("trough", part)


def _threads_sharing(pools: list[PoolMemory]) -> str:
    fallen = [pool for pool in pools if _fell(pool, "pss")]
    if fallen:
        return (
            f"main's PSS fell in {name_all(fallen)} though there was no worker process to share"
            " its pages: sharing does not explain that."
        )
    return (
        f"no process shares main's pages, and in {some_of(pools, pools)} its PSS never"
        f" fell {100 * FALL:.0f} % below its base."
    )


def _processes_sharing(pools: list[PoolMemory]) -> str:
    seen = [pool for pool in pools if pool.workers_in("trough") > 0]
    if not seen:
        return "no sweep read one, so main's PSS beside them is unknown."
    fallen = [pool for pool in seen if _fell(pool, "pss")]
    if not fallen:
        return (
            f"main's PSS stayed within {100 * FALL:.0f} % of its base in"
            f" {some_of(seen, seen)}: there is no fall to explain."
        )
    deepest = min(fallen, key=lambda pool: pool.main("trough", "pss") / pool.main("base", "pss"))
    beside = count_noun(int(deepest.workers_in("trough")), "worker")
    most = "" if len(fallen) == 1 else f", most in {name_all([deepest])}"
    fell = (
        f"main's PSS fell in {some_of(fallen, seen)} while workers lived{most}: from"
        f" {_from_to(deepest, 'pss')} MiB beside {beside}."
    )
    more = (_resident(fallen, deepest), _what_fell(deepest), _deeper(fallen), _return(fallen))
    return " ".join(sentence for sentence in (fell, *more) if sentence)


def _from_to(pool: PoolMemory, part: str) -> str:
    return f"{in_mib(pool.main('base', part))} to {in_mib(pool.main('trough', part))}"


def _resident(fallen: list[PoolMemory], deepest: PoolMemory) -> str:
    less = [pool for pool in fallen if _fell(pool, "rss")]
    if less:
        return (
            f"In {name_all(less)} its RSS fell, too: there main returned memory, so sharing is not"
            " the only cause."
        )
    return (
        "Its RSS, which counts shared pages in full, did not fall"
        f" ({_from_to(deepest, 'rss')} MiB): main returned nothing, but part of its pages was"
        " counted with the workers."
    )


def _what_fell(deepest: PoolMemory) -> str:
    whole, anonymous = _fall(deepest, "pss"), _fall(deepest, "anon")
    if anonymous < whole / 2:
        return (
            f"Its anonymous part went from {_from_to(deepest, 'anon')} MiB, so the fall is mainly"
            " in file pages, of libraries that the workers map, too."
        )
    text = (
        f"Of the {in_mib(whole)} MiB, {in_mib(min(anonymous, whole))} are anonymous memory, which"
        " main had written before and now shares"
    )
    if _fell(deepest, "uss"):
        return (
            f"{text}; for the same reason its USS, the pages that it shares with nobody, went from"
            f" {_from_to(deepest, 'uss')} MiB."
        )
    return f"{text}."


def _deeper(fallen: list[PoolMemory]) -> str:
    """Compare pools that differ only in their workers, preferably those that drop results."""
    groups = group_by_workers(fallen)
    if not groups:
        return ""
    least = [pool.main("trough", "pss") for pool in groups[0]]
    sizes = ", ".join(
        f"{in_mib(size)} MiB with {pool.workers}"
        for size, pool in zip(least, groups[0], strict=True)
    )
    if least == sorted(least, reverse=True):
        return f"The more workers share its pages, the smaller main's part of them: {sizes}."
    return f"More workers did not make it fall further: {sizes}."


def _return(fallen: list[PoolMemory]) -> str:
    gone = [pool for pool in fallen if pool.workers_in("end") == 0]
    if not gone:
        return "No worker ended before the last sweep, so whether it comes back is unknown."
    away = [
        pool for pool in gone if pool.main("end", "pss") < (1 - FALL) * pool.main("base", "pss")
    ]
    if away:
        return f"After the workers ended it did not come back in {name_all(away)}."
    sizes = ", ".join(f"`{pool.treatment}` {in_mib(pool.main('end', 'pss'))}" for pool in gone)
    return f"After the workers ended it came back: {sizes} MiB."


MARGIN = 0.25
"""Multiples of a result that differ by less are reported as alike."""

_COLUMNS = (
    "treatment",
    "held at the end",
    "PSS, sweeps",
    "RSS, same sweep",
    "RSS, high water",
    "above held",
)


def copies_in_main(python: tuple[int, int] | None) -> int | None:
    """Return how many blocks of a result's size CPython holds while it unpickles a bytearray.

    The pickled stream and the bytearray; before protocol 5, the default since 3.14, also the bytes
    from which it is made. None if the interpreter is not known to be CPython.
    """
    if python is None:
        return None
    return 3 if python < (3, 14) else 2


def explain_transit(pools: list[PoolMemory], python: tuple[int, int] | None) -> Explanation | None:
    """Compare main's growth in the sweeps and at its high-water mark, in units of one result."""
    sized = [pool for pool in pools if not math.isnan(pool.result)]
    processes = [pool for pool in sized if pool.kind != "thread"]
    if not processes:
        return None
    sizes = sorted({pool.result for pool in sized})
    threads = [pool for pool in sized if pool.kind == "thread"]
    unit = (
        f"One result takes {' or '.join(in_mib(size) for size in sizes)} MiB. All numbers here are"
        " main's growth over its base, in units of one result."
    )
    found = (
        unit,
        _threads_transit(threads),
        *_processes_transit(processes, copies_in_main(python)),
        _fewer(processes),
    )
    return Explanation(
        title="Why main peaks above its base and the results that it holds",
        sentences=[sentence for sentence in found if sentence],
        caption=(
            "Main over its base, in results: the largest PSS of a sweep, RSS in that sweep, "
            "and the largest RSS that the kernel saw."
        ),
        table=format_table(_COLUMNS, [_transit_row(pool) for pool in sized], texts=1),
    )


def _transit_row(pool: PoolMemory) -> list[str]:
    growth = (pool.growth("pss", "peak"), pool.growth("rss", "peak"), pool.high_water_growth)
    cells = [in_results(value) for value in (*growth, _above(pool))]
    return [pool.treatment, str(pool.kept), *cells]


def _above(pool: PoolMemory) -> float:
    """Return the growth at the high-water mark without the results that are held at the end."""
    return pool.high_water_growth - pool.kept


def _own(pool: PoolMemory) -> float:
    """Return what the pool itself takes in main, in results: RSS beside idle workers over base."""
    own = pool.growth("rss", "trough")
    return max(own, 0) if pool.workers_in("trough") > 0 else 0


def _threads_transit(pools: list[PoolMemory]) -> str:
    dropped = [pool for pool in pools if not pool.retain]
    if not dropped:
        return ""
    sizes = ", ".join(
        f"{in_results(pool.growth('pss', 'peak'))} (`{pool.treatment}`)" for pool in dropped
    )
    if all(abs(pool.growth("pss", "peak") / pool.workers - 1) <= MARGIN for pool in dropped):
        return f"**Threads** that drop their results: one result per worker, {sizes}."
    return f"**Threads** that drop their results: {sizes}, which is not one result per worker."


def _processes_transit(pools: list[PoolMemory], copies: int | None) -> list[str]:
    known = [pool for pool in pools if not math.isnan(pool.high_water_growth)]
    if not known:
        return ["**Processes**: main's high-water mark is unknown."]
    kept = [pool for pool in known if pool.retain]
    dropped = [pool for pool in known if not pool.retain]
    ranges = [
        f"by {spread(_above(pool) for pool in own)} results where they are {how}"
        for own, how in ((dropped, "dropped"), (kept, "retained, not counting these"))
        if own
    ]
    high = f"**Processes**: main's high-water mark rises {', and '.join(ranges)}."
    return [high, *_copies(known, copies)]


def _copies(pools: list[PoolMemory], copies: int | None) -> list[str]:
    if copies is None:
        return ["How many copies of a result its interpreter makes is not known."]
    blocks = {
        3: "the pickled stream, the bytes unpickled from it, and the bytearray made of those",
        2: "the pickled stream and the bytearray unpickled from it",
    }[copies]
    arrival = (
        f"A result arrives pickled. Meanwhile CPython holds {copies} blocks of its size: {blocks}."
        " Where results are retained, one of these is counted already."
    )
    rest = {pool.treatment: _above(pool) - (copies - pool.retain) - _own(pool) for pool in pools}
    lacking = [pool for pool in pools if rest[pool.treatment] < -MARGIN]
    if lacking:
        return [
            arrival,
            f"In {name_all(lacking)} main grew by less, so this is not the cause there.",
        ]
    enough = f"{arrival} The growth is large enough for that in {some_of(pools, pools)}."
    if max(rest.values()) <= MARGIN:
        return [f"{enough} Nothing is left to explain."]
    more = (
        f"Besides the pool's own modules and threads ({spread(_own(pool) for pool in pools)}),"
        f" another {spread(rest.values())} results are not explained by copies. A hypothesis is"
        " that the allocator takes them, because it grows the stream's block step by step among"
        " freed ones; this experiment does not test it."
    )
    return [enough, more]


def _fewer(pools: list[PoolMemory]) -> str:
    """Report whether main peaks lower with more workers, and whether it then takes less memory."""
    pairs = [(group[0], group[-1]) for group in group_by_workers(pools)]
    if not pairs:
        return ""
    seen = [pair for pair in pairs if _drop(pair, _sampled) > MARGIN]
    if not seen:
        return "Main does not peak lower with more workers."
    few, many = max(seen, key=lambda pair: _drop(pair, _sampled))
    where = ", ".join(f"`{a.treatment}` → `{b.treatment}`" for a, b in seen)
    lower = (
        f"**More workers**: in the sweeps main's PSS peaks lower with more of them ({where};"
        f" largest drop {in_results(_sampled(few))} → {in_results(_sampled(many))})."
    )
    marks = _drop((few, many), lambda pool: pool.high_water_growth)
    if math.isnan(marks):
        return f"{lower} Whether main took less memory is unknown without its high-water mark."
    high = f"{in_results(few.high_water_growth)} → {in_results(many.high_water_growth)}"
    if marks > MARGIN:
        return f"{lower} Its high-water mark falls, too ({high}): main did take less memory."
    return (
        f"{lower} Its high-water mark does not fall ({high}): main takes as much. {_unseen(many)}"
    )


def _unseen(pool: PoolMemory) -> str:
    shared = pool.growth("rss", "peak") - pool.growth("pss", "peak")
    between = pool.high_water_growth - pool.growth("rss", "peak")
    return (
        f"Of the {in_results(pool.high_water_growth)} results of `{pool.treatment}`,"
        f" {in_results(max(shared, 0))} were shared and counted with its workers, and"
        f" {in_results(max(between, 0))} came between two sweeps: a result is in transit for only"
        " milliseconds."
    )


def _sampled(pool: PoolMemory) -> float:
    return pool.growth("pss", "peak")


def _drop(pair: tuple[PoolMemory, PoolMemory], value: Callable[[PoolMemory], float]) -> float:
    return value(pair[0]) - value(pair[1])
