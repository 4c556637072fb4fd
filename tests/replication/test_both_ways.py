"""The section on runs sampled both ways, and the data behind it."""

import math
from dataclasses import replace

import pytest
from tests.commands import draw_figures, read_report, render_report

from stagebench.replication.both_ways import (
    compare,
    count_children,
    describe_both_ways,
    emulated_treatments,
    emulation_finding,
    find_both_ways,
    there_were,
)
from stagebench.units import MIB


@pytest.fixture
def sentences(present, emulated_run):
    def make(*found, **more):
        return describe_both_ways(present(emulated_run(*found, **more))).runs["p1-fork"]

    return make


def test_an_experiment_without_the_emulation_has_no_section(present, known_run):
    experiment = present(known_run())
    assert describe_both_ways(experiment) is None
    assert emulation_finding(experiment) == ""


def test_a_false_peak_is_reported_with_its_time_its_parts_and_the_truth(sentences):
    assert sentences() == [
        "2 discoveries (at -0.25, 3.25 s) saw 2 children; there were 2.",
        (
            "The sums of the children's PSS that it kept between discoveries: 20.0 MiB; our sweeps"
            " read 4.00 to 20.0 MiB."
        ),
        (
            "Peak: 50.0 MiB the published way, at 5.00 s (30.0 MiB of main + 20.0 MiB of children,"
            " read 1.75 s earlier); it reached 36.0 MiB by our readings, not before 3.25 s: no"
            " reading proves so much."
        ),
        (
            "**False peak: 50.0 MiB** at 5.00 s (30.0 MiB of main + 20.0 MiB of children, read"
            " 1.75 s earlier). By then 1 of these had ended, and the tree held 34.0 MiB."
            " It is the peak that the published way reports, and no reading proves so much."
        ),
    ]


def test_a_false_peak_below_the_highest_is_reported_as_such(sentences, make_reading):
    found = make_reading(13.5, 70, 20, 2, 13.25), make_reading(16.75, 10, 20, 2, 13.25)
    (*_, last) = sentences(*found)
    assert last.startswith("**False peak: 30.0 MiB** at 6.75 s")
    assert last.endswith("By then 2 of these had ended, and the tree held 26.0 MiB. It is not the"
                         " largest total that it recorded.")  # fmt: skip


def test_a_false_peak_that_is_not_the_highest_may_still_be_above_every_sweep(
    sentences, make_reading
):
    found = make_reading(13.5, 70, 20, 2, 13.25), make_reading(16.75, 26, 20, 2, 13.25)
    assert sentences(*found)[-1].endswith("the tree held 26.0 MiB. No reading proves so much.")


@pytest.fixture
def bounded(present, emulated_run):
    """Return the sentences of a run whose tree held at most `upper` MiB."""

    def make(upper, *found):
        experiment = present(emulated_run(*found))
        runs = experiment.tables["runs"].assign(tree_peak_upper_bytes=upper * MIB)
        changed = replace(experiment, tables={**experiment.tables, "runs": runs})
        return describe_both_ways(changed).runs["p1-fork"]

    return make


def test_what_is_above_the_upper_bound_was_never_held(bounded, make_reading):
    *_, peak, false = bounded(49)
    assert peak.endswith(
        "it reached 36.0 MiB by our readings, not before 3.25 s (at most 49.0 MiB): the tree"
        " never held"
        " so much."
    )
    assert false.endswith("reports, and the tree never held so much in this run.")
    found = make_reading(13.5, 70, 20, 2, 13.25), make_reading(16.75, 26, 20, 2, 13.25)
    assert bounded(45, *found)[-1].endswith(" The tree never held so much in this run.")


def test_what_is_below_the_upper_bound_may_have_been_held(bounded):
    *_, peak, false = bounded(51)
    assert peak.endswith("(at most 51.0 MiB): no reading proves so much.")
    assert false.endswith("reports, and no reading proves so much.")


def test_children_that_were_never_seen_are_reported_with_what_was_missed(sentences, make_reading):
    found = [make_reading(9.75 + n / 2, 20, discovered=9.75) for n in range(3)]
    assert sentences(*found, created=6) == [
        "**1 discovery (at -0.25 s) saw no child; there were 5.**",
        (
            "Peak: 20.0 MiB the published way, at -0.25 s (20.0 MiB of main, no children);"
            " it reached 36.0 MiB by our readings, not before 3.25 s: at least 16.0 MiB missed."
        ),
        "No false peak: no record includes children that had ended (it counted none).",
    ]


def test_a_run_without_an_artefact_is_reported_to_have_none(present, emulated_run, make_reading):
    experiment = present(emulated_run(make_reading(13.5, 16, 20, 2, 13.25)))
    found = describe_both_ways(experiment).runs["p1-fork"]
    assert found[0].endswith("saw 2 children; there were 2.")
    assert found[2].endswith(
        "it reached 36.0 MiB by our readings, not before 3.25 s: the same as that reading within"
        " 5 %."
    )
    assert found[3] == (
        "No false peak: no record includes children that had ended (all that it counted were still"
        " alive)."
    )
    assert emulation_finding(experiment) == (
        "The published way of sampling, run alongside, missed no child, added none that had ended,"
        " and its peak is not below ours."
    )


def test_some_of_many_children_are_counted(sentences, make_reading):
    first = sentences(make_reading(13.5, 16, 6, 1, 13.25), created=9)[0]
    assert first == (
        "1 discovery (at 3.25 s) saw at most 1 child at once; there were 8 in all, at most 2 in a"
        " sweep."
    )


def test_a_run_of_threads_has_no_children_to_miss(sentences, make_reading, make_sweep):
    sweeps = make_sweep(0, 9.5, 20), make_sweep(1, 11, 25)
    found = sentences(make_reading(11, 25), created=1, sweeps=sweeps)
    assert found[0] == "1 discovery (at 0.00 s); there were no children."
    assert found[1].endswith(
        "it reached 25.0 MiB by our readings, not before 1.00 s: the same as that reading within"
        " 5 %."
    )


def test_many_discoveries_are_counted_and_not_listed(sentences, make_reading):
    found = [make_reading(11 + n / 4, 16, 4 + n, 1, 11 + n / 4) for n in range(12)]
    texts = sentences(*found)
    assert texts[0].startswith("12 discoveries saw at most 1 child at once")
    assert "between discoveries: 4.00 to 15.0 MiB;" in texts[1]


def test_a_run_that_no_sweep_saw_is_reported(sentences):
    found = sentences(sweeps=())
    assert found[1].endswith("that it kept between discoveries: 20.0 MiB.")
    assert found[2].endswith("; we have no reading of the tree.")


def test_a_treatment_without_an_ok_run_says_so(sentences):
    assert sentences(status="timed_out") == ["no ok run (timed_out × 1)."]


def test_the_table_has_both_ways_over_the_runs(present, emulated_run, make_reading):
    runs = (
        emulated_run(),
        emulated_run(make_reading(15, 30), replicate=2, start=20),
        emulated_run(make_reading(15, 24), replicate=3, start=40),
    )
    section = describe_both_ways(present(*runs))
    assert section.pauses == "main every 0.5 s, its children discovered every 5 s"
    cells = [cell.strip() for cell in section.table.splitlines()[2].split("|")[1:-1]]
    spread = ["30 (24 to 50)", "50", "0 (0 to 2)", "1 (1 to 2)", "36", "2"]
    assert cells == ["p1-fork", "3", *spread]


def test_the_finding_names_every_artefact(present, emulated_run, make_reading):
    unseen = emulated_run(make_reading(9.75, 20), treatment="p5-fork", created=6, baseline=False)
    assert emulation_finding(present(emulated_run(), unseen)) == (
        "The published way of sampling, run alongside, recorded in the runs of median makespan:"
        " p1-fork: 50.0 MiB when the tree"
        " held 34.0 MiB; p5-fork: 0 of 5 children, a peak of 20.0 MiB where the tree reached"
        " 36.0 MiB."
    )


def test_the_report_has_the_section_with_its_figure(analyse, emulated_run, known_run):
    folder = analyse(emulated_run(), known_run(experiment="other", start=20))
    for name in ("pipe", "other"):
        draw_figures(folder / "tables", name, folder / "figures" / name)
    assert (folder / "figures/pipe/both-ways.png").stat().st_size > 0
    assert not (folder / "figures/other/both-ways.png").exists()
    render_report(folder / "tables", folder / "plan.json", folder / "figures", folder)
    pages = read_report(folder)
    shown = [path for path, text in pages.items() if "## The same runs sampled both ways" in text]
    assert shown == ["report/pipe.md"]
    text = pages["report/pipe.md"]
    assert "](../figures/pipe/both-ways.png)" in text
    assert "The published way of sampling, run alongside, recorded in the runs of median" in text
    assert "  - **False peak: 50.0 MiB** at 5.00 s" in text
    assert "main every 0.5 s, its children discovered every 5 s" in text


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(100, 100, 0), (100, 95, 0), (100, 94, 1), (94, 100, -1), (0, 0, 0), (math.nan, 1, 0)],
)
def test_peaks_within_five_percent_are_the_same(one, other, expected):
    assert compare(one, other) == expected


def test_numbers_are_written_in_words():
    assert [count_children(n) for n in (0, 1, 5)] == ["no child", "1 child", "5 children"]
    expected = ["there were none", "there was 1", "there were 5"]
    assert [there_were(n) for n in (0, 1, 5)] == expected


def test_only_treatments_that_were_emulated_are_listed(present, known_run, emulated_run):
    experiment = present(known_run(), emulated_run(treatment="p5-fork", baseline=False))
    assert emulated_treatments(experiment) == ["p5-fork"]
    assert find_both_ways(experiment, "p1-fork") is None


def test_a_treatment_without_an_ok_run_is_listed_and_has_nothing_to_show(present, emulated_run):
    experiment = present(emulated_run(status="timed_out"))
    assert emulated_treatments(experiment) == ["p1-fork"]
    assert find_both_ways(experiment, "p1-fork") is None


def test_the_run_shown_is_the_one_of_median_makespan(present, emulated_run):
    runs = [emulated_run(replicate=n + 1, start=20 * n).stretched(2**n) for n in range(3)]
    both = find_both_ways(present(*runs), "p1-fork")
    assert both.run["replicate"] == 2
    assert set(both.emulated["replicate"]) == set(both.sweeps["replicate"]) == {2}


def test_a_run_knows_what_both_ways_saw(present, emulated_run):
    both = find_both_ways(present(emulated_run()), "p1-fork")
    assert (both.treatment, both.seen, both.children) == ("p1-fork", 2, 2)
    assert both.discoveries_s == [-0.25, 3.25]
    assert both.sums_mib == [20]
    assert list(both.children_mib) == [8, 20, 4]
    assert both.mib("emulated_false_peak") == 50
    assert both.has_false_peak
    assert both.false_peak_is_the_peak
    assert not both.missed_children


def test_children_are_missed_where_a_sweep_saw_more_at_once(present, emulated_run, make_reading):
    def missed(*found, **more):
        return find_both_ways(present(emulated_run(*found, **more)), "p1-fork").missed_children

    assert missed(make_reading(13.5, 16))
    assert missed(make_reading(13.5, 16, 5, 1))
    # Ten that came one after the other: no discovery can meet more than there are at once.
    assert not missed(make_reading(13.5, 16, 9, 2), created=11)
    assert not missed(make_reading(13.5, 16), created=1)
