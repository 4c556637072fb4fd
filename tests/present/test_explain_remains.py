from __future__ import annotations

from stagebench.present.explain_remains import explain_remains

BASE = (13, 10, 10, 20, 0)


def ended(make_pool, kind, workers, remains, **changes):
    end = (13 + 10 * remains, 10, 10, 20, 0)
    return make_pool(kind, workers, phases={"base": BASE, "peak": end, "end": end}, **changes)


def told(*pools):
    found = explain_remains(list(pools))
    return "" if found is None else " ".join(found.sentences)


def test_results_that_remain_under_threads_are_told_with_their_hypothesis(make_pool):
    text = told(ended(make_pool, "thread", 1, 1), ended(make_pool, "thread", 2, 2.1))
    assert "1.0 (`t1-thread`), 2.1 (`t2-thread`) results, one a worker" in text
    assert "no worker that keeps its last result can hold them" in text
    assert "a hypothesis, which this experiment does not test" in text


def test_what_remains_need_not_be_one_result_a_worker(make_pool):
    assert "one a worker" not in told(ended(make_pool, "thread", 5, 1))


def test_threads_that_give_all_back_are_told_as_not_seen(make_pool):
    text = told(ended(make_pool, "thread", 1, 0.1))
    assert "that is not seen here" in text
    assert "hypothesis" not in text


def test_other_factors_are_not_said_to_be_untested(make_pool):
    pools = [ended(make_pool, "thread", 1, 1), ended(make_pool, "thread", 1, 0, others="[mmap]")]
    assert "does not test" not in told(*pools)


def test_processes_leave_nothing_or_are_told_what(make_pool):
    assert "nothing of a result remains in main (0.1 results)" in told(
        ended(make_pool, "fork", 1, 0.1)
    )
    text = told(ended(make_pool, "fork", 1, 0.1), ended(make_pool, "fork", 2, 1.5))
    assert "0.1 to 1.5 results remain in main, most of all in `p2-fork`" in text


def test_results_still_held_are_no_remains(make_pool):
    assert told(ended(make_pool, "thread", 1, 10, retain=True)) == ""
