"""What a torn sweep tells for certain: anonymous memory that was still there when it ended.

docs/method.md proves it. A torn sweep adds up moments; but the counters that were read when all
processes had been walked say how much of what was seen can have gone meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagebench.analyse.bounds import Kernel
    from stagebench.records import MemorySample
    from stagebench.units import Bytes


class Kept(NamedTuple):
    """Lower bounds of one process's anonymous memory at the end of a sweep.

    `own` counts pages that it alone had, `whole` those that it shared, too.
    """

    own: Bytes
    whole: Bytes


def kept_by(sample: MemorySample, kernel: Kernel) -> Kept:
    """Bound what a process had, and had not let go of when the sweep ended.

    Not where the machine gave huge pages meanwhile: a fault may have brought any number of pages.
    """
    if sample.uss_bytes is None or sample.file_bytes is None or sample.shmem_bytes is None:
        return Kept(0, 0)
    lost = _lost(sample, kernel)
    # Private pages of files are a part of its files' PSS.
    private = sample.uss_bytes - sample.file_bytes - sample.shmem_bytes
    return Kept(max(0, private - lost), max(0, sample.rss_anon_bytes - lost))


def kept_by_tree(kept: Iterable[Kept]) -> Bytes:
    """Bound the anonymous memory of a tree at the end of a sweep: each page counts once.

    What processes share may be the same for all of them: of one alone it counts.
    """
    each = list(kept)
    shared = max((one.whole - one.own for one in each), default=0)
    return sum(one.own for one in each) + shared


def _lost(sample: MemorySample, kernel: Kernel) -> Bytes:
    """Bound what it let go of since it was walked.

    What its anonymous RSS fell by, and what came in the place of something else: by faults that did
    not make it grow.
    """
    grown = sample.rss_anon_after_bytes - sample.rss_anon_bytes
    faults = sample.faults - sample.faults_before
    if not grown and not faults:
        return 0
    idle = max(0, faults - max(0, grown) // kernel.anonymous_fault)
    return max(0, -grown) + idle * kernel.anonymous_fault + kernel.drift
