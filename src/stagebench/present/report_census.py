"""Every process of an experiment's runs: how many were created, how many memory is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.present.markdown import MISSING, format_number, format_spread, format_table

if TYPE_CHECKING:
    import pandas as pd

    from stagebench.present.experiment import Experiment

_MEANS = {"ptrace": "ptrace", "poll": "polled"}


def census_table(experiment: Experiment) -> str:
    """Give for every treatment the processes of a run, by role, and the means of the census."""
    columns = ["treatment", "census", "by role", "bounded only, by role"]
    columns += ["created", "sampled", "bounded only"]
    rows = [_row(experiment, treatment) for treatment in experiment.treatments]
    return format_table(columns, rows, texts=4)


def is_polled(experiment: Experiment) -> bool:
    """Tell whether the census of a run was polled, so that it may have missed processes."""
    return bool((experiment.tables["runs"]["census"] == "poll").any())


def _row(experiment: Experiment, treatment: str) -> list[str]:
    runs = experiment.runs(treatment)
    if runs.empty:
        return [treatment, experiment.failure_note(treatment), *[MISSING] * 5]
    means = dict.fromkeys(_MEANS.get(str(name), MISSING) for name in runs["census"])
    roles = experiment.tables["roles"]
    own = roles[(roles["treatment"] == treatment) & roles["replicate"].isin(runs["replicate"])]
    return [
        treatment,
        ", ".join(means),
        _by_role(own, "created", len(runs)),
        _by_role(own, "bounded_only", len(runs)),
        *(
            format_spread(experiment.summary(treatment, f"processes_{name}"))
            for name in ("created", "sampled", "bounded_only")
        ),
    ]


def _by_role(roles: pd.DataFrame, column: str, runs: int) -> str:
    """Give the mean of a run, "main 1, worker 5"; roles without a process are left out."""
    sums = {str(role): int(own[column].sum()) for role, own in roles.groupby("role", sort=False)}
    told = [f"{role.replace('_', ' ')} {_mean(n, runs)}" for role, n in sums.items() if n]
    return ", ".join(told) or "none"


def _mean(count: int, runs: int) -> str:
    return format_number(count / runs) if count % runs else str(count // runs)
