"""How fast the machine is beside the published one, part by part, and what that does to ratios.

A pipeline's ratios depend on how its stages compare. A simulated download takes about as long
everywhere; what computes does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.columns import VERDICTS
from stagebench.present.markdown import format_number
from stagebench.quantities import PARAMETER

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

MAKESPAN, SERVICE = "makespan_s", "service_mean_s"
EFFICIENCY, SHARE = "stage_efficiency", "share_of_total_time"

ALIKE = 1.1
"""Factors between the published seconds of stages and ours that differ by less are alike."""

REFUTED = VERDICTS[0]


class Pace(NamedTuple):
    """Published and measured seconds of a run, or of a task in a stage."""

    stage: str
    published: float
    measured: float

    @property
    def factor(self) -> float:
        """How many times as long it takes here."""
        return self.measured / self.published

    def __str__(self) -> str:
        """Tell the factor, and of what: "2.44 × in cpu_bound"."""
        return f"{format_number(self.factor)} ×" + (f" in {self.stage}" if self.stage else "")


def speed_sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say of each experiment of the published size what its refuted ratios mean on this machine."""
    claims, tests = tables["claims"], tables["claim_tests"]
    fell = claims[(claims["kind"] == "figure") & (claims["verdict"] == REFUTED)]
    refuted = tests[tests["claim"].isin(fell["id"])].drop_duplicates("claim")
    published = tables["published"]
    return [
        sentence
        for name in dict.fromkeys(published["experiment"])
        if (
            sentence := _sentence(
                published[published["experiment"] == name], refuted[refuted["experiment"] == name]
            )
        )
    ]


def _sentence(published: pd.DataFrame, refuted: pd.DataFrame) -> str:
    baseline = _baseline(published)
    own = published[published["treatment"] == baseline]
    whole, stages = _paces(own, MAKESPAN), _paces(own, SERVICE)
    fell = _count(refuted, baseline)
    if not (whole and _differ(stages) and fell and _is_full_size(published)):
        return ""
    here, there = (format_number(time) for time in (whole[0].measured, whole[0].published))
    return (
        f"{baseline} of {own['experiment'].iloc[0]} took {whole[0]} the published time ({here} s"
        f" here, {there} s there), and not in the same way everywhere: a task took"
        f" {', '.join(map(str, stages))}. Ratios to {baseline}, efficiencies and shares of time"
        " depend on how the CPU compares with the simulated network: a published one that is"
        f" refuted ({fell}) is *not so on this machine*; it does not say that the authors erred."
    )


def _baseline(published: pd.DataFrame) -> str:
    basis = published.loc[published["quantity"] == MAKESPAN, "basis"]
    return next((text.removeprefix("ratio to ") for text in basis if text), "")


def _paces(published: pd.DataFrame, quantity: str) -> list[Pace]:
    """Give published and measured seconds, by stage; what was logged is the more precise."""
    told = published[(published["quantity"] == quantity) & (published["unit"] == "s")]
    seconds = told["logged"].fillna(told["stated"])
    paces = map(Pace, told["stage"], seconds, told["median"])
    return [pace for pace in paces if pace.published > 0 and pace.measured > 0]


def _differ(stages: list[Pace]) -> bool:
    factors = [pace.factor for pace in stages]
    return bool(factors) and max(factors) > ALIKE * min(factors)


def _is_full_size(published: pd.DataFrame) -> bool:
    parameters = published[published["quantity"].str.startswith(PARAMETER)]
    return bool((parameters["measured_relative"] == 1).all())


def _count(refuted: pd.DataFrame, baseline: str) -> str:
    """Count what depends on how the parts compare: "ratios 4, efficiencies 8, shares 26"."""
    found = {
        "ratios": (refuted["quantity"] == MAKESPAN) & (refuted["to"] == baseline),
        "efficiencies": refuted["quantity"] == EFFICIENCY,
        "shares": refuted["quantity"] == SHARE,
    }
    counts = {name: int(rows.sum()) for name, rows in found.items()}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
