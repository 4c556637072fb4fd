from __future__ import annotations

import pytest

from stagebench.present.explain_sharing import explain_sharing


@pytest.fixture
def told(make_pool):
    """Explain pools of which (kind, workers, base, trough, end) are told; gives the sentences."""

    def explain(*pools, **changes):
        made = [
            make_pool(kind, workers, phases={"base": base, "trough": trough, "end": end}, **changes)
            for kind, workers, base, trough, end in pools
        ]
        found = explain_sharing(made)
        return "" if found is None else " ".join(found.sentences)

    return explain


BASE = (13, 10, 10, 20, 0)
BACK = (14, 11, 11, 21, 0)
ONE = ("fork", 1, BASE, (9, 6, 2, 20, 1), BACK)
TWO = ("fork", 2, BASE, (8, 5, 2, 20, 2), BACK)


def test_forked_workers_that_share_mains_pages_are_told_with_numbers(told):
    text = told(ONE, TWO)
    for words in (
        "**Forked workers**: main's PSS fell in all 2 treatments while workers lived, most in",
        "most in `p2-fork`: from 13.0 to 8.00 MiB beside 2 workers.",
        "did not fall (20.0 to 20.0 MiB then)",
        "Of the 5.00 MiB, 5.00 are anonymous memory",
        "its USS, the pages that it shares with nobody, went from 10.0 to 2.00 MiB",
        "the smaller main's part of them: 9.00 MiB with 1, 8.00 MiB with 2.",
        "it came back: `p1-fork` 14.0, `p2-fork` 14.0 MiB.",
    ):
        assert words in text


def test_a_fall_that_is_not_there_is_not_explained(told):
    text = told(("fork", 1, BASE, (12.5, 10, 10, 20, 1), BACK))
    assert "the fall is not seen here" in text
    assert "shares" not in text


def test_main_that_gave_memory_back_is_told_so(told):
    text = told(("fork", 1, BASE, (9, 6, 2, 15, 1), BACK))
    assert "In `p1-fork` its RSS fell, too: there main gave memory back" in text
    assert "gave nothing back" not in text


def test_more_workers_that_do_not_deepen_the_fall_are_told_so(told):
    text = told(ONE, ("fork", 2, BASE, (10, 6, 2, 20, 2), BACK))
    assert "It did not fall the deeper, the more workers there were" in text


def test_pools_of_one_size_are_not_compared(told):
    text = told(ONE)
    assert "more workers" not in text
    assert "most in" not in text


def test_pss_that_does_not_come_back_is_told_so(told):
    text = told(("fork", 1, BASE, (9, 6, 2, 20, 1), (9, 6, 2, 20, 0)))
    assert "it did not come back in `p1-fork`" in text


def test_workers_that_live_to_the_end_show_no_return(told):
    text = told(("fork", 1, BASE, (9, 6, 2, 20, 1), (109, 106, 102, 120, 1)))
    assert "that PSS comes back is not seen here" in text


def test_spawned_workers_share_files_and_no_anonymous_memory(told):
    text = told(ONE, ("spawn", 1, BASE, (11, 10.5, 10.5, 20, 1), BACK))
    spawned = text.partition("**Spawned workers**")[2]
    assert "what fell is mainly the part of files" in spawned
    assert "which main had written before" not in spawned


def test_threads_share_with_nobody(told):
    text = told(ONE, ("thread", 1, BASE, BASE, BACK))
    assert "in `t1-thread` its PSS never fell 5 % below its base" in text


def test_threads_whose_main_falls_are_not_explained_by_sharing(told):
    text = told(ONE, ("thread", 1, BASE, (9, 6, 6, 16, 0), BACK))
    assert "sharing does not explain that" in text


def test_workers_that_no_sweep_met_leave_the_question_open(told):
    text = told(ONE, ("spawn", 1, BASE, BASE, BACK))
    assert "**Spawned workers**: no sweep met one" in text


def test_threads_alone_need_no_explanation(told):
    assert told(("thread", 1, BASE, BASE, BACK)) == ""


def test_the_table_has_every_treatment(make_pool):
    pools = [make_pool("fork", n, phases={"base": BASE, "trough": ONE[3]}) for n in (1, 2)]
    table = explain_sharing(pools).table.splitlines()
    assert len(table) == 4
    assert "13.0 → 9.00 → –" in table[2]
