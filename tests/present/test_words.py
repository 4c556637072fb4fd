"""Every word of order in a whole report against the interval beside it."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.commands import render_report
from tests.known_studies import bound_peaks

import stagebench
from stagebench.present.charts import plot_ratios
from stagebench.present.experiment import split_experiments
from stagebench.tables.decisions import EQUIVALENT, NOT_DECIDED, decide
from stagebench.tables.io import read_tables
from stagebench.tables.quantities import HIGHER

MARGIN = 0.05
ROUNDING = 0.005
NUMBER = r"(?:\d+(?:\.\d+)?|∞)"
INTERVAL = rf"\[({NUMBER})–({NUMBER})\]"
ORDER = re.compile(
    r"\b(fast(?:er|est)|slow(?:er|est)|least|most|low(?:er|est)|high(?:er|est)|less|more|short(?:er|est)"
    r"|long(?:er|est)|wins?|ahead|best|better|saves|saved|surely|equivalent|price)\b",
    re.IGNORECASE,
)
BOUNDS = re.compile(r"\bat (?:most|least)\b|\bmost_children\b")
"""Bounds of one value, not an order of two."""

FACTORS = [
    {"workers": workers, "executor": executor}
    for executor in ("thread", "process")
    for workers in (1, 2)
]


def name(cell):
    return f"{cell['executor'][0]}{cell['workers']}"


def runs_of(known_run, make_sweep, seconds, mib, blocks=4):
    """Make a factorial study; `seconds` and `mib` have the values of each treatment, by block."""
    work, save = known_run().stages
    return [
        replace(
            known_run(
                treatment=name(cell),
                baseline=name(cell) == "t1",
                factors=cell,
                stages=(work | {"executor": cell["executor"], "workers": cell["workers"]}, save),
                sweeps=(make_sweep(0, 9.5, 20), make_sweep(1, 11, mib[name(cell)][block])),
            ).stretched(seconds[name(cell)][block] / 6),
            replicate=block + 1,
            start=100 * block + 20 * n,
        )
        for block in range(blocks)
        for n, cell in enumerate(FACTORS)
    ]


def report_of(folder):
    render_report(folder / "tables", folder / "plan.json", folder / "figures", folder)
    return (folder / "report.md").read_text()


def tables_of(report):
    """Yield each table of a report as a list of rows of cells, the header first."""
    for block in re.findall(r"(?:^\|.*\n)+", report, re.MULTILINE):
        lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        yield [lines[0], *lines[2:]]


def printed(limits):
    return tuple(math.inf if limit == "∞" else float(limit) for limit in limits)


def agrees(word, low, high):
    """Return whether a word agrees with a printed interval, which is rounded."""
    if word in ("faster", "slower", "lower", "higher"):
        # Throughput is faster where it is higher; both sides are possible.
        return high <= 1 or low >= 1
    if word == EQUIVALENT:
        return low >= 1 / (1 + MARGIN) - ROUNDING and high <= 1 + MARGIN + ROUNDING
    return word == NOT_DECIDED and low <= 1 <= high


def check_tables(report):
    """Return how often each word stands beside an interval that supports it; fail otherwise."""
    found = Counter()
    for header, *rows in tables_of(report):
        for column, title in enumerate(header):
            if title != "word":
                continue
            for row in rows:
                word = row[column].partition(";")[0]
                interval = re.search(INTERVAL, row[column - 1])
                if interval is None:
                    assert word in ("", "–", "baseline", NOT_DECIDED), row
                    continue
                assert agrees(word, *printed(interval.groups())), row
                found[word] += 1
    return found


SENTENCES = {
    # How a sentence puts it → what its printed interval must say.
    rf"{INTERVAL} × (?:faster|slower|less|more|lower|higher|shorter|longer)\b": {HIGHER},
    rf"{NUMBER} × (?:faster|slower)\b[^\[\];]*{INTERVAL}": {HIGHER},
    rf"equivalent(?: to `?[\w-]+`?)? \([^)]*?{INTERVAL} ×": {EQUIVALENT},
    rf"(?:no difference(?: from `?[\w-]+`?)? found|not decided[^(;.]*) \([^)]*?{INTERVAL} ×": {
        NOT_DECIDED
    },
    rf"Not told apart from it: .*?{INTERVAL} ×": {NOT_DECIDED, EQUIVALENT},
    rf"^Not decided: [^;]*?{INTERVAL} ×": {NOT_DECIDED},
    rf"takes [^\[;.]*(?:\.\d+[^\[;]*)?{INTERVAL} × (?:as|the least)": {HIGHER},
}


def check_sentences(report):
    found = Counter()
    prose = "\n".join(line for line in report.splitlines() if not line.startswith("|"))
    for form, outcomes in SENTENCES.items():
        for match in re.finditer(form, prose, re.MULTILINE):
            low, high = printed(match.groups()[-2:])
            nearly = {decide(low + a, high + b, MARGIN) for a in EDGES for b in EDGES}
            assert nearly & outcomes, match[0]
            found[form] += 1
    return found


EDGES = (-ROUNDING, 0, ROUNDING)

MIXED = {
    "t1": (8, 12, 10, 14),
    "t2": (8.4, 10, 9, 13),
    "p1": (40, 60, 55, 75),
    "p2": (42, 55, 60, 70),
}
"""Makespans of which two are not told apart from each other, and the others are."""

ALIKE = {
    "t1": (8, 12, 10, 14),
    "t2": (12, 9, 14, 9),
    "p1": (9, 13, 8, 13),
    "p2": (13, 8, 12, 10),
}
"""Makespans that decide nothing."""

CLEAR = {
    "t1": (12, 12.1, 12.3, 11.9),
    "t2": (12.1, 12.0, 12.35, 11.85),
    "p1": (6, 6.1, 6.2, 6.05),
    "p2": (24, 30, 26, 36),
}
MIB = {"t1": [40] * 4, "t2": [41] * 4, "p1": [80] * 4, "p2": [60] * 4}


def test_every_word_of_a_report_agrees_with_the_interval_beside_it(analyse, known_run, make_sweep):
    words, sentences = Counter(), Counter()
    for seconds in (CLEAR, MIXED, ALIKE):
        runs = runs_of(known_run, make_sweep, seconds, MIB)
        report = report_of(bound_peaks(analyse(*runs), {"p2": 2.0, ("t2", 1): 1.01}))
        words += check_tables(report)
        sentences += check_sentences(report)
    # The check would prove nothing without words of all kinds.
    assert {"faster", "slower", "lower", "higher", EQUIVALENT, NOT_DECIDED} <= {*words}
    assert sum(words.values()) > 30
    assert len(sentences) >= 4


def test_a_ratio_has_one_estimate_wherever_it_stands(analyse, known_run, make_sweep):
    runs = runs_of(known_run, make_sweep, CLEAR, MIB)
    folder = analyse(*runs)
    report = report_of(folder)
    columns = [
        {row[0]: row[header.index(title)].split(" ")[0] for row in rows}
        for header, *rows in tables_of(report)
        for title in header
        if title.startswith("× t1")
    ]
    treatments, effects, *_ = columns
    assert {key: treatments[key] for key in ("t2", "p1", "p2")} == {
        key: effects[key] for key in ("t2", "p1", "p2")
    }


def test_square_brackets_around_two_numbers_are_always_intervals(analyse, known_run, make_sweep):
    report = report_of(analyse(*runs_of(known_run, make_sweep, CLEAR, MIB)))
    for line in report.splitlines():
        for match in re.finditer(INTERVAL, line):
            before = line[: match.start()].rstrip()
            # A ratio comes before it, or what it is the interval of.
            compared = rf"{NUMBER} × (?:faster|slower)[^\[\];]*"
            assert re.search(rf"(?:{NUMBER}|ratio|{compared})$", before), line


SHAPES = {
    "nested": (
        {"t1": [30] * 4, "t2": [40] * 4, "p1": [50] * 4, "p2": [60] * 4},
        {"t1": 7.0, "t2": 4.0, "p1": 2.4, "p2": 1.6},
    ),
    "touching": (
        {"t1": [40] * 4, "t2": [50] * 4, "p1": [60] * 4, "p2": [40] * 4},
        {"t1": 1.5, "t2": 1.2, "p1": 1.0, "p2": 1.5},
    ),
    "unbounded": (MIB, dict.fromkeys(MIB)),
    "one run without a bound in all": (MIB, {(name, 2): None for name in MIB}),
    "one wide run": (MIB, {(name, 3): 50.0 for name in MIB}),
}


def literals():
    """Return the lines of our templates with words of order, with what varies cut out."""
    found = []
    for path in sorted(Path(stagebench.__file__).parent.rglob("*.md.j2")):
        for line in path.read_text(encoding="utf-8").splitlines():
            fixed = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "\0", line).strip("\0 ")
            if ORDER.search(BOUNDS.sub("", fixed)):
                found.append(re.compile(re.escape(fixed).replace("\0", ".*")))
    return found


LABELS = ("longest gap s", "Precision is how far", "**Drift.**")
"""Where a label or a fixed sentence in the code has such a word."""

SAME = re.compile(r"1\.00 \[1\.00–1\.00\]")
"""Exact values that are the same in every run are equivalent."""


def order_words(report):
    """Return the lines of a report that have a word of order which no template has by itself."""
    fixed = literals()
    found = []
    lines = report.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r"\| -+", following) or any(label in line for label in LABELS):
            continue  # headings and labels name what a row or column is
        if SAME.search(line) and "equivalent" in line.lower():
            continue
        rest = BOUNDS.sub("", line)
        for literal in fixed:
            rest = literal.sub("", rest)
        if ORDER.search(rest):
            found.append(line)
    return found


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize("shape", SHAPES)
def test_where_brackets_overlap_no_word_of_order_stands_in_the_whole_report(
    shape, analyse, known_run, make_sweep
):
    sizes, reach = SHAPES[shape]
    folder = bound_peaks(analyse(*runs_of(known_run, make_sweep, ALIKE, sizes)), reach)
    assert order_words(report_of(folder)) == []
    (experiment,) = split_experiments(read_tables(folder / "tables"))
    drawn = [text.get_text() for axes in plot_ratios(experiment).axes for text in axes.texts]
    assert [text for text in drawn if ORDER.search(text)] == []
    assert NOT_DECIDED in drawn


def test_brackets_that_lie_apart_do_have_words_of_order(analyse, known_run, make_sweep):
    folder = bound_peaks(analyse(*runs_of(known_run, make_sweep, ALIKE, MIB)), {})
    found = order_words(report_of(folder))
    assert any("Most memory: **p1**" in line for line in found)
    assert any("higher" in line for line in found)


def test_one_block_has_no_word_of_order(analyse, known_run, make_sweep):
    runs = runs_of(known_run, make_sweep, CLEAR, MIB, blocks=1)
    assert order_words(report_of(bound_peaks(analyse(*runs), {}))) == []
