from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.present.explain_transit import copies_in_main, explain_transit

BASE = (13, 10, 10, 20, 0)


@pytest.fixture
def sized(make_pool):
    """Make a pool whose main rises by so many results: PSS and RSS of a sweep, and high water."""

    def make(kind="fork", workers=1, rise=(3, 3, 3), **changes):
        pss, rss, mark = rise
        peak = (13 + 10 * pss, 10, 10, 20 + 10 * rss, workers)
        roles = {} if mark is None else {"main": {"high_water_bytes": 20 + 10 * mark}}
        phases = {"base": BASE, "peak": peak}
        return make_pool(kind, workers, phases=phases, roles=roles, **changes)

    return make


def told(*pools, python=(3, 11)):
    found = explain_transit(list(pools), python)
    return "" if found is None else " ".join(found.sentences)


@pytest.mark.parametrize(
    ("python", "copies"), [((3, 11), 3), ((3, 13), 3), ((3, 14), 2), (None, None)]
)
def test_the_number_of_copies_follows_the_pickle_protocol(python, copies):
    assert copies_in_main(python) == copies


def test_a_rise_by_the_copies_alone_leaves_nothing_to_explain(sized):
    text = told(sized(rise=(2, 2, 3)))
    assert "rises by 3.0 results where they are dropped." in text
    assert "CPython holds 3 blocks of its size" in text
    assert "The rise has room for that in `p1-fork`. It leaves nothing to explain." in text
    assert "hypothesis" not in text


def test_what_the_copies_do_not_explain_is_called_a_hypothesis(sized):
    text = told(sized(rise=(3, 3, 3.8)), sized(workers=2, rise=(3, 3, 4.2)))
    assert "0.8 to 1.2 results more are not explained by copies" in text
    assert "hypothesis that this experiment does not test" in text


def test_what_the_pool_itself_takes_is_no_rest(sized, make_pool):
    idle = make_pool(phases={"trough": (9, 6, 2, 28, 1)})
    pool = sized(rise=(3, 3, 3.8))
    text = told(replace(pool, phases={**pool.phases, **idle.phases}))
    assert "It leaves nothing to explain." in text


def test_of_retained_results_those_held_are_not_counted(sized):
    text = told(sized(rise=(12, 12, 12), retain=True))
    assert "by 2.0 results where they are retained, these not counted" in text
    assert "It leaves nothing to explain." in text


def test_a_rise_without_room_for_the_copies_refutes_them(sized):
    text = told(sized(rise=(1, 1, 1.5)), sized(workers=2))
    assert "In `p1-fork` main rose by less: there that is not the cause." in text
    assert "has room" not in text


def test_two_copies_are_enough_where_bytearrays_are_pickled_directly(sized):
    assert "holds 2 blocks" in told(sized(rise=(2, 2, 2)), python=(3, 14))


def test_an_unknown_interpreter_makes_an_unknown_number_of_copies(sized):
    text = told(sized(), python=None)
    assert "is not known" in text
    assert "blocks" not in text


def test_peaks_that_fall_though_the_high_water_does_not_are_told_as_unseen(sized):
    text = told(sized(rise=(3, 3.5, 4)), sized(workers=5, rise=(1.5, 2.25, 4)))
    assert "(`p1-fork` → `p5-fork`; at most 3.0 → 1.5)" in text
    assert "does not (4.0 → 4.0): main takes as much." in text
    assert "0.8 were counted with its workers, being shared, and 1.8 lay between two" in text


def test_a_high_water_that_falls_too_means_that_main_took_less(sized):
    text = told(sized(rise=(3, 3.5, 4)), sized(workers=5, rise=(1.5, 2, 3)))
    assert "So does its high-water mark (4.0 → 3.0): main did take less memory." in text


def test_peaks_that_do_not_fall_are_told_as_not_seen(sized):
    assert "is not seen here" in told(sized(), sized(workers=5))


def test_one_number_of_workers_is_compared_with_none(sized):
    text = told(sized())
    assert "ore workers" not in text


def test_without_a_high_water_mark_nothing_is_concluded(sized):
    text = told(sized(rise=(3, 3, None)), sized(workers=5, rise=(1, 1, None)))
    assert "main's high-water mark is not known to the census" in text
    assert "Whether main took less memory is not known" in text
    assert "blocks" not in text


def test_threads_hold_a_result_each_or_are_told_otherwise(sized):
    threads = [sized("thread", n, rise=(n, n, n)) for n in (1, 2)]
    text = told(sized(), *threads)
    assert "one result a worker, 1.0 (`t1-thread`), 2.0 (`t2-thread`)" in text
    text = told(sized(), sized("thread", 5, rise=(1, 1, 1)))
    assert "1.0 (`t5-thread`), which is not one result a worker" in text


def test_results_of_unknown_size_are_not_told(sized):
    assert told(sized(result=float("nan"))) == ""


def test_threads_alone_send_no_result(sized):
    assert told(sized("thread")) == ""
