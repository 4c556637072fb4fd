"""`stagebench trace` and `show`: measure, summarise, present; steps meet in the folder."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from stagebench import store
from stagebench.analyse.recording import read_recording
from stagebench.analyse.recording_summary import draw_timeline, summarise_recording
from stagebench.errors import OptionError
from stagebench.measure.relay import end_like
from stagebench.measure.trace import TraceRequest, trace_command
from stagebench.present.trace_summary import format_summary

if TYPE_CHECKING:
    from pathlib import Path

    from stagebench.analyse.recording import Recording
    from stagebench.measure.trace import Ended


def run_trace(request: TraceRequest, *, figure: bool) -> NoReturn:
    """Trace a command, write what it comes to, and end as it ended."""
    ended = trace_command(request)
    try:
        _present(ended, quiet=request.quiet, figure=figure)
    except (Exception, KeyboardInterrupt):  # told, but the command's end is what counts
        _say(traceback.format_exc())
    end_like(ended.exit_code)


def show_trace(folder: Path, figure: Path | None) -> str:
    """Give the summary of a trace folder as text; draw its figure, if asked to."""
    if figure is not None and figure.suffix != ".png":
        raise OptionError(f"--figure {figure}: only .png files are drawn")
    recording = read_recording(folder)
    summary = summarise_recording(recording)
    if figure is not None:
        try:
            _draw(recording, summary, figure)
        except OSError as error:
            raise OptionError(f"--figure {figure}: not written ({error.strerror})") from error
    return format_summary(summary)


def _present(ended: Ended, *, quiet: bool, figure: bool) -> None:
    folder = ended.folder
    recording = read_recording(folder, ended.run)
    summary = summarise_recording(recording)
    if not quiet:
        _say(format_summary(summary, os.fspath(folder)))
    try:
        store.write_json(folder / store.SUMMARY_FILE, summary)
        if figure:
            _draw(recording, summary, folder / store.TRACE_FIGURE_FILE)
    except OSError as error:
        _say(f"stagebench: {folder}: not all could be written ({error.strerror})\n")


def _draw(recording: Recording, summary: dict[str, Any], path: Path) -> None:
    # Takes longer to import than to draw, and is not to compete with what is traced.
    from stagebench.present.trace_figure import draw_trace

    try:
        draw_trace(summary, draw_timeline(recording), path)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _say(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()
