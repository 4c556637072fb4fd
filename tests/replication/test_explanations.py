"""The explanations of main's memory, from pools of known sizes."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.commands import draw_figures, read_report, render_report

from stagebench.present.experiment import split_experiments
from stagebench.replication.explanations import (
    copies_in_main,
    explain_cost,
    explain_experiments,
    explain_remains,
    explain_sharing,
    explain_transit,
)
from stagebench.tables.io import read_tables


@pytest.fixture
def forked(known_run):
    def make(**changes):
        stages = (known_run().stages[0],)
        tasks = tuple(task for task in known_run().tasks if task.stage == "work")
        facts = {"stages": stages, "tasks": tasks, "workers": known_run().workers[:1]}
        return known_run(**facts | changes)

    return make


@pytest.fixture
def report(analyse):
    def write(*runs):
        folder = analyse(*runs, reference=None)
        draw_figures(folder / "tables", "pipe", folder / "figures/pipe")
        render_report(folder / "tables", folder / "plan.json", folder / "figures", folder)
        return folder, "\n".join(read_report(folder).values())

    return write


def test_a_study_of_one_pool_is_explained_and_its_figure_is_there(report, forked):
    folder, text = report(forked())
    for words in (
        "[Why memory looks as it does](report/why-memory.md)",
        "# Why memory looks as it does",
        "### Why main's PSS falls while workers live: `pipe`",
        "](../figures/pipe/main.png)",
    ):
        assert words in text
    assert (folder / "figures/pipe/main.png").is_file()


def test_a_workflow_of_several_stages_is_not_explained(report, known_run):
    folder, text = report(known_run())
    assert "why-memory" not in text
    assert "Why memory looks" not in text
    assert not (folder / "figures/pipe/main.png").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "crashed", "sweeps": (), "events": {}, "tasks": (), "workers": ()},
        {"sweeps": ()},
        {"status": "timed_out"},
    ],
)
def test_runs_of_which_too_little_is_known_are_not_explained(report, forked, changes):
    assert "Why memory looks" not in report(forked(**changes))[1]


def test_threads_alone_are_explained_without_a_figure_of_forks(report, forked, make_sweep):
    stage = forked().stages[0] | {"executor": "thread", "start_method": None}
    sweeps = (make_sweep(0, 9.5, 20), make_sweep(1, 11, 22.5), make_sweep(2, 16.75, 22.5))
    _, text = report(forked(stages=(stage,), sweeps=sweeps, workers=()))
    assert "1.0 (`p1-fork`) results, one per worker" in text
    assert "main.png" not in text


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"python": "3.11.2", "python_implementation": "CPython"}, True),
        ({"python": "3.11.2", "python_implementation": "PyPy"}, False),
        ({}, False),
    ],
)
def test_copies_are_counted_for_a_known_interpreter_alone(analyse, forked, environment, known):
    processes = forked(run={"environment": environment})
    folder = analyse(processes, reference=None)
    tables = read_tables(folder / "tables")
    # The census of the known runs has no high-water mark.
    tables["roles"]["high_water_bytes"] = 10**9
    experiments = split_experiments(tables)
    explained = explain_experiments(experiments, tables["environment"], Path("figures"))
    text = " ".join(s for one in explained[0].explanations for s in one.sentences)
    assert ("blocks of its size" in text) is known
    assert ("of a result its interpreter makes is not known" in text) is not known


BASE = (40, 30, 35, 50, 0)


@pytest.fixture
def costly(make_pool):
    """Return a pool of processes whose ready worker has these PSS, anonymous, files and USS."""

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


def sentences_of_cost(*pools):
    found = explain_cost(list(pools))
    return "" if found is None else " ".join(found.sentences)


def test_a_worker_is_split_into_its_parts(costly):
    text = sentences_of_cost(costly("fork", (18, 16, 2, 3)))
    assert "(`p1-fork`) has 18.0 MiB of PSS: 16.0 anonymous, 2.00 of files; 3.00 MiB" in text
    assert "That is 10 % of what main itself had written" in text
    assert "it shares the rest" in text


@pytest.mark.parametrize(
    ("uss", "words"),
    [
        (31, "the worker built it all again"),
        (12, "That is 40 % of what main itself had written"),
        (60, "That is more than main itself had written"),
    ],
)
def test_a_spawned_worker_is_compared_with_what_main_had(costly, uss, words):
    text = sentences_of_cost(costly("spawn", (39, 31, 8, uss)))
    assert words in text
    assert "it shares the rest" not in text


def test_results_that_a_worker_hands_over_are_no_cost_of_its_start(costly):
    text = sentences_of_cost(costly("fork", (18, 16, 2, 3), largest=48))
    assert "grew by another 30.0 MiB, the size of 3.0 results" in text
    assert "grew" not in sentences_of_cost(costly("fork", (18, 16, 2, 3)))
    assert "grew" not in sentences_of_cost(
        costly("fork", (18, 16, 2, 3), largest=48, result=float("nan"))
    )


def test_start_methods_are_compared_at_the_same_number_of_workers(costly):
    fork, spawn = costly("fork", (18, 16, 2, 3)), costly("spawn", (39, 31, 8, 31))
    assert "costs 28.0 MiB (`p1-spawn` over `p1-fork`) more" in sentences_of_cost(fork, spawn)
    assert "costs" not in sentences_of_cost(fork, costly("spawn", (39, 31, 8, 31), workers=2))
    assert "costs" not in sentences_of_cost(spawn)


def test_helpers_have_their_share_of_the_children(costly):
    tracker = [("resource_tracker", 7)]
    pools = [
        costly("spawn", (21, 20, 1, 20), helpers=tracker),
        costly("spawn", (21, 20, 1, 20), workers=2, helpers=tracker),
    ]
    text = sentences_of_cost(*pools)
    assert "A **resource tracker** process runs beside the workers of spawn, one for any" in text
    assert "7.00 MiB of PSS, at most 25 % of the children's at the tree's peak (`p1-spawn`)" in text
    assert "one for any" not in sentences_of_cost(pools[0])


def test_pools_without_helpers_say_so(costly):
    assert "No resource tracker or other helper" in sentences_of_cost(
        costly("fork", (18, 16, 2, 3))
    )


def test_only_helpers_that_were_there_have_a_column(costly):
    helpers = [("resource_tracker", 7), ("forkserver", 9)]
    header = explain_cost([costly("forkserver", (9, 8, 1, 8), helpers=helpers)]).table
    assert "resource tracker | fork server | children at peak" in header
    assert "tracker" not in explain_cost([costly("fork", (9, 8, 1, 8))]).table


def test_preloaded_modules_are_named_only_where_there_are_some(costly):
    assert "Main had imported `numpy`" in sentences_of_cost(
        costly("fork", (9, 8, 1, 8), preload="numpy")
    )
    assert "imported" not in sentences_of_cost(costly("fork", (9, 8, 1, 8)))


def test_workers_that_no_sweep_read_have_a_row_and_no_sentence(make_pool):
    pool = make_pool(phases={"base": BASE}, roles={"worker": {"created": 1}})
    found = explain_cost([pool])
    assert "A ready **" not in " ".join(found.sentences)
    assert "p1-fork" in found.table


def test_threads_have_no_start_method(make_pool):
    assert explain_cost([make_pool("thread", phases={"base": BASE})]) is None


BASE_of_explain_remains = (13, 10, 10, 20, 0)


def ended(make_pool, kind, workers, remains, **changes):
    end = (13 + 10 * remains, 10, 10, 20, 0)
    return make_pool(
        kind, workers, phases={"base": BASE_of_explain_remains, "peak": end, "end": end}, **changes
    )


def sentences_of_remains(*pools):
    found = explain_remains(list(pools))
    return "" if found is None else " ".join(found.sentences)


def test_results_that_remain_under_threads_come_with_a_hypothesis(make_pool):
    text = sentences_of_remains(
        ended(make_pool, "thread", 1, 1), ended(make_pool, "thread", 2, 2.1)
    )
    assert "1.0 (`t1-thread`), 2.1 (`t2-thread`) results, one per worker" in text
    assert "no worker can be holding its last result" in text
    assert "A hypothesis is that the allocator keeps" in text
    assert "this experiment does not test it" in text


def test_what_remains_need_not_be_one_result_a_worker(make_pool):
    assert "one per worker" not in sentences_of_remains(ended(make_pool, "thread", 5, 1))


def test_threads_after_which_nothing_remains_need_no_hypothesis(make_pool):
    text = sentences_of_remains(ended(make_pool, "thread", 1, 0.1))
    assert "nothing of a result's size remains" in text
    assert "hypothesis" not in text


def test_other_factors_are_not_called_untested(make_pool):
    pools = [ended(make_pool, "thread", 1, 1), ended(make_pool, "thread", 1, 0, others="[mmap]")]
    assert "does not test" not in sentences_of_remains(*pools)


def test_processes_leave_nothing_or_the_text_says_what(make_pool):
    assert "nothing of a result's size remains in main (0.1 results)" in sentences_of_remains(
        ended(make_pool, "fork", 1, 0.1)
    )
    text = sentences_of_remains(ended(make_pool, "fork", 1, 0.1), ended(make_pool, "fork", 2, 1.5))
    assert "0.1 to 1.5 results remain in main, mainly in `p2-fork`" in text


def test_results_still_held_are_no_remains(make_pool):
    assert sentences_of_remains(ended(make_pool, "thread", 1, 10, retain=True)) == ""


@pytest.fixture
def sentences_of_sharing(make_pool):
    """Return the sentences on pools given as (kind, workers, base, trough, end)."""

    def explain(*pools, **changes):
        made = [
            make_pool(kind, workers, phases={"base": base, "trough": trough, "end": end}, **changes)
            for kind, workers, base, trough, end in pools
        ]
        found = explain_sharing(made)
        return "" if found is None else " ".join(found.sentences)

    return explain


BASE_of_explain_sharing = (13, 10, 10, 20, 0)
BACK = (14, 11, 11, 21, 0)
ONE = ("fork", 1, BASE_of_explain_sharing, (9, 6, 2, 20, 1), BACK)
TWO = ("fork", 2, BASE_of_explain_sharing, (8, 5, 2, 20, 2), BACK)


def test_forked_workers_that_share_mains_pages_have_numbers(sentences_of_sharing):
    text = sentences_of_sharing(ONE, TWO)
    for words in (
        "**Forked workers**: main's PSS fell in all 2 treatments while workers lived, most in",
        "most in `p2-fork`: from 13.0 to 8.00 MiB beside 2 workers.",
        "did not fall (20.0 to 20.0 MiB)",
        "Of the 5.00 MiB, 5.00 are anonymous memory",
        "its USS, the pages that it shares with nobody, went from 10.0 to 2.00 MiB",
        "the smaller main's part of them: 9.00 MiB with 1, 8.00 MiB with 2.",
        "it came back: `p1-fork` 14.0, `p2-fork` 14.0 MiB.",
    ):
        assert words in text


def test_a_fall_that_is_not_there_is_not_explained(sentences_of_sharing):
    text = sentences_of_sharing(("fork", 1, BASE_of_explain_sharing, (12.5, 10, 10, 20, 1), BACK))
    assert "there is no fall to explain" in text
    assert "shares" not in text


def test_main_that_returned_memory_is_not_explained_by_sharing_alone(sentences_of_sharing):
    text = sentences_of_sharing(("fork", 1, BASE_of_explain_sharing, (9, 6, 2, 15, 1), BACK))
    assert "In `p1-fork` its RSS fell, too: there main returned memory" in text
    assert "returned nothing" not in text


def test_more_workers_that_do_not_deepen_the_fall_are_reported(sentences_of_sharing):
    text = sentences_of_sharing(ONE, ("fork", 2, BASE_of_explain_sharing, (10, 6, 2, 20, 2), BACK))
    assert "More workers did not make it fall further" in text


def test_pools_of_one_size_are_not_compared(sentences_of_sharing):
    text = sentences_of_sharing(ONE)
    assert "more workers" not in text
    assert "most in" not in text


def test_pss_that_does_not_come_back_is_reported(sentences_of_sharing):
    text = sentences_of_sharing(
        ("fork", 1, BASE_of_explain_sharing, (9, 6, 2, 20, 1), (9, 6, 2, 20, 0))
    )
    assert "it did not come back in `p1-fork`" in text


def test_workers_that_live_to_the_end_show_no_return(sentences_of_sharing):
    text = sentences_of_sharing(
        ("fork", 1, BASE_of_explain_sharing, (9, 6, 2, 20, 1), (109, 106, 102, 120, 1))
    )
    assert "whether it comes back is unknown" in text


def test_spawned_workers_share_files_and_no_anonymous_memory(sentences_of_sharing):
    text = sentences_of_sharing(
        ONE, ("spawn", 1, BASE_of_explain_sharing, (11, 10.5, 10.5, 20, 1), BACK)
    )
    spawned = text.partition("**Spawned workers**")[2]
    assert "the fall is mainly in file pages" in spawned
    assert "which main had written before" not in spawned


def test_threads_share_with_nobody(sentences_of_sharing):
    text = sentences_of_sharing(
        ONE, ("thread", 1, BASE_of_explain_sharing, BASE_of_explain_sharing, BACK)
    )
    assert "in `t1-thread` its PSS never fell 5 % below its base" in text


def test_threads_whose_main_falls_are_not_explained_by_sharing(sentences_of_sharing):
    text = sentences_of_sharing(ONE, ("thread", 1, BASE_of_explain_sharing, (9, 6, 6, 16, 0), BACK))
    assert "sharing does not explain that" in text


def test_workers_that_no_sweep_read_leave_the_question_open(sentences_of_sharing):
    text = sentences_of_sharing(
        ONE, ("spawn", 1, BASE_of_explain_sharing, BASE_of_explain_sharing, BACK)
    )
    assert "**Spawned workers**: no sweep read one" in text


def test_threads_alone_need_no_explanation(sentences_of_sharing):
    assert (
        sentences_of_sharing(("thread", 1, BASE_of_explain_sharing, BASE_of_explain_sharing, BACK))
        == ""
    )


def test_the_table_has_every_treatment(make_pool):
    pools = [
        make_pool("fork", n, phases={"base": BASE_of_explain_sharing, "trough": ONE[3]})
        for n in (1, 2)
    ]
    table = explain_sharing(pools).table.splitlines()
    assert len(table) == 4
    assert "13.0 → 9.00 → –" in table[2]


BASE_of_explain_transit = (13, 10, 10, 20, 0)


@pytest.fixture
def sized(make_pool):
    """Return a pool whose main grows by `rise` results: PSS and RSS of a sweep, high water."""

    def make(kind="fork", workers=1, rise=(3, 3, 3), **changes):
        pss, rss, mark = rise
        peak = (13 + 10 * pss, 10, 10, 20 + 10 * rss, workers)
        roles = {} if mark is None else {"main": {"high_water_bytes": 20 + 10 * mark}}
        phases = {"base": BASE_of_explain_transit, "peak": peak}
        return make_pool(kind, workers, phases=phases, roles=roles, **changes)

    return make


def sentences_of_transit(*pools, python=(3, 11)):
    found = explain_transit(list(pools), python)
    return "" if found is None else " ".join(found.sentences)


@pytest.mark.parametrize(
    ("python", "copies"), [((3, 11), 3), ((3, 13), 3), ((3, 14), 2), (None, None)]
)
def test_the_number_of_copies_follows_the_pickle_protocol(python, copies):
    assert copies_in_main(python) == copies


def test_a_rise_by_the_copies_alone_leaves_nothing_to_explain(sized):
    text = sentences_of_transit(sized(rise=(2, 2, 3)))
    assert "rises by 3.0 results where they are dropped." in text
    assert "CPython holds 3 blocks of its size" in text
    assert "The growth is large enough for that in `p1-fork`. Nothing is left to explain." in text
    assert "hypothesis" not in text


def test_what_the_copies_do_not_explain_is_called_a_hypothesis(sized):
    text = sentences_of_transit(sized(rise=(3, 3, 3.8)), sized(workers=2, rise=(3, 3, 4.2)))
    assert "another 0.8 to 1.2 results are not explained by copies" in text
    assert "A hypothesis is that the allocator takes them" in text
    assert "this experiment does not test it" in text


def test_what_the_pool_itself_takes_is_no_rest(sized, make_pool):
    idle = make_pool(phases={"trough": (9, 6, 2, 28, 1)})
    pool = sized(rise=(3, 3, 3.8))
    text = sentences_of_transit(replace(pool, phases={**pool.phases, **idle.phases}))
    assert "Nothing is left to explain." in text


def test_of_retained_results_those_held_are_not_counted(sized):
    text = sentences_of_transit(sized(rise=(12, 12, 12), retain=True))
    assert "by 2.0 results where they are retained, not counting these" in text
    assert "Nothing is left to explain." in text


def test_a_rise_without_room_for_the_copies_refutes_them(sized):
    text = sentences_of_transit(sized(rise=(1, 1, 1.5)), sized(workers=2))
    assert "In `p1-fork` main grew by less, so this is not the cause there." in text
    assert "large enough" not in text


def test_two_copies_are_enough_where_bytearrays_are_pickled_directly(sized):
    assert "holds 2 blocks" in sentences_of_transit(sized(rise=(2, 2, 2)), python=(3, 14))


def test_an_unknown_interpreter_makes_an_unknown_number_of_copies(sized):
    text = sentences_of_transit(sized(), python=None)
    assert "is not known" in text
    assert "blocks" not in text


def test_peaks_that_fall_though_the_high_water_does_not_are_unseen(sized):
    text = sentences_of_transit(sized(rise=(3, 3.5, 4)), sized(workers=5, rise=(1.5, 2.25, 4)))
    assert "(`p1-fork` → `p5-fork`; largest drop 3.0 → 1.5)" in text
    assert "does not fall (4.0 → 4.0): main takes as much." in text
    assert "0.8 were shared and counted with its workers, and 1.8 came between two" in text


def test_a_high_water_that_falls_too_means_that_main_took_less(sized):
    text = sentences_of_transit(sized(rise=(3, 3.5, 4)), sized(workers=5, rise=(1.5, 2, 3)))
    assert "Its high-water mark falls, too (4.0 → 3.0): main did take less memory." in text


def test_peaks_that_do_not_fall_are_reported(sized):
    assert "Main does not peak lower with more workers" in sentences_of_transit(
        sized(), sized(workers=5)
    )


def test_one_number_of_workers_is_compared_with_none(sized):
    text = sentences_of_transit(sized())
    assert "ore workers" not in text


def test_without_a_high_water_mark_nothing_is_concluded(sized):
    text = sentences_of_transit(sized(rise=(3, 3, None)), sized(workers=5, rise=(1, 1, None)))
    assert "main's high-water mark is unknown" in text
    assert "Whether main took less memory is unknown" in text
    assert "blocks" not in text


def test_threads_hold_a_result_each_or_the_text_denies_it(sized):
    threads = [sized("thread", n, rise=(n, n, n)) for n in (1, 2)]
    text = sentences_of_transit(sized(), *threads)
    assert "one result per worker, 1.0 (`t1-thread`), 2.0 (`t2-thread`)" in text
    text = sentences_of_transit(sized(), sized("thread", 5, rise=(1, 1, 1)))
    assert "1.0 (`t5-thread`), which is not one result per worker" in text


def test_results_of_unknown_size_are_not_explained(sized):
    assert sentences_of_transit(sized(result=float("nan"))) == ""


def test_threads_alone_send_no_result(sized):
    assert sentences_of_transit(sized("thread")) == ""
