from __future__ import annotations

import pytest

from stagebench.present.report_comparisons import (
    effects_finding,
    effects_table,
    gap_notes,
    others_table,
)


def replicates(known_run, *factors, **values):
    return [
        known_run(replicate=n + 1, start=20 * n, **values).stretched(factor)
        for n, factor in enumerate(factors)
    ]


def row_of(table, treatment):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {treatment} ")]
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_treatment_has_median_ratio_and_word_beside_the_baseline(pipe):
    table = effects_table(pipe)
    assert row_of(table, "p1-fork")[:5] == ["p1-fork", "12.6", "", "1", "baseline"]
    assert row_of(table, "p2-fork")[:5] == ["p2-fork", "6.00", "3", "0.477 [0.423–0.536]", "faster"]


def test_the_others_are_told_with_their_units_and_stages(pipe):
    table = others_table(pipe)
    assert "tree peak upper MiB" in table
    assert "| throughput /s" in table
    assert "| stage efficiency " in table
    assert "makespan" not in table


def test_a_treatment_that_never_succeeded_is_noted_once(pipe):
    notes = [note for note in gap_notes(pipe) if "p5-fork" in note]
    assert notes == ["`p5-fork` (everything): no ok run (timed_out × 1)"]


def test_a_reason_of_all_treatments_does_not_name_them_all(present, known_run):
    base = replicates(known_run, 1, 1)
    others = [
        run
        for name in ("t2", "t5")
        for run in replicates(known_run, 1, 2, treatment=name, baseline=False)
    ]
    notes = [note for note in gap_notes(present(*base, *others)) if "memory" not in note]
    assert all(note.startswith("every treatment (") for note in notes)


def test_words_of_makespans_are_counted(pipe):
    assert effects_finding(pipe) == (
        "Makespan against p1-fork, 2 treatments: 1 faster, 1 without enough blocks for an interval."
    )


def test_an_experiment_of_one_treatment_compares_nothing(alone):
    assert (effects_table(alone), effects_finding(alone)) == ("", "")


def test_a_baseline_that_failed_in_every_block_is_named(present, known_run):
    base = replicates(known_run, 1, 1, status="crashed")
    others = replicates(known_run, 1, 2, treatment="t2", baseline=False)
    found = present(*base, *others)
    assert effects_finding(found) == (
        "**The baseline p1-fork failed in every block (crashed × 2): nothing is compared.**"
    )
    assert gap_notes(found) == [
        "`t2` (everything): the baseline failed in every block (crashed × 2)"
    ]


@pytest.mark.parametrize(
    ("campaigns", "label"),
    [(("a", "a", "a"), "other campaign"), (("b", "b", "b"), "[")],
)
def test_what_is_not_paired_within_blocks_is_labelled(present, known_run, campaigns, label):
    base = replicates(known_run, 1, 1.1, 1.2, run={"campaign": "b"})
    others = [
        known_run(treatment="t2", baseline=False, replicate=n + 1, run={"campaign": campaign})
        for n, campaign in enumerate(campaigns)
    ]
    found = present(*base, *others)
    cell = row_of(effects_table(found), "t2")[3]
    assert ("not paired" in effects_finding(found)) == (label == "other campaign")
    assert label in cell
    assert ("campaign" in cell) == (label == "other campaign")
