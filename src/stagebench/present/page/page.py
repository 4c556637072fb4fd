"""Tables and first screens of a study → `report.html`, one file that needs nothing else.

The answer is HTML that is there before any script runs. All else is drawn by our own scripts from
JSON within the file. The browser is told to load nothing and to run no script but ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from stagebench.present import effects, why
from stagebench.present.answer import format_groups
from stagebench.present.factor_text import describe_factors
from stagebench.present.markdown import render_template
from stagebench.present.node_table import describe_nodes
from stagebench.present.page.data import (
    cut_line,
    describe_experiment,
    list_failures,
)
from stagebench.present.page.inside import describe_shown_runs
from stagebench.present.points import USE_VERB
from stagebench.store import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.answer import ExperimentAnswer, Screen
    from stagebench.present.experiment import Experiment

_FOLDER = Path(__file__).parent
_SCRIPTS = ("draw.js", "table.js", "overview.js", "run.js", "page.js")
"""In this order: each uses what the ones before it define."""

_MOST_FAILURES = 12
"""Of more failures than this, the others are counted."""


def render_page(screen: Screen, experiments: Sequence[Experiment], out: Path) -> None:
    """Write the page of a study: its first screen, and all that lies behind it."""
    script = _wrap_scripts()
    failures = _list_failures(experiments)
    values = {
        "study": screen.study,
        "facts": _mark(" · ".join(screen.facts)),
        "warnings": [_mark(text) for text in screen.warnings],
        "style": Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our file
        "script": Markup(script),  # noqa: S704 - our own files
        "script_hash": _hash_script(script),
        "failures": failures[:_MOST_FAILURES],
        "failures_title": _title_failures(failures),
        "experiments": [
            _experiment_values(screen.study, one, answer)
            for one, answer in zip(experiments, screen.answers, strict=True)
        ],
    }
    write_text(out, render_template(_FOLDER / "page.html.j2", values))


def _wrap_scripts() -> str:
    """Return our scripts as one, of which nothing gets out."""
    texts = [(_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return '\n"use strict";\n{\n' + "\n".join(texts) + "}\n"


def _hash_script(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _list_failures(experiments: Sequence[Experiment]) -> list[str]:
    several = len(experiments) > 1
    return [
        f"{cut_line(one.name)}: {text}" if several else text
        for one in experiments
        for text in list_failures(one)
    ]


def _title_failures(failures: Sequence[str]) -> str:
    shown = min(len(failures), _MOST_FAILURES)
    more = f", the first {shown}" if shown < len(failures) else ""
    return f"What failed ({len(failures)}{more})"


def _experiment_values(
    study: str, experiment: Experiment, answer: ExperimentAnswer
) -> dict[str, Any]:
    runs = describe_shown_runs(experiment)
    commands = {
        treatment: {"command": _name_export(study, experiment.name, treatment, run["replicate"])}
        for treatment, run in runs.items()
    }
    return {
        "name": cut_line(experiment.name),
        "points": [
            {
                "name": one.name,
                "texts": [_mark(text.removeprefix(USE_VERB)) for text in one.sentences],
            }
            for one in answer.points
        ],
        "groups": _render_markdown(format_groups(answer)) if answer.rows else "",
        "parts": [
            {"title": title, "body": _render_markdown(text)}
            for title, text in _list_parts(experiment)
            if text
        ],
        "data": _write_json(describe_experiment(experiment)),
        "runs": _write_json(
            [runs[one] | commands[one] if one in runs else None for one in experiment.treatments]
        ),
    }


def _name_export(study: str, experiment: str, treatment: str, replicate: int) -> str:
    """Return the command that writes a run's timeline for Perfetto."""
    folder = f"results/{study}/raw/{experiment}/{treatment}/r{replicate}"
    return cut_line(f"stagebench export {shlex.quote(folder)} --perfetto")


def _list_parts(experiment: Experiment) -> list[tuple[str, str]]:
    """Return titles and Markdown of what is folded away: reasons, predictions, effects."""
    changes = [why.predictions_table(experiment), why.profile_table(experiment)]
    treatment = cut_line(why.predicted_treatment(experiment))
    return [
        ("Why: what limits each treatment", why.limits_table(experiment)),
        ("Where the time of a task goes, means in seconds", why.parts_table(experiment)),
        (
            f"What other settings would do to {treatment}, by prediction",
            "\n\n".join([*filter(None, changes), why.checks_text(experiment)]).strip()
            if any(changes)
            else "",
        ),
        ("Nodes: tasks, memory and traffic of each, medians", describe_nodes(experiment)),
        ("Effects of factors, with 95 % intervals", _write_factors(experiment)),
        (
            f"Each treatment against {cut_line(experiment.baseline)}, with 95 % intervals",
            effects.effects_table(experiment),
        ),
    ]


def _write_factors(experiment: Experiment) -> str:
    """Return the effects of factors as Markdown, those that are decided as a list."""
    factors = describe_factors(experiment)
    blocks = [
        "\n".join([f"**{one.title}**", "", *(f"- {text}" for text in [*one.decided, *one.rest])])
        for one in (factors.quantities if factors else ())
    ]
    return "\n\n".join(blocks)


def _mark(text: str) -> Markup:
    """Return a sentence as HTML, in which names in backquotes are code."""
    parts = [escape(part) for part in text.split("`")]
    # Every second part is between two backquotes.
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


def _render_markdown(text: str) -> Markup:
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return Markup(html)  # noqa: S704 - tags within the text are escaped


def _write_json(values: Any) -> Markup:
    """Write values as JSON that ends no script and that no parser of HTML takes for a tag."""
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - see above
