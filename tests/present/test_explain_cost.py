from __future__ import annotations

import pytest

from stagebench.present.explain_cost import explain_cost

BASE = (40, 30, 35, 50, 0)


@pytest.fixture
def costly(make_pool):
    """Make a pool of processes by what a ready worker has: PSS, anonymous, files, USS."""

    def make(kind, ready, workers=1, largest=None, helpers=(), **changes):
        names = ("ready_pss_bytes", "ready_anon_bytes", "ready_file_bytes", "ready_uss_bytes")
        worker = dict(zip(names, ready, strict=True)) | {
            "created": workers,
            "largest_pss_bytes": largest or ready[0],
            "at_peak_pss_bytes": workers * (largest or ready[0]),
        }
        roles = {"worker": worker}
        for role, size in helpers:
            sizes = {"largest_pss_bytes": size, "at_peak_pss_bytes": size}
            roles[role] = sizes | {"created": 1}
        return make_pool(kind, workers, phases={"base": BASE}, roles=roles, **changes)

    return make


def told(*pools):
    found = explain_cost(list(pools))
    return "" if found is None else " ".join(found.sentences)


def test_a_worker_is_told_by_its_parts(costly):
    text = told(costly("fork", (18, 16, 2, 3)))
    assert "(`p1-fork`) has 18.0 MiB of PSS: 16.0 anonymous, 2.00 of files; 3.00 MiB" in text
    assert "That is 10 % of what main had written itself" in text
    assert "the rest it shares" in text


@pytest.mark.parametrize(
    ("uss", "words"),
    [
        (31, "it has made it all again"),
        (12, "That is 40 % of what main had written itself"),
        (60, "That is more than main had written itself"),
    ],
)
def test_a_spawned_worker_is_compared_with_what_main_had(costly, uss, words):
    text = told(costly("spawn", (39, 31, 8, uss)))
    assert words in text
    assert "the rest it shares" not in text


def test_results_that_a_worker_hands_over_are_no_price_of_its_start(costly):
    text = told(costly("fork", (18, 16, 2, 3), largest=48))
    assert "rose by 30.0 MiB more, 3.0 results" in text
    assert "rose" not in told(costly("fork", (18, 16, 2, 3)))
    assert "rose" not in told(costly("fork", (18, 16, 2, 3), largest=48, result=float("nan")))


def test_start_methods_are_compared_at_the_same_number_of_workers(costly):
    fork, spawn = costly("fork", (18, 16, 2, 3)), costly("spawn", (39, 31, 8, 31))
    assert "costs 28.0 MiB (`p1-spawn` over `p1-fork`) more" in told(fork, spawn)
    assert "costs" not in told(fork, costly("spawn", (39, 31, 8, 31), workers=2))
    assert "costs" not in told(spawn)


def test_helpers_are_told_with_their_share_of_the_children(costly):
    tracker = [("resource_tracker", 7)]
    pools = [
        costly("spawn", (21, 20, 1, 20), helpers=tracker),
        costly("spawn", (21, 20, 1, 20), workers=2, helpers=tracker),
    ]
    text = told(*pools)
    assert "A **resource tracker** process stands beside the workers of spawn, one however" in text
    assert "7.00 MiB of PSS, at most 25 % of the children's at the tree's peak (`p1-spawn`)" in text
    assert "one however" not in told(pools[0])


def test_pools_without_helpers_are_told_so(costly):
    assert "No resource tracker or other helper" in told(costly("fork", (18, 16, 2, 3)))


def test_only_helpers_that_were_there_have_a_column(costly):
    helpers = [("resource_tracker", 7), ("forkserver", 9)]
    header = explain_cost([costly("forkserver", (9, 8, 1, 8), helpers=helpers)]).table
    assert "resource tracker | fork server | children at peak" in header
    assert "tracker" not in explain_cost([costly("fork", (9, 8, 1, 8))]).table


def test_preloaded_modules_are_named_only_where_there_are_some(costly):
    assert "Main had imported `numpy`" in told(costly("fork", (9, 8, 1, 8), preload="numpy"))
    assert "imported" not in told(costly("fork", (9, 8, 1, 8)))


def test_workers_that_no_sweep_met_have_a_row_and_no_sentence(make_pool):
    pool = make_pool(phases={"base": BASE}, roles={"worker": {"created": 1}})
    found = explain_cost([pool])
    assert "worker** that is ready" not in " ".join(found.sentences)
    assert "p1-fork" in found.table


def test_threads_have_no_start_method(make_pool):
    assert explain_cost([make_pool("thread", phases={"base": BASE})]) is None
