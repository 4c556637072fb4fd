"""The first screen of a study: what to use, what matters, why, what is next, and how sure that is.

The same values make the head of the report, of the page, and what a terminal shows.
"""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.present import points
from stagebench.present.alike import (
    clean_name,
    find_medians,
    group_alike,
    name_levels,
    split_work,
)
from stagebench.present.effects import outcome_of
from stagebench.present.experiment import split_experiments
from stagebench.present.markdown import (
    MISSING,
    Markdown,
    count_noun,
    escape_marked,
    format_number,
    format_table,
)
from stagebench.present.points import Facts, Numbers, format_factor
from stagebench.present.pythons import count_interpreters, switched_on_text
from stagebench.present.stops import describe_blocks
from stagebench.present.trust import (
    count_run_nodes,
    estimate_block,
    few_nodes_text,
    find_error,
    label_property,
)
from stagebench.tables.decisions import EQUIVALENT, NO_INTERVAL, NOT_DECIDED
from stagebench.tables.io import find_failed, find_unsupported, list_rows
from stagebench.tables.quantities import LOWER
from stagebench.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from stagebench.present.alike import Alike
    from stagebench.present.experiment import Experiment

MOST_LINES = 25
"""A first screen has no more lines."""

MOST_ROWS = 7
WIDTH = 80

USE, MATTERS, WHY, NEXT, SURE = "Use", "What matters", "Why", "Next", "How sure"
NOT_RUN = "Not run"


class Point(NamedTuple):
    """One question that a screen answers, and its sentences, the most important one first.

    Those of what matters and why are clauses.
    """

    name: str
    sentences: tuple[str, ...]

    def join(self, sentences: Sequence[str]) -> str:
        """Return some of the sentences as one text."""
        if self.name in (MATTERS, WHY):
            return "; ".join(sentences) + "."
        return " ".join(sentences)


class AlikeRow(NamedTuple):
    """Cells of treatments that are alike; `is_chosen`: the one that is advised is among them."""

    treatments: tuple[str, ...]
    label: str
    makespan: str
    against: str
    peak: str
    limit: str
    is_chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentAnswer:
    """What is known about one experiment.

    `brief`: what to use, in a few words. `baseline` is its id or "". `hidden` counts groups that
    have no row.
    """

    experiment: str
    is_one_of_many: bool
    brief: str
    baseline: str
    points: tuple[Point, ...]
    rows: tuple[AlikeRow, ...]
    hidden: int

    def point(self, name: str) -> tuple[str, ...]:
        """Return the sentences of a point."""
        return next((one.sentences for one in self.points if one.name == name), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The first screen of a study.

    `facts`: runs, blocks and machine. `warnings`: what makes the answers doubtful.
    """

    study: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    answers: tuple[ExperimentAnswer, ...]


def make_screen(
    tables: Mapping[str, pd.DataFrame],
    plan: Mapping[str, Any],
    experiments: Sequence[Experiment] | None = None,
) -> Screen:
    """Make the first screen of a study from its tables and its plan.

    `experiments` are its experiments, if somebody has split the tables already.
    """
    runs = tables["runs"]
    experiments = split_experiments(tables) if experiments is None else experiments
    planned = {one["name"]: one for one in plan["experiments"]}
    block_s = estimate_block(runs)
    return Screen(
        study=clean_name(plan["study"]),
        facts=(
            _describe_runs(tables, plan),
            *_describe_blocks(runs, plan),
            *_describe_machine(tables),
        ),
        warnings=tuple(_list_warnings(tables)),
        answers=tuple(
            _answer(one, planned.get(one.name, {}), block_s, is_one_of_many=len(experiments) > 1)
            for one in experiments
        ),
    )


def _answer(
    experiment: Experiment, planned: Mapping[str, Any], block_s: float, *, is_one_of_many: bool
) -> ExperimentAnswer:
    words = name_levels(experiment, planned.get("factors", {}))
    reasons = _find_reasons(experiment)
    works = [
        supported
        for names in split_work(experiment)
        if (supported := [name for name in names if name not in reasons])
    ]
    numbers = Numbers(experiment)
    each = [
        Facts(
            experiment=experiment,
            names=names,
            words=words,
            groups=group_alike(experiment, names, words, max(1, MOST_ROWS - len(works) + 1)),
            block_s=block_s,
            is_work_stated=bool(planned.get("same_work")),
            numbers=numbers,
        )
        for names in works
    ]
    rows = [_make_row(facts, group) for facts in each for group in facts.groups]
    shown = _choose_rows(rows, experiment)
    return ExperimentAnswer(
        experiment=clean_name(experiment.name),
        is_one_of_many=is_one_of_many,
        brief=_brief(each),
        baseline=clean_name(experiment.baseline),
        points=tuple(
            point
            for point in (*_make_points(each), Point(NOT_RUN, _say_unsupported(reasons)))
            if point.sentences
        ),
        rows=tuple(shown),
        hidden=len(rows) - len(shown),
    )


def _find_reasons(experiment: Experiment) -> dict[str, str]:
    """Return the treatments that cannot run here, each with the reason."""
    found = find_unsupported(experiment.tables["runs"])
    return {
        str(row["treatment"]): find_error(experiment.tables, row) for _, row in found.iterrows()
    }


def _say_unsupported(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Say for each reason which treatments cannot run, the first ones by name."""
    named: dict[str, list[str]] = {}
    for treatment, reason in reasons.items():
        named.setdefault(reason, []).append(f"`{clean_name(treatment)}`")
    return tuple(
        f"{points.name_some(names)} cannot run here: {reason.removesuffix('.')}."
        for reason, names in named.items()
    )


def _brief(each: Sequence[Facts]) -> str:
    """Return what to use in a few words, for each kind of work in which treatments compete."""
    rivals = [facts for facts in each if len(facts.names) > 1]
    if len(each) == 1:
        return points.name_choice(each[0])
    named = [f"{facts.words.shared(facts.names)}: {points.name_choice(facts)}" for facts in rivals]
    return "; ".join(named) or "nothing to choose"


def _make_points(each: Sequence[Facts]) -> Iterator[Point]:
    """Make the points; where treatments do different work, each kind of work in turn."""
    rivals = [facts for facts in each if len(facts.names) > 1]
    if not each:
        yield Point(USE, ("nothing to choose: no treatment can run here.",))
        return
    if len(each) == 1:
        [facts] = each
        yield Point(USE, tuple(points.say_use(facts)))
        yield Point(MATTERS, tuple(points.say_what_matters(facts)))
        yield Point(WHY, tuple(points.say_why(facts)))
        yield Point(NEXT, tuple(points.say_next(facts)))
        yield Point(SURE, tuple(points.say_how_sure(facts)))
        return
    kinds = count_noun(len(each), "kind") + " of work"
    if not rivals:
        yield Point(USE, (f"nothing to choose: {kinds}, one treatment each.", *_list_medians(each)))
    else:
        alone = len(each) - len(rivals)
        rest = (f"{count_noun(alone, 'other kind')} of work: one treatment each.",) * (alone > 0)
        yield Point(USE, (*_prefix(rivals, points.say_use), *rest))
    yield Point(MATTERS, tuple(points.say_what_matters(each[0])))
    said = rivals or each
    yield Point(WHY, tuple(_prefix(said, lambda facts: points.say_why(facts)[:1])))
    yield Point(NEXT, tuple(_prefix(said, lambda facts: points.say_next(facts)[:1])))
    yield Point(SURE, tuple(_prefix(said, lambda facts: points.say_how_sure(facts)[:1])))


def _prefix(some: Sequence[Facts], say: Callable[[Facts], list[str]]) -> Iterator[str]:
    """Return the first sentence on each kind of work, which its levels precede."""
    for number, facts in enumerate(some):
        # What is said of a single treatment has its name already.
        label = facts.words.shared(facts.names) if len(facts.names) > 1 else ""
        for sentence in say(facts)[:1]:
            verb = sentence.startswith(points.USE_VERB)
            with_ = "With" if number else "with"
            lead = f"{with_} {label}, " if verb else f"{label}: "
            yield f"{lead}{sentence}" if label else sentence


def _list_medians(each: Sequence[Facts]) -> list[str]:
    texts = [
        f"{facts.name(name)} {format_number(facts.numbers.makespans[name])} s"
        for facts in each
        for name in facts.names
        if name in facts.numbers.makespans
    ]
    return [f"{points.name_some(texts)}."] if texts else []


def _make_row(facts: Facts, group: Alike) -> AlikeRow:
    numbers = facts.numbers
    known = [numbers.makespans[one] for one in group.treatments if one in numbers.makespans]
    peaks = [numbers.peak(one) for one in group.treatments if one in numbers.makespans]
    lows = [low for low, _ in peaks if not math.isnan(low)]
    return AlikeRow(
        treatments=group.treatments,
        label=group.label,
        makespan=_range([format_number(value) for value in (min(known), max(known))])
        if known
        else MISSING,
        against=_compare_group(facts, group),
        peak=points.format_size((min(lows), max(high for _, high in peaks))).removesuffix(" MiB")
        if lows
        else MISSING,
        limit=points.limit_cell_of(facts, group),
        is_chosen=facts.is_judged and len(facts.names) > 1 and facts.chosen in group.treatments,
    )


def _range(ends: Sequence[str]) -> str:
    return "–".join(dict.fromkeys(ends))


def _compare_group(facts: Facts, group: Alike) -> str:
    """Return how the members compare with the baseline, from the slowest to the fastest."""
    baseline = facts.experiment.baseline
    if not baseline:
        return MISSING
    if baseline not in facts.names:
        return "other work"
    others = [name for name in group.treatments if name != baseline]
    rows = [facts.numbers.comparisons.get((name, points.TIME)) for name in others]
    known = [row for row in rows if row is not None and not math.isnan(row["ratio"])]
    texts = list(dict.fromkeys(map(_say_ratio, sorted(known, key=lambda row: -row["ratio"]))))
    if len(texts) > 2 or (len(texts) == 2 and len({_unit(text) for text in texts}) == 1):
        texts = [texts[0], texts[-1]]
    if len(texts) == 2 and _unit(texts[0]) == _unit(texts[1]) and _unit(texts[0]):
        numbers = sorted((text.split(" ", 1)[0] for text in texts), key=float)
        texts = [f"{'–'.join(numbers)} {_unit(texts[0])}"]
    text = " to ".join(texts)
    if baseline in group.treatments:
        return f"baseline; {text}" if text else "baseline"
    return text or ("failed" if not any(n in facts.numbers.makespans for n in others) else MISSING)


def _unit(text: str) -> str:
    number, _, unit = text.partition(" ")
    return unit if number[:1].isdigit() else ""


def _say_ratio(row: pd.Series[float]) -> str:
    outcome = outcome_of(row)
    if outcome == EQUIVALENT:
        return f"as fast within {100 * float(row['margin']):g} %"
    if outcome == NOT_DECIDED:
        return "no difference found"
    if outcome == NO_INTERVAL:
        return "too few runs"
    ratio = float(row["ratio"])
    if outcome == LOWER:
        return f"{format_factor(1 / ratio)} × faster"
    return f"{format_factor(ratio)} × slower"


def _choose_rows(rows: Sequence[AlikeRow], experiment: Experiment) -> list[AlikeRow]:
    """Choose the rows that are shown: choice, baseline, the slowest, and the fastest."""
    medians = find_medians(experiment, points.TIME)

    def fastest(row: AlikeRow) -> float:
        return min((medians[one] for one in row.treatments if one in medians), default=float("inf"))

    ordered = sorted(rows, key=fastest)
    if len(rows) <= MOST_ROWS:
        return ordered
    first = [row for row in ordered if row.is_chosen or experiment.baseline in row.treatments]
    known = [row for row in ordered if fastest(row) < float("inf")]
    wanted = list(dict.fromkeys([*first, *known[-1:], *ordered]))[:MOST_ROWS]
    return [row for row in ordered if row in wanted]


def _describe_runs(tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]) -> str:
    """Return how the runs ended, first of all those that failed, with the first error."""
    runs = tables["runs"]
    planned, made = len(plan["runs"]), len(runs)
    failed, unsupported = find_failed(runs), find_unsupported(runs)
    so_far = f"; {made} of {planned} runs made" if made < planned else ""
    if len(unsupported):
        so_far += f"; {count_noun(len(unsupported), 'treatment')} cannot run here"
    made = len(failed) + int((runs["status"] == "ok").sum())
    if not made and len(unsupported):
        return f"nothing was run{so_far}"
    if failed.empty:
        return f"all {made} runs ok{so_far}" if made != 1 else f"1 run ok{so_far}"
    first = failed.iloc[0]
    counts = failed["treatment"].nunique()
    others = f" and {count_noun(counts - 1, 'other treatment')}" if counts > 1 else ""
    return (
        f"{len(failed)} of {count_noun(made, 'run')} FAILED{so_far}:"
        f" `{clean_name(first['treatment'])}`{others}: {find_error(tables, first)}"
    )


def _describe_blocks(runs: pd.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    noisy = int((runs["noisy"] != "").sum())
    texts = [describe_blocks(runs, plan)] if len(runs) else []
    return [*texts, f"{noisy} runs disturbed"] if noisy else texts


def _describe_machine(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return cores and memory of the machine, and that the GIL is off if it is."""
    values: dict[str, list[str]] = {}
    for row in list_rows(tables["environment"]):
        values.setdefault(row["property"], []).append(row["value"])

    def only(name: str) -> str:
        found = values.get(name, [])
        return found[0] if len(found) == 1 else ""

    nodes = count_run_nodes(tables["runs"])
    cores, memory = only("cores_usable") or only("cores"), only("memory_bytes")
    texts = [count_noun(nodes, "node")] if nodes > 1 else []
    each = " each" if nodes > 1 else ""
    if cores.isdecimal():
        texts.append(f"{count_noun(int(cores), 'core')}{each}")
    if memory.isdecimal():
        texts.append(f"{format_bytes(int(memory))}{each}")
    machine = [", ".join(texts)] if texts else []
    if interpreters := count_interpreters(tables):
        machine.append(interpreters)
    return [*machine, "without the GIL"] if only("gil") == "False" else machine


def _list_warnings(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    environment = tables["environment"]
    mixed = environment[environment["where"] != ""]
    if len(mixed):
        names = dict.fromkeys(clean_name(label_property(str(one))) for one in mixed["property"])
        some = points.name_some(list(names))
        yield f"Machine or software changed between runs ({some}); so may have results."
    if few_nodes := few_nodes_text(tables["runs"]):
        yield few_nodes
    if switched_on := switched_on_text(tables):
        yield switched_on
    if (tables["runs"]["swapped_bytes"].fillna(0) > 0).any():
        yield "Memory was swapped out: peaks are too low and times too long."


def format_groups(answer: ExperimentAnswer) -> str:
    """Return the table of an experiment's groups as Markdown."""
    to = f"against `{answer.baseline}`" if answer.baseline else "against the baseline"
    columns = ["treatments", "makespan s", Markdown(to), "peak MiB", "limited by"]
    cells = [
        [
            _markdown_label(row),
            row.makespan,
            row.against,
            row.peak,
            escape_marked(row.limit),
        ]
        for row in answer.rows
    ]
    table = format_table(columns, cells, texts=1)
    return f"{table}\n\n{_hidden_text(answer)}" if answer.hidden else table


def _hidden_text(answer: ExperimentAnswer) -> str:
    return f"And {count_noun(answer.hidden, 'other group')} of treatments."


def _markdown_label(row: AlikeRow) -> str:
    label = escape_marked(row.label)
    tags = f" (`{clean_name(row.treatments[0])}`)" if len(row.treatments) == 1 else ""
    tags = "" if row.label == row.treatments[0] else tags
    text = f"**{label}**{tags}" if row.is_chosen else f"{label}{tags}"
    return Markdown(text)


_BUDGET = 420
"""Characters of a point in Markdown; further sentences are left out."""


def format_markdown(screen: Screen) -> str:
    """Return the first screen as Markdown of at most 25 lines."""
    title = f"{screen.study}: {' · '.join(screen.facts)}"
    lines = [f"# {escape_marked(title)}", ""]
    if screen.warnings:
        lines += [f"**{escape_marked(' '.join(screen.warnings))}**", ""]
    answers = screen.answers
    if len(answers) == 1:
        return "\n".join([*lines, format_answer(answers[0])]) + "\n"
    room = MOST_LINES - len(lines)
    whole = max([len(_NAMES), *(len(one.points) for one in answers)])
    lines_each = next((each for each in (whole, 2) if each * len(answers) <= room), 1)
    shown = answers if lines_each * len(answers) <= room else answers[: room - 1]
    for answer in shown:
        lines += _markdown_lines(answer, lines_each)
    if more := len(answers) - len(shown):
        lines.append(f"- And {count_noun(more, 'other experiment')}.")
    return "\n".join(lines) + "\n"


def format_answer(answer: ExperimentAnswer) -> str:
    """Return all that is known about one experiment as Markdown: points, and the groups."""
    return "\n".join([*map(_bullet, answer.points), "", format_groups(answer)])


def _markdown_lines(answer: ExperimentAnswer, lines_each: int) -> Iterator[str]:
    """Return an experiment as five lines, two lines or one."""
    name = f"**{escape_marked(answer.experiment)}**"
    by_name = {one.name: one for one in answer.points}
    use = by_name.get(USE, Point(USE, ("nothing.",)))
    if lines_each >= len(_NAMES):
        yield f"- {name}: {_join_use(use)}"
        yield from (f"  {_bullet(one)}" for one in answer.points if one.name != USE)
        return
    firsts = [
        f"**{name}**: {escape_marked(by_name[name].join(by_name[name].sentences[:1]))}"
        for name in (MATTERS, WHY, NEXT, NOT_RUN, SURE)
        if name in by_name
    ]
    if lines_each == 2:
        yield f"- {name}: {_join_use(use)}"
        yield f"  - {' '.join(firsts)}"
        return
    yield f"- {name}: {_join_use(use, 200)} {' '.join(firsts)}"


def _join_marked(point: Point, budget: int = _BUDGET) -> str:
    return escape_marked(point.join(_fit(point.sentences, budget)))


def _join_use(point: Point, budget: int = _BUDGET) -> str:
    """Return what to use; of a choice that is made the verb stands out."""
    text = _join_marked(point, budget)
    if text.startswith(points.USE_VERB):
        return f"**{points.USE_VERB.strip()}** {text.removeprefix(points.USE_VERB)}"
    return text


def _bullet(point: Point) -> str:
    text = _join_marked(point)
    if point.name == USE and text.startswith(points.USE_VERB):
        return f"- **{USE}** {text.removeprefix(points.USE_VERB)}"
    return f"- **{point.name}**: {text}"


def _fit(sentences: Sequence[str], budget: int) -> list[str]:
    """Return the first sentence and those that still fit."""
    taken: list[str] = []
    for text in sentences:
        if taken and len(" ".join([*taken, text])) > budget:
            continue
        taken.append(text)
    return taken


def format_terminal(screen: Screen, *, preliminary: str = "") -> str:
    """Return the first screen as text of less than 25 lines for a terminal of 80 columns.

    Sentences are added as long as there are lines for them, those that matter most first.
    """
    mark = f" ({preliminary})" if preliminary else ""
    head = _wrap(f"{screen.study}{mark}: {' · '.join(screen.facts)}", 3)
    head += [line for text in screen.warnings for line in _wrap(text, 2)]
    room = MOST_LINES - 1 - len(head)
    table = _terminal_table(screen.answers[0], room - _POINTS) if len(screen.answers) == 1 else []
    room -= len(table)
    if len(screen.answers) > room:
        room -= 1
    shown = screen.answers[:room]
    texts = [_wrap(f"{one.experiment}: {one.brief}", 1) for one in shown]
    taken: list[dict[str, list[str]]] = [{} for _ in shown]
    for name, place in _IN_TURN:
        for number, answer in enumerate(shown):
            if sentences := answer.point(name)[place : place + 1]:
                before = taken[number].get(name, [])
                own = taken[number] | {name: [*before, *sentences]}
                found = _terminal_lines(answer, own)
                if (
                    USE in own
                    and len(before) == place
                    and sum(map(len, texts)) - len(texts[number]) + len(found) <= room
                ):
                    taken[number], texts[number] = own, found
    rest = len(screen.answers) - len(shown)
    more = [f"and {count_noun(rest, 'other experiment')}"] if rest else []
    return "\n".join([*head, *(line for own in texts for line in own), *more, *table]) + "\n"


_NAMES = (USE, MATTERS, WHY, NEXT, SURE)
_IN_TURN = (
    *((name, 0) for name in (USE, WHY, NEXT, NOT_RUN, SURE, MATTERS)),
    *((name, place) for place in (1, 2, 3) for name in (*_NAMES, NOT_RUN)),
)
"""Points and the places of their sentences, the most important first."""

_INDENT = 9


def _terminal_lines(answer: ExperimentAnswer, taken: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of an experiment with the sentences that were taken."""
    lines: list[str] = []
    for point in answer.points:
        if sentences := taken.get(point.name):
            text = point.join(sentences)
            label = point.name.removeprefix("What ").removeprefix("How ").upper()
            lead = f"{label:<{_INDENT}}"
            if point.name == USE and answer.is_one_of_many:
                lead = f"{answer.experiment}: "
            elif point.name == USE:
                text = text.removeprefix(points.USE_VERB)
            lines += _wrap(f"{lead}{text}", None, " " * _INDENT)
    return lines


def _plain(text: str) -> str:
    return text.replace("`", "")


_NARROW = re.compile(r"(?<=\d) (?=[%×]|(ms|min|[smh]|[KMGT]iB)\b)|(?<=×) (?=faster|slower)|(?<=≥) ")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def _wrap(text: str, most: int | None, indent: str = "") -> list[str]:
    """Return a text in lines; a number stays with its unit, what is beyond `most` is left out."""
    lines = textwrap.wrap(
        _NARROW.sub(_NO_BREAK, _plain(text)),
        WIDTH,
        max_lines=most,
        placeholder=" …",
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK, " ") for line in lines] or [""]


_POINTS = 9
"""Lines that the points of an only experiment need beside its table."""


def _terminal_table(answer: ExperimentAnswer, most: int) -> list[str]:
    """Return the table of groups in at most so many lines; rows that matter least are left out."""
    rows = list(answer.rows)
    baseline = [row for row in rows if answer.baseline in row.treatments]
    kept = [row for row in rows if row.is_chosen or row in baseline]
    droppable = [row for row in rows[1:-1] if row not in kept]
    lines = _lay_out(answer, rows)
    while len(lines) > most and droppable:
        rows.remove(droppable.pop())
        lines = _lay_out(answer, rows)
    return lines


def _lay_out(answer: ExperimentAnswer, rows: Sequence[AlikeRow]) -> list[str]:
    against = f"against {answer.baseline}" if answer.baseline else "against"
    titles = ("treatments", "makespan s", against, "peak MiB", "limited by")
    values = [(row.label, row.makespan, row.against, row.peak, row.limit) for row in rows]
    table = [[_plain(cell) for cell in cells] for cells in [titles, *values]]
    natural = [max(map(len, column)) for column in zip(*table, strict=True)]
    makespan, peak = natural[1], natural[3]
    to = min(natural[2], _WIDEST)
    rest = WIDTH - makespan - peak - to - len(natural) + 1
    label = min(natural[0], max(rest // 2, rest - natural[4]))
    widths = (label, makespan, to, peak, rest - label)
    lines = [""]
    for cells in table:
        wrapped = [
            textwrap.wrap(_NARROW.sub(_NO_BREAK, cell), width) or [""]
            for cell, width in zip(cells, widths, strict=True)
        ]
        for parts in zip_longest(*wrapped, fillvalue=""):
            line = " ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True))
            lines.append(line.replace(_NO_BREAK, " ").rstrip())
    if hidden := answer.hidden + len(answer.rows) - len(rows):
        lines.append(f"and {count_noun(hidden, 'other group')} of treatments")
    return lines


_WIDEST = 20
"""Characters of the column that compares with the baseline."""
