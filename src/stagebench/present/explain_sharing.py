"""Why main's PSS falls while workers live: shared pages, if the data say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.present.markdown import count_noun, format_table
from stagebench.present.phrases import Explanation, in_mib, name_all, some_of, steps
from stagebench.present.pools import KINDS, group_by_workers

if TYPE_CHECKING:
    from stagebench.present.pools import Pool

FALL = 0.05
"""A value that changes by less than this share is said to have stayed."""

_PARTS = {"PSS": "pss", "anonymous": "anon", "USS": "uss", "RSS": "rss"}
_NAMES = {
    "thread": "Threads",
    "fork": "Forked workers",
    "forkserver": "Workers of a fork server",
    "spawn": "Spawned workers",
}


def explain_sharing(pools: list[Pool]) -> Explanation | None:
    """Compare main's PSS, anonymous PSS, USS and RSS before, beside and after its workers."""
    if not any(pool.workers_in("trough") for pool in pools):
        return None
    by_kind = {kind: [pool for pool in pools if pool.kind == kind] for kind in KINDS}
    sentences = [
        f"**{_NAMES[kind]}**: {_threads(own) if kind == 'thread' else _processes(own)}"
        for kind, own in by_kind.items()
        if own
    ]
    table = format_table(["treatment", *_PARTS], [_row(pool) for pool in pools], texts=1)
    return Explanation(
        title="Why main's PSS falls while workers live",
        sentences=sentences,
        caption="Main in MiB: at its base → at its least PSS beside workers → at the end.",
        table=table,
    )


def _row(pool: Pool) -> list[str]:
    phases = ("base", "trough", "end")
    return [
        pool.treatment,
        *(steps(pool.main(phase, part) for phase in phases) for part in _PARTS.values()),
    ]


def _fell(pool: Pool, part: str) -> bool:
    return pool.main("trough", part) < (1 - FALL) * pool.main("base", part)


def _fall(pool: Pool, part: str) -> float:
    return pool.main("base", part) - pool.main("trough", part)


def _threads(pools: list[Pool]) -> str:
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


def _processes(pools: list[Pool]) -> str:
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


def _from_to(pool: Pool, part: str) -> str:
    return f"{in_mib(pool.main('base', part))} to {in_mib(pool.main('trough', part))}"


def _resident(fallen: list[Pool], deepest: Pool) -> str:
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


def _what_fell(deepest: Pool) -> str:
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


def _deeper(fallen: list[Pool]) -> str:
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


def _return(fallen: list[Pool]) -> str:
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
