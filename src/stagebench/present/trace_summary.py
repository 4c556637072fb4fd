"""The summary of a trace as text, at most 80 columns wide."""

from __future__ import annotations

import shlex
import signal
import textwrap
from typing import TYPE_CHECKING, Any

from stagebench.units import GIB, MIB, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stagebench.units import Bytes, Seconds

COLUMNS = 80
_NAME = 11
_LARGE = 10 * GIB
"""From here on GiB read better."""

POLLED = "polled: short-lived processes may be missed"


def format_summary(summary: Mapping[str, Any], place: str | None = None) -> str:
    """Give the text of a summary; `place` is where the trace lies."""
    lines = [shorten(shlex.join(summary["command"]), COLUMNS)]
    for name, texts in _list_items(summary, place):
        for index, text in enumerate(texts):
            lines += _wrap(name if index == 0 else "", text)
    return "\n".join(lines) + "\n"


def _list_items(summary: Mapping[str, Any], place: str | None) -> Iterator[tuple[str, list[str]]]:
    yield "ended", [describe_end(summary)]
    if summary["status"] == "truncated":
        yield "NOT WHOLE", [_describe_loss(summary)]
    peaks = {part: format_peak(peak) for part, peak in summary["peak"].items()}
    if summary["processes"]["created"] == 1 and summary["processes"]["means"] == "ptrace":
        peaks["children"] = "there were none"
    yield "peak PSS", _align(peaks)
    yield "processes", [describe_processes(summary["processes"]), *_list_roles(summary["roles"])]
    if summary["stayed"]:
        stayed = summary["stayed"]
        width = COLUMNS - _NAME - 14
        listed = [f"pid {each['pid']}  {shorten(each['command'], width)}" for each in stayed]
        yield "still live", listed
    yield "sampled", [_describe_rate(summary)]
    yield "overhead", [_describe_overhead(summary)]
    if place is not None:
        yield "folder", [place]


def describe_end(summary: Mapping[str, Any]) -> str:
    """Say how and when the command ended."""
    duration, code = format_seconds(summary["duration_s"]), summary["exit_code"]
    if summary["status"] == "cut":
        return f"CUT OFF after {duration}: the tracer was ended, or it is still at work"
    if code is None:
        return f"{summary['status']}, after {duration}"
    if code < 0:
        return f"by {_name_signal(-code)}, after {duration}"
    return f"with exit code {code}, after {duration}"


def format_peak(peak: Mapping[str, Any]) -> str:
    """Give a bracket in words: "between 231.0 and 233.5 MiB, at 1.24 s"."""
    lower, upper = peak["lower_bytes"], peak["upper_bytes"]
    if lower is None:
        known = "" if upper is None else f", at most {format_size(upper)}"
        return f"not seen by any sweep{known}"
    moment = format_moment(peak["lower_s"])
    if upper is None:
        return f"at least {format_size(lower)}, at {moment}; upper bound not known"
    size, _unit = format_size(lower, upper).split()
    return f"between {size} and {format_size(upper)}, at {moment}"


def format_size(size: Bytes, scale: Bytes | None = None) -> str:
    """Give a size to a tenth of a MiB, or in GiB where `scale` is large."""
    if (size if scale is None else scale) >= _LARGE:
        return f"{size / GIB:,.2f} GiB"
    return f"{size / MIB:,.1f} MiB"


def format_moment(moment_s: Seconds) -> str:
    """Give a moment of a trace: seconds to a hundredth."""
    return f"{moment_s:,.2f} s"


def describe_processes(processes: Mapping[str, Any]) -> str:
    """Say how many processes there were, and of how many a sweep read the memory."""
    polled = f"; {POLLED}" if processes["means"] == "poll" else ""
    if processes["created"] is None:
        return f"{processes['sampled']} sampled; how many there were was not recorded{polled}"
    return (
        f"{processes['created']} created, {processes['sampled']} sampled,"
        f" {processes['bounded_only']} bounded only{polled}"
    )


def _list_roles(roles: Mapping[str, Any]) -> list[str]:
    texts = {}
    for role, numbers in roles.items():
        mark = numbers["high_water_bytes"]
        created = "" if numbers["created"] is None else f"{numbers['created']} created, "
        highest = "" if mark is None else f", highest RSS of one {format_size(mark)}"
        texts[role] = f"{created}{numbers['sampled']} sampled{highest}"
    return _align(texts)


def _align(texts: Mapping[str, str]) -> list[str]:
    width = max(map(len, texts), default=0) + 2
    return [f"{name:<{width}}{text}" for name, text in texts.items()]


def _describe_loss(summary: Mapping[str, Any]) -> str:
    upto = summary["recorded_s"]
    known = "nothing was recorded" if upto is None else f"recorded up to {format_moment(upto)}"
    return f"{summary['detail']}; {known}"


def _describe_rate(summary: Mapping[str, Any]) -> str:
    sampler, duration = summary["sampler"], summary["duration_s"]
    rate = sampler["sweeps"] / duration if duration else 0
    gaps = ""
    if sampler["median_gap_s"] is not None:
        median, p99 = (format_seconds(sampler[f"{name}_gap_s"]) for name in ("median", "p99"))
        gaps = f"; median gap {median}, 1 in 100 over {p99}"
    return (
        f"{rate:.3g} times a second, {1 / sampler['interval_s']:.3g} asked for{gaps};"
        f" {sampler['torn']} of {sampler['sweeps']} torn"
    )


def _describe_overhead(summary: Mapping[str, Any]) -> str:
    sampler, duration = summary["sampler"], summary["duration_s"]
    budget = f"budget {_percent(sampler['cpu_budget'])}"
    if sampler["cpu_s"] is None or not duration:
        return f"not recorded; {budget}"
    used, census = (sampler[name] / duration for name in ("cpu_s", "census_cpu_s"))
    whole = summary["instrument_cpu_s"]
    parts = f"sweeps {_percent(used - census)}, census {_percent(census)} ({budget})"
    total = "" if whole is None else f"{_percent(whole / duration)} of a core in all; "
    return total + parts


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def shorten(text: str, width: int) -> str:
    """Cut a text that is too long, control characters made visible."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def _wrap(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=COLUMNS,
        initial_indent=f"{name:<{_NAME}}",
        subsequent_indent=" " * _NAME,
        drop_whitespace=True,
        break_on_hyphens=False,
    )


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
