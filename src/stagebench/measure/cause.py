"""Why a measured process crashed, in one line: read from the texts that it has left.

`error.txt` has the error that ended main, if main could still write it, and nothing else. All that
the processes of the run printed, warnings included, is in `output.txt`.
"""

from __future__ import annotations

import re
import signal
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import stagebench
from stagebench.errors import UnsupportedError
from stagebench.store import ERROR_FILE, OUTPUT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACEBACK = re.compile(
    r"^(?:Exception Group )?Traceback \(most recent call last\):\n", re.MULTILINE
)
FRAME = re.compile(r'^ +File "([^"\n]+)", line (\d+)', re.MULTILINE)

GROUPED = re.compile(r"^  [|+] ?", re.MULTILINE)
"""What stands before each line of the traceback of an exception group."""

RULE = re.compile(r"[-+]*( \d+ -+)?")
"""A line between two members of an exception group."""

ASIDE = re.compile(r"Exception (ignored|in thread) ")
"""The line before a traceback that has ended no process."""

TRACKER = "multiprocessing/resource_tracker.py"
"""In a traceback of the helper that removes what a process has left."""

FATAL = re.compile(r"^Fatal Python error: (?:.|\n)*", re.MULTILINE)
"""What the interpreter, or faulthandler, prints when it cannot go on."""

WARNING = re.compile(r"^(?:.*:\d+: )?\w*Warning: .*\n?(?:[ \t]+.*\n?)*", re.MULTILINE)
"""A warning as Python prints it, with its line of source."""


def describe_crash(folder: Path, exit_code: int, beside: Path | None) -> str:
    """Return what is known of the cause of a crash: an error with its place, or the last words.

    Errors that were printed before a signal came were handled: they are not its cause.
    """
    if error := _read(folder / ERROR_FILE):
        return describe_error(error, beside)
    output = _read(folder / OUTPUT_FILE)
    if fatal := FATAL.search(output):
        return _name_place(FRAME.findall(fatal[0]), beside) + fatal[0].partition("\n")[0]
    if exit_code >= 0 and (error := find_traceback(output)):
        return describe_error(error, beside)
    if lines := WARNING.sub("", output).strip().splitlines():
        return f"last output: {lines[-1].strip()}"
    return "no output but warnings" if output.strip() else "no output"


def find_unsupported(folder: Path, exit_code: int) -> str:
    """Return why the measured process could not run the treatment; "" if that is not how it ended.

    A handler may use the same exit code, but not with that error as all that main has left.
    """
    if exit_code != UnsupportedError.exit_code:
        return ""
    name, _, reason = _read(folder / ERROR_FILE).partition(": ")
    return _join(reason) if name == UnsupportedError.__name__ else ""


def describe_end(exit_code: int) -> str:
    """Return an exit code, or the name of the signal that it stands for, as words."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"ended by signal {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal has no name
        return f"ended by signal {-exit_code}"


def find_traceback(output: str) -> str:
    """Return the last traceback in an output, up to the first line of its error; or nothing."""
    for start in reversed([found.start() for found in TRACEBACK.finditer(output)]):
        before = output[:start].rstrip("\n").rpartition("\n")[2]
        text = re.match(r".*\n(?: .*\n)*.*", output[start:])
        if text and not ASIDE.match(before) and TRACKER not in text[0]:
            return text[0]
    return ""


def describe_error(text: str, beside: Path | None) -> str:
    """Return the error at the end of a text, and its place in the user's file.

    It is the last of those that caused each other. A text in front of the first traceback is kept,
    unless it introduces the quotation of one from another process.
    """
    if re.search(r"^  \+ Exception Group Traceback", text, re.MULTILINE):
        text = GROUPED.sub("", text)
    head, *tracebacks = TRACEBACK.split(text)
    if not tracebacks:
        return _join(head)
    frames = re.match(r"(?: .*\n)*", tracebacks[-1])
    end = frames.end() if frames else 0
    message = _join("\n".join(_outer_lines(tracebacks[-1][end:])))
    place = _name_place(FRAME.findall(tracebacks[-1][:end])[::-1], beside)
    head = "" if head.rstrip().endswith('"""') else _join(head)
    return f"{head} {place}{message}".strip()


def _outer_lines(message: str) -> Iterator[str]:
    """Yield the lines of an error's text, without the frames of the members of its group."""
    for line in message.splitlines():
        text = re.sub(r"^ *[|+] ?", "", line)
        is_frame = text != line and (text.startswith(" ") or TRACEBACK.match(text + "\n"))
        if not is_frame and not RULE.fullmatch(text):
            yield text


def _name_place(frames: list[tuple[str, str]], beside: Path | None) -> str:
    """Return the first place that is in a file of the user's, and a colon; or nothing."""
    for file, line in frames:
        if not file.startswith("<") and not _is_installed(file):
            path = Path(file)
            if beside is not None and path.is_relative_to(beside.absolute()):
                path = path.relative_to(beside.absolute())
            return f"{path}, line {line}: "
    return ""


def _is_installed(file: str) -> bool:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [*(sysconfig.get_path(name) for name in names), str(Path(stagebench.__file__).parent)]
    return any(Path(file).is_relative_to(folder) for folder in folders)


def _join(text: str) -> str:
    return " ".join(text.split())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
