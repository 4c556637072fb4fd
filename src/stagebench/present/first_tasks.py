"""What the first task of a worker pays for and later ones find done: imports, and fresh memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.present.markdown import count_noun, escape, format_number, quote_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.experiment import Experiment


DEARER, DEARER_S = 1.5, 0.01
"""First tasks are pointed out if they took so many times as long as later ones, and so much longer.
Both are ours: they decide what is mentioned, not what is true."""


class _Place(NamedTuple):
    """A stage of a treatment: the medians of its first tasks and of its later ones, in seconds."""

    treatment: str
    stage: str
    first_s: float
    later_s: float

    @property
    def is_dear(self) -> bool:
        """Whether first tasks are pointed out; not if one of the two is unknown."""
        difference_s = self.first_s - self.later_s
        return difference_s >= DEARER_S and self.first_s >= DEARER * self.later_s

    def __str__(self) -> str:
        """Return both times: "1.60 s against 0.030 s later"."""
        return f"{format_number(self.first_s)} s against {format_number(self.later_s)} s later"


def first_task_sentences(experiment: Experiment) -> list[str]:
    """Report, by stage, what made the first tasks of workers longer than later ones."""
    sentences = []
    for stage in experiment.stages:
        own = [name for name in experiment.treatments if experiment.has_stage(name, stage)]
        importing = [n for n in own if _median(experiment, n, "imported_modules", stage) > 0]
        imports = _find_dear(experiment, importing, stage, "service")
        if imports:
            sentences.append(_describe_imports(experiment, imports, len(own)))
        others = [name for name in own if name not in importing]
        cold = _find_dear(experiment, others, stage, "cpu")
        if cold:
            sentences.append(_describe_cold(cold, len(own)))
    return sentences


def _find_dear(
    experiment: Experiment, treatments: Sequence[str], stage: str, time: str
) -> list[_Place]:
    """Return where first tasks are to be pointed out, by a time, the largest difference first."""
    places = (
        _Place(
            treatment,
            stage,
            *(_median(experiment, treatment, f"{time}_{p}_median_s", stage) for p in _PARTS),
        )
        for treatment in treatments
    )
    dear = [place for place in places if place.is_dear]
    return sorted(dear, key=lambda place: place.later_s - place.first_s)


_PARTS = ("first", "later")


def _median(experiment: Experiment, treatment: str, quantity: str, stage: str) -> float:
    return float(experiment.summary(treatment, quantity, stage)["median"])


def _describe_imports(experiment: Experiment, places: Sequence[_Place], of: int) -> str:
    most = places[0]
    modules = round(_median(experiment, most.treatment, "imported_modules", most.stage))
    stages = experiment.tables["stages"]
    own = stages[(stages["treatment"] == most.treatment) & (stages["stage"] == most.stage)]
    named = next((escape(text) for text in own["imported"] if text), "")
    packages = f" ({named})" if named else ""
    return (
        f"The first task of each worker in stage {quote_code(most.stage)} imported"
        f" {count_noun(modules, 'module')}{packages}: {most} ({quote_code(most.treatment)}, medians"
        f" of service; the like in {len(places)} of {count_noun(of, 'treatment')}). An import at"
        " the top of the handler's module would be part of the worker's start instead."
    )


def _describe_cold(places: Sequence[_Place], of: int) -> str:
    most = places[0]
    return (
        f"First tasks of workers in stage {quote_code(most.stage)} took at least {DEARER:g} × the"
        f" CPU time of later ones in {len(places)} of {count_noun(of, 'treatment')}, such as"
        f" {quote_code(most.treatment)}: {most} (medians). They imported nothing meanwhile. Fresh"
        " memory and empty caches are possible reasons."
    )
