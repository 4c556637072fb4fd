"""The report's explanations: questions about main's memory, and what the tables say of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.present.explain_cost import explain_cost
from stagebench.present.explain_remains import explain_remains
from stagebench.present.explain_sharing import explain_sharing
from stagebench.present.explain_transit import explain_transit
from stagebench.present.main_figure import MAIN_FIGURE, choose_pools
from stagebench.present.markdown import render_template
from stagebench.present.pools import list_pools
from stagebench.present.report import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from stagebench.present.experiment import Experiment
    from stagebench.present.phrases import Explanation
    from stagebench.present.report import Contents

_TEMPLATE = Path(__file__).with_name("explanations.md.j2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What is explained of one experiment, and the figure of its main, if there is one."""

    experiment: str
    figure: str
    explanations: Sequence[Explanation]


def render_explanations(contents: Contents) -> str:
    """Write the section that explains main's memory; "" where no experiment has one pool alone."""
    environment = contents.tables["environment"]
    explained = explain_experiments(contents.experiments, environment, contents.figures)
    return render_template(_TEMPLATE, {"explained": explained}) if explained else ""


def explain_experiments(
    experiments: Sequence[Experiment], environment: pd.DataFrame, figures: Path
) -> list[Explained]:
    """Explain every experiment whose workflow is one stage and whose base is known."""
    python = _python_version(environment)
    explained = [_explain(experiment, python, figures) for experiment in experiments]
    return [one for one in explained if one.explanations]


def _explain(experiment: Experiment, python: tuple[int, int] | None, figures: Path) -> Explained:
    figure = figures / experiment.name / f"{MAIN_FIGURE.name}.png"
    pools = list_pools(experiment)
    found = (
        explain_sharing(pools),
        explain_transit(pools, python),
        explain_cost(pools),
        explain_remains(pools),
    )
    return Explained(
        experiment=experiment.name,
        figure=figure.as_posix() if choose_pools(experiment) else "",
        explanations=[one for one in found if one is not None],
    )


def _python_version(environment: pd.DataFrame) -> tuple[int, int] | None:
    """Give major and minor version if all runs had one, of CPython."""
    values = environment.groupby("property")["value"].apply(list).to_dict()
    if values.get("python_implementation") != ["CPython"]:
        return None
    versions = {
        (int(found[1]), int(found[2]))
        for text in values.get("python", [])
        if (found := re.match(r"(\d+)\.(\d+)", text))
    }
    return versions.pop() if len(versions) == 1 else None


EXPLANATIONS = Section("why", "why memory looks as it does", render_explanations)
