"""Emulates the published way of sampling memory: two threads inside the process that they measure.

    discovery thread, every second             reading thread, every 0.1 s
      |                                          |
      |  all descendants of main,                |  main's PSS now
      v  sum of their PSS                        v  + the last discovery's sum
    Discovery, kept until the next one -------> EmulatedRecord -------> emulated.csv

Its errors are the point and are kept: between two discoveries the children look constant, children
that live and end in between are not seen, and a record adds main now to children of up to a second
ago. The published study started it before its first task, when there were no children yet.

It is run in place of `measure.main` for treatments that ask for it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from stagebench.measure.main import main
from stagebench.records import EmulatedRecord
from stagebench.sampler.procfs import Vanished, parse_smaps_rollup, read_children
from stagebench.store import EMULATED_FILE, RecordWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Discovery(NamedTuple):
    """The descendants of main at one moment, and the sum of their PSS."""

    children: int
    pss_bytes: int
    discovered_ns: int


class Emulation:
    """Samples this process and its descendants during a `with` block, which ends both threads."""

    def __init__(
        self, interval_s: float, discovery_s: float, writer: RecordWriter[EmulatedRecord]
    ) -> None:
        self._writer = writer
        self._stop = threading.Event()
        # Daemons, because a sampler must never keep a process alive that should end.
        self._threads = [
            threading.Thread(target=repeat, args=(step, pause_s, self._stop.wait), daemon=True)
            for step, pause_s in ((self.discover, discovery_s), (self.read, interval_s))
        ]

    def discover(self) -> None:
        """Find the children and keep the sum of their PSS."""
        self._known = discover(os.getpid())

    def read(self) -> None:
        """Record main's current PSS beside the sum that was kept."""
        self._writer.write(compose(read_pss(os.getpid()), self._known))

    def __enter__(self) -> Self:
        # Before the threads start, so that the first discovery finds no child of the workflow.
        self.discover()
        self.read()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._writer.close()


def prepare(specification: Mapping[str, Any], folder: Path) -> Emulation:
    """Return the emulation that a specification asks for; it writes into the run folder."""
    settings = specification["sampler"]["emulate"]
    writer = RecordWriter(folder / EMULATED_FILE, EmulatedRecord)
    return Emulation(settings["interval_s"], settings["discovery_s"], writer)


def repeat(step: Callable[[], None], pause_s: float, wait: Callable[[float], bool]) -> None:
    """Alternate pauses and steps until `wait` returns true."""
    while not wait(pause_s):
        step()


def discover(main: int) -> Discovery:
    """Find all descendants of a process and add up their PSS; skip those that have just ended."""
    found = read_children(main)
    for pid in found:  # grows meanwhile: children of children are appended
        found += read_children(pid)
    sizes = [size for size in map(_pss_or_none, found) if size is not None]
    return Discovery(len(sizes), sum(sizes), time.monotonic_ns())


def read_pss(pid: int) -> int:
    """Read a process's PSS in bytes; raises one of `procfs.Vanished` if it has ended."""
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        # A rollup always contains PSS; only its substitutes on other systems may lack it.
        return cast("int", parse_smaps_rollup(file.read()).pss_bytes)


def compose(main_pss_bytes: int, known: Discovery) -> EmulatedRecord:
    """Combine main's current PSS and the last discovery into one record."""
    return EmulatedRecord(
        time_ns=time.monotonic_ns(),
        main_pss_bytes=main_pss_bytes,
        children_pss_bytes=known.pss_bytes,
        children=known.children,
        discovered_ns=known.discovered_ns,
    )


def _pss_or_none(pid: int) -> int | None:
    try:
        return read_pss(pid)
    except Vanished:
        return None


if __name__ == "__main__":
    main(meanwhile=prepare)
