"""The Trace Event Format: a JSON file that Perfetto and Chrome's trace viewer open.

Perfetto's own protobuf would have tracks in a tree and units of counters. This format was chosen
because more tools open it, because people and `jq` can read it, and because nothing has to be
encoded by hand.

Times are microseconds since `zero_ns`, with three digits for the nanoseconds.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import OptionError
from stagebench.store import shorten
from stagebench.terminal import escape_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from stagebench.units import Nanoseconds

Event = dict[str, Any]

FIRST_FREE = 1 << 22
"""No process or thread of Linux has this id or a larger one (`PID_MAX_LIMIT`)."""

LONGEST_TEXT = 1_000
"""Characters of a command or of an error that are written."""

NS_PER_US = 1000


class Track(NamedTuple):
    """A row of the viewer: a thread of a process, with ids that may be made up."""

    pid: int
    tid: int


@dataclass(frozen=True, slots=True)
class EventMaker:
    """Makes the events of one file, of which `zero_ns` is the beginning."""

    zero_ns: Nanoseconds

    def slice(
        self,
        track: Track,
        named: tuple[str, str],
        span_ns: tuple[Nanoseconds, Nanoseconds],
        args: Mapping[str, Any],
    ) -> Event:
        """Return what a track did in a span of time; `named` is its name and its category."""
        began_ns, ended_ns = span_ns
        name, category = named
        return {
            "ph": "X",
            "name": name,
            "cat": category,
            "pid": track.pid,
            "tid": track.tid,
            "ts": self._at(began_ns),
            "dur": (ended_ns - began_ns) / NS_PER_US,
            "args": _describe(args),
        }

    def span(
        self,
        pid: int,
        named: tuple[str, str],
        span_ns: tuple[Nanoseconds, Nanoseconds],
        number: int,
        args: Mapping[str, Any],
    ) -> Iterator[Event]:
        """Yield beginning and end of what may overlap; name and number are unique together."""
        name, category = named
        common = {
            "name": name,
            "cat": category,
            "id2": {"local": hex(number)},
            "pid": pid,
            "tid": pid,
        }
        began_ns, ended_ns = span_ns
        yield {"ph": "b"} | common | {"ts": self._at(began_ns), "args": _describe(args)}
        yield {"ph": "e"} | common | {"ts": self._at(ended_ns)}

    def flow(
        self, number: int, sender: tuple[Track, Nanoseconds], receiver: tuple[Track, Nanoseconds]
    ) -> Iterator[Event]:
        """Yield an arrow between two slices, which are named by a moment within each."""
        for phase, (track, at_ns) in (("s", sender), ("f", receiver)):
            binding = {"bp": "e"} if phase == "f" else {}
            ids = {"id": number, "pid": track.pid, "tid": track.tid}
            names = {"ph": phase, "name": "next stage", "cat": "flow"}
            yield names | ids | {"ts": self._at(at_ns)} | binding

    def counter(self, pid: int, name: str, at_ns: Nanoseconds, values: Mapping[str, Any]) -> Event:
        """Return the values that a counter has from a moment on."""
        return {
            "ph": "C",
            "name": name,
            "pid": pid,
            "tid": pid,
            "ts": self._at(at_ns),
            "args": dict(values),
        }

    def _at(self, moment_ns: Nanoseconds) -> float:
        return (moment_ns - self.zero_ns) / NS_PER_US


def name_process(pid: int, name: str, place: int) -> Iterator[Event]:
    """Yield the name of a process, and its place among the others."""
    yield _metadata("process_name", pid, pid, {"name": safe_text(name)})
    yield _metadata("process_sort_index", pid, pid, {"sort_index": place})


def name_track(track: Track, name: str, place: int) -> Iterator[Event]:
    """Yield the name of a track, and its place in its process."""
    yield _metadata("thread_name", track.pid, track.tid, {"name": safe_text(name)})
    yield _metadata("thread_sort_index", track.pid, track.tid, {"sort_index": place})


def _metadata(name: str, pid: int, tid: int, args: Mapping[str, Any]) -> Event:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "ts": 0, "args": dict(args)}


def safe_text(text: str) -> str:
    """Return a text without control characters, cut if it is long."""
    return escape_controls(shorten(text, LONGEST_TEXT))


def _describe(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the arguments."""
    return {name: _tidy(value) for name, value in args.items() if value is not None}


def _tidy(value: Any) -> Any:
    """Return a text that is safe to show, and a number of milliseconds to the nanosecond."""
    if isinstance(value, str):
        return safe_text(value)
    return round(value, 6) if isinstance(value, float) else value


def write_events(path: Path, about: Mapping[str, Any], events: Iterable[Event]) -> int:
    """Write events to a new file, and return their number; by its name it is compressed or not.

    Raises OptionError if there is such a file, or if it cannot be written. What fails leaves no
    file behind. The same events make the same bytes.
    """
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    count = 0
    with _new_file(path) as file:
        head = json.dumps({"displayTimeUnit": "ms", "otherData": dict(about)}, allow_nan=False)
        file.write(f'{head[:-1]}, "traceEvents": [')
        for event in events:
            file.write("\n" if count == 0 else ",\n")
            file.write(encode(event))
            count += 1
        file.write("\n]}\n")
    return count


@contextmanager
def _new_file(path: Path) -> Iterator[IO[str]]:
    check_new(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as raw:
            # Neither the time nor the name of the file: equal events make equal bytes.
            is_small = path.suffix == ".gz"
            data: Any = gzip.GzipFile("", "wb", 6, raw, mtime=0) if is_small else raw
            with io.TextIOWrapper(data, encoding="ascii", newline="\n") as text:
                yield text
        partial.rename(path)
    except OSError as error:
        raise OptionError(f"--out {path}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)


def check_new(path: Path) -> None:
    """Raise OptionError if a file cannot be new, before anything is read for it."""
    if path.exists() or path.is_symlink():
        raise OptionError(f"--out {path}: exists already; remove it, or name another file")
    if not path.parent.is_dir():
        raise OptionError(f"--out {path}: there is no folder {path.parent}")
