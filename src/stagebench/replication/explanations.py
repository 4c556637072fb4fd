"""The report's explanations: questions about main's memory, and what the tables say of them.

What a start method costs: workers and helpers of a pool, and what they are made of.

What main still has when results are dropped and pools closed.

Why main's PSS falls while workers live: shared pages, if the data say so.

Why main peaks above base and results: copies of a result on its way, if the data say so.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.present.markdown import count_noun, format_percent, format_table, render_template
from stagebench.present.report import Section
from stagebench.replication.memory_figures import MAIN_FIGURE, choose_pools
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
    """What is explained of one experiment, and the figure of its main, if there is one."""

    experiment: str
    figure: str
    explanations: Sequence[Explanation]


def render_explanations(contents: Contents) -> str:
    """Write the section that explains main's memory; "" where no experiment has one pool alone."""
    environment = contents.tables["environment"]
    explained = explain_experiments(contents.experiments, environment, contents.figures)
    return render_template(_TEMPLATE, {"explained": explained}) if explained else ""


def explain_experiments(
    experiments: Sequence[Experiment], environment: pd.DataFrame, figures: Path
) -> list[Explained]:
    """Explain every experiment whose workflow is one stage and whose base is known."""
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
        figure=figure.as_posix() if choose_pools(experiment) else "",
        explanations=[one for one in found if one is not None],
    )


def _python_version(environment: pd.DataFrame) -> tuple[int, int] | None:
    """Give major and minor version if all runs had one, of CPython."""
    values = environment.groupby("property")["value"].apply(list).to_dict()
    if values.get("python_implementation") != ["CPython"]:
        return None
    versions = {
        (int(found[1]), int(found[2]))
        for text in values.get("python", [])
        if (found := re.match(r"(\d+)\.(\d+)", text))
    }
    return versions.pop() if len(versions) == 1 else None


EXPLANATIONS = Section("why", "why memory looks as it does", render_explanations)


HELPERS = {"resource_tracker": "resource tracker", "forkserver": "fork server", "other": "other"}
"""Roles of children that serve no task → their names in the report."""

_ALIKE = 0.25
"""Sizes whose ratio is off 1 by less are said to be alike."""

_READY = {"PSS": "pss", "anonymous": "anon", "files": "file", "USS": "uss"}
_WORKER_NAMES = {"fork": "forked", "forkserver": "fork server's", "spawn": "spawned"}


def explain_cost(pools: list[PoolMemory]) -> Explanation | None:
    """Split the children's PSS by role, and a worker's into what it has and what it hands over."""
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
            "PSS in MiB of one worker that is ready and its parts, of the largest worker and "
            "helper, and of all children at the tree's peak."
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
    """Give the pool of a kind with the fewest workers, one that drops its results if there is."""
    own = [pool for pool in pools if pool.kind == kind and not math.isnan(_ready(pool, "pss"))]
    return min(own, key=lambda pool: (pool.workers, pool.retain), default=None)


def _worker(pool: PoolMemory) -> str:
    sizes = {part: in_mib(_ready(pool, part)) for part in _READY.values()}
    parts = (
        f"A **{_WORKER_NAMES[pool.kind]} worker** that is ready (`{pool.treatment}`) has"
        f" {sizes['pss']} MiB of PSS: {sizes['anon']} anonymous, {sizes['file']} of files;"
        f" {sizes['uss']} MiB are its own alone (USS)."
    )
    found = (parts, _imports(pool), _handed_over(pool))
    return " ".join(sentence for sentence in found if sentence)


def _imports(pool: PoolMemory) -> str:
    """Compare the memory that a worker has written itself with what main had before it."""
    own, base = _ready(pool, "uss"), pool.main("base", "anon")
    share = own / base
    told = f"{in_mib(own)} against the {in_mib(base)} MiB of anonymous memory of main's base"
    if abs(share - 1) <= _ALIKE:
        return f"That is as much as main had written itself ({told}): it has made it all again."
    if share < 1:
        text = f"That is {format_percent(share)} of what main had written itself ({told})"
        return f"{text}: the rest it shares." if pool.kind == "fork" else f"{text}."
    return f"That is more than main had written itself ({told})."


def _handed_over(pool: PoolMemory) -> str:
    rise = pool.role("worker", "largest_pss_bytes") - _ready(pool, "pss")
    count = rise / pool.result
    if math.isnan(count) or count < _ALIKE:
        return ""
    return (
        f"While it served it rose by {in_mib(rise)} MiB more, {in_results(count)} results: they"
        " are its work and not the price of its start."
    )


def _difference(chosen: list[PoolMemory]) -> str:
    by_kind = {pool.kind: pool for pool in chosen}
    fork = by_kind.pop("fork", None)
    told = [
        f"{in_mib(_ready(pool, 'uss') - _ready(fork, 'uss'))} MiB (`{pool.treatment}` over"
        f" `{fork.treatment}`)"
        for pool in by_kind.values()
        if fork is not None and pool.workers == fork.workers
    ]
    if not told:
        return ""
    return f"In pages of its own, a worker that is not forked costs {', '.join(told)} more."


def _helpers(pools: list[PoolMemory]) -> str:
    found = []
    for role, name in HELPERS.items():
        own = [pool for pool in pools if pool.role(role, "created") > 0]
        if own:
            found.append(_helper(role, name, own))
    if found:
        return " ".join(found)
    return "No resource tracker or other helper was started beside the workers."


def _helper(role: str, name: str, pools: list[PoolMemory]) -> str:
    kinds = " and ".join(dict.fromkeys(pool.kind for pool in pools))
    once = ", one however many they are" if _is_single(role, pools) else ""
    where = f"A **{name}** process stands beside the workers of {kinds}{once}"
    one = max(pools, key=lambda pool: _share(pool, role))
    if math.isnan(_share(one, role)):
        return f"{where}; no sweep met it at the tree's peak."
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
        f"Main had imported {' or '.join(f'`{names}`' for names in modules)} before its workers"
        " started, and every worker imports the same when it starts, as a spawned one imports the"
        " script of its program again; a forked one finds them there."
    )


_NOTHING = 0.25
"""Less than this part of a result is said to be nothing of one."""


def explain_remains(pools: list[PoolMemory]) -> Explanation | None:
    """Compare main's end with its base where nothing of the pool is left."""
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
        return f"**Threads**: nothing of a result in {name_all(pools)}: that is not seen here."
    told = ", ".join(f"{in_results(_remains(pool))} (`{pool.treatment}`)" for pool in left)
    each = all(abs(_remains(pool) / pool.workers - 1) <= _NOTHING for pool in left)
    return (
        f"**Threads**: the size of results remains in main, {told} results"
        f"{', one a worker' if each else ''}. By then all were dropped and the threads had ended:"
        f" no worker that keeps its last result can hold them. {_hypothesis(pools)}"
    )


def _hypothesis(pools: list[PoolMemory]) -> str:
    cause = "That the allocator keeps the pages of freed blocks is a hypothesis"
    if len({pool.others for pool in pools}) > 1:
        return f"{cause}; what other factors change about it stands in the table."
    return f"{cause}, which this experiment does not test."


def _processes_remains(pools: list[PoolMemory]) -> str:
    if not pools:
        return ""
    sizes = spread(_remains(pool) for pool in pools)
    if max(_remains(pool) for pool in pools) < _NOTHING:
        return f"**Processes**: nothing of a result remains in main ({sizes} results)."
    left = [pool for pool in pools if _remains(pool) >= _NOTHING]
    return f"**Processes**: {sizes} results remain in main, most of all in {name_all(left)}."


FALL = 0.05
"""A value that changes by less than this share is said to have stayed."""

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
        caption="Main in MiB: at its base → at its least PSS beside workers → at the end.",
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
            f"main's PSS fell in {name_all(fallen)} though no worker process was there to share"
            " its pages: sharing does not explain that."
        )
    return (
        f"no process shares main's pages, and in {some_of(pools, pools)} its PSS never"
        f" fell {100 * FALL:.0f} % below its base."
    )


def _processes_sharing(pools: list[PoolMemory]) -> str:
    seen = [pool for pool in pools if pool.workers_in("trough") > 0]
    if not seen:
        return "no sweep met one: what main's PSS did beside them is not known."
    fallen = [pool for pool in seen if _fell(pool, "pss")]
    if not fallen:
        return (
            f"main's PSS stayed within {100 * FALL:.0f} % of its base in"
            f" {some_of(seen, seen)}: the fall is not seen here."
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
            f"In {name_all(less)} its RSS fell, too: there main gave memory back, and sharing is"
            " not all of it."
        )
    return (
        f"Its RSS, which counts shared pages whole, did not fall ({_from_to(deepest, 'rss')} MiB"
        " then): main gave nothing back, a part of its pages was counted with the workers."
    )


def _what_fell(deepest: PoolMemory) -> str:
    whole, anonymous = _fall(deepest, "pss"), _fall(deepest, "anon")
    if anonymous < whole / 2:
        return (
            f"Its anonymous part went from {_from_to(deepest, 'anon')} MiB: what fell is mainly"
            " the part of files, of libraries that the workers map, too."
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
    """Compare pools that differ in their workers alone, those that drop results first."""
    groups = group_by_workers(fallen)
    if not groups:
        return ""
    least = [pool.main("trough", "pss") for pool in groups[0]]
    told = ", ".join(
        f"{in_mib(size)} MiB with {pool.workers}"
        for size, pool in zip(least, groups[0], strict=True)
    )
    if least == sorted(least, reverse=True):
        return f"The more workers share its pages, the smaller main's part of them: {told}."
    return f"It did not fall the deeper, the more workers there were: {told}."


def _return(fallen: list[PoolMemory]) -> str:
    gone = [pool for pool in fallen if pool.workers_in("end") == 0]
    if not gone:
        return "No worker ended before the last sweep: that PSS comes back is not seen here."
    away = [
        pool for pool in gone if pool.main("end", "pss") < (1 - FALL) * pool.main("base", "pss")
    ]
    if away:
        return f"With the workers gone it did not come back in {name_all(away)}."
    sizes = ", ".join(f"`{pool.treatment}` {in_mib(pool.main('end', 'pss'))}" for pool in gone)
    return f"With the workers gone it came back: {sizes} MiB."


MARGIN = 0.25
"""Two multiples of a result that differ by less are said to be alike."""

_COLUMNS = (
    "treatment",
    "held at the end",
    "PSS, sweeps",
    "RSS, same sweep",
    "RSS, high water",
    "above held",
)


def copies_in_main(python: tuple[int, int] | None) -> int | None:
    """Count the blocks of a result's size in which CPython holds a bytearray that it unpickles.

    The pickled stream and the bytearray; before protocol 5, the default since 3.14, also the bytes
    from which it is made. None where the interpreter is not known to be a CPython.
    """
    if python is None:
        return None
    return 3 if python < (3, 14) else 2


def explain_transit(pools: list[PoolMemory], python: tuple[int, int] | None) -> Explanation | None:
    """Compare main's growth, in results, by sweeps and by its high-water mark."""
    sized = [pool for pool in pools if not math.isnan(pool.result)]
    processes = [pool for pool in sized if pool.kind != "thread"]
    if not processes:
        return None
    sizes = sorted({pool.result for pool in sized})
    threads = [pool for pool in sized if pool.kind == "thread"]
    unit = (
        f"One result weighs {' or '.join(in_mib(size) for size in sizes)} MiB. All numbers here"
        " are main's growth over its base in units of it."
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
    """Give the rise at the high-water mark without the results that are held at the end."""
    return pool.high_water_growth - pool.kept


def _own(pool: PoolMemory) -> float:
    """Give what the pool itself takes in main, in results: RSS beside idle workers over base."""
    own = pool.growth("rss", "trough")
    return max(own, 0) if pool.workers_in("trough") > 0 else 0


def _threads_transit(pools: list[PoolMemory]) -> str:
    dropped = [pool for pool in pools if not pool.retain]
    if not dropped:
        return ""
    told = ", ".join(
        f"{in_results(pool.growth('pss', 'peak'))} (`{pool.treatment}`)" for pool in dropped
    )
    if all(abs(pool.growth("pss", "peak") / pool.workers - 1) <= MARGIN for pool in dropped):
        return f"**Threads** that drop their results: one result a worker, {told}."
    return f"**Threads** that drop their results: {told}, which is not one result a worker."


def _processes_transit(pools: list[PoolMemory], copies: int | None) -> list[str]:
    known = [pool for pool in pools if not math.isnan(pool.high_water_growth)]
    if not known:
        return ["**Processes**: main's high-water mark is not known to the census."]
    kept = [pool for pool in known if pool.retain]
    dropped = [pool for pool in known if not pool.retain]
    ranges = [
        f"by {spread(_above(pool) for pool in own)} results where they are {how}"
        for own, how in ((dropped, "dropped"), (kept, "retained, these not counted"))
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
        f"A result arrives pickled: while it does, CPython holds {copies} blocks of its size,"
        f" {blocks}; where results are retained, one of them is held already."
    )
    rest = {pool.treatment: _above(pool) - (copies - pool.retain) - _own(pool) for pool in pools}
    lacking = [pool for pool in pools if rest[pool.treatment] < -MARGIN]
    if lacking:
        return [arrival, f"In {name_all(lacking)} main rose by less: there that is not the cause."]
    enough = f"{arrival} The rise has room for that in {some_of(pools, pools)}."
    if max(rest.values()) <= MARGIN:
        return [f"{enough} It leaves nothing to explain."]
    more = (
        f"Without the pool's own modules and threads ({spread(_own(pool) for pool in pools)}),"
        f" {spread(rest.values())} results more are not explained by copies. That the allocator,"
        " which grows the stream's block step by step among freed ones, takes them is a"
        " hypothesis that this experiment does not test."
    )
    return [enough, more]


def _fewer(pools: list[PoolMemory]) -> str:
    """Tell whether main peaks lower with more workers, and whether it takes less or shows less."""
    pairs = [(group[0], group[-1]) for group in group_by_workers(pools)]
    if not pairs:
        return ""
    seen = [pair for pair in pairs if _drop(pair, _sampled) > MARGIN]
    if not seen:
        return "That main peaks lower with more workers is not seen here."
    few, many = max(seen, key=lambda pair: _drop(pair, _sampled))
    where = ", ".join(f"`{a.treatment}` → `{b.treatment}`" for a, b in seen)
    lower = (
        f"**More workers**: by the sweeps main's PSS peaks lower with more of them ({where}; at"
        f" most {in_results(_sampled(few))} → {in_results(_sampled(many))})."
    )
    marks = _drop((few, many), lambda pool: pool.high_water_growth)
    if math.isnan(marks):
        return f"{lower} Whether main took less memory is not known without its high-water mark."
    high = f"{in_results(few.high_water_growth)} → {in_results(many.high_water_growth)}"
    if marks > MARGIN:
        return f"{lower} So does its high-water mark ({high}): main did take less memory."
    return f"{lower} Its high-water mark does not ({high}): main takes as much. {_unseen(many)}"


def _unseen(pool: PoolMemory) -> str:
    shared = pool.growth("rss", "peak") - pool.growth("pss", "peak")
    between = pool.high_water_growth - pool.growth("rss", "peak")
    return (
        f"Of the {in_results(pool.high_water_growth)} results of `{pool.treatment}`,"
        f" {in_results(max(shared, 0))} were counted with its workers, being shared, and"
        f" {in_results(max(between, 0))} lay between two sweeps: a result is on its way for"
        " milliseconds."
    )


def _sampled(pool: PoolMemory) -> float:
    return pool.growth("pss", "peak")


def _drop(pair: tuple[PoolMemory, PoolMemory], value: Callable[[PoolMemory], float]) -> float:
    return value(pair[0]) - value(pair[1])
