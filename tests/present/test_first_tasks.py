"""What the first tasks of workers paid for, in sentences."""

import pytest

from stagebench.present.first_tasks import first_task_sentences
from stagebench.records import Imports


@pytest.fixture
def sentences(present):
    return lambda *runs: first_task_sentences(present(*runs))


def run_of(known_run, make_task, first, later, cpu=None, **more):
    """Return a run of two tasks on one worker that serve for `first` and `later` seconds."""
    then, end = 10 + first, 10 + first + later
    cpus = cpu or (first, later)
    return known_run(
        stages=known_run().stages[:1],
        tasks=(
            make_task(0, "work", (10, 10, then, then), cpu=cpus[0]),
            make_task(1, "work", (10, then, end, end), cpu=cpus[1]),
        ),
        workers=(),
        **more,
    )


def test_dear_first_tasks_are_named_with_both_times(sentences, known_run, make_task):
    (text,) = sentences(run_of(known_run, make_task, 1.5, 0.25))
    assert text.startswith(
        "First tasks of workers in stage `work` took at least 1.5 × the CPU time of later ones in"
        " 1 of 1 treatment, such as `p1-fork`: 1.50 s against 0.250 s later (medians)."
    )


@pytest.mark.parametrize(
    "cpu",
    [(0.25, 0.25), (0.3, 0.25), (0.25, 1.5), (0.009, 0.001), (None, 0.25), (1.5, None)],
    ids=["equal", "a little more", "less", "too short", "first unknown", "later unknown"],
)
def test_first_tasks_that_are_not_dear_or_unknown_are_not_mentioned(
    sentences, known_run, make_task, cpu
):
    assert sentences(run_of(known_run, make_task, 1.5, 0.25, cpu=cpu)) == []


def test_imports_are_named_instead_of_memory(sentences, known_run, make_task):
    imports = {"work": Imports(0, 1, 412, ("pandas", "numpy"))}
    (text,) = sentences(run_of(known_run, make_task, 1.5, 0.03125, imports=imports))
    assert text.startswith(
        "The first task of each worker in stage `work` imported 412 modules (pandas, numpy): 1.50 s"
        " against 0.0312 s later (`p1-fork`, medians of service; the like in 1 of 1 treatment)."
    )


def test_imports_that_took_no_time_are_not_mentioned(sentences, known_run, make_task):
    imports = {"work": Imports(0, 1, 1, ("json",))}
    assert sentences(run_of(known_run, make_task, 0.25, 0.25, imports=imports)) == []
