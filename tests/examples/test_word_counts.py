"""The counts that the example makes, compared with the words that its texts are made of."""

import csv
from collections import Counter

import pytest
from examples.word_counts import text_steps
from tests.examples.conftest import fits_a_terminal, run_script

DAYS = 3
WORDS = 2000


@pytest.fixture(scope="module")
def made(tmp_path_factory, pool):
    """Return the folder of a run with few and short texts, and its output."""
    folder = tmp_path_factory.mktemp("word_counts")
    options = ("--days", str(DAYS), "--words", str(WORDS), "--folder", str(folder))
    return folder, run_script("word_counts/count_words.py", *pool, *options)


def drawn_words():
    """Yield every word that the texts are made of."""
    for day in range(DAYS):
        for office in text_steps.FORMATS:
            yield from text_steps.draw_words(day, office, WORDS)


def test_the_counts_are_those_of_the_words_that_the_texts_are_made_of(made):
    folder, _ = made
    with (folder / "counts.csv").open(newline="") as file:
        counts = {row["word"]: int(row["count"]) for row in csv.DictReader(file)}
    assert counts == Counter(drawn_words())


def test_the_summary_is_short_and_has_every_stage(made):
    folder, printed = made
    assert fits_a_terminal(printed.replace(str(folder), ""))
    assert {tuple(line.split()[:2]) for line in printed.splitlines()[3:8]} == {
        (stage, str(DAYS))
        for stage in (
            *("decompress_north", "decompress_south"),
            *("tokenise_north", "tokenise_south"),
            "merge",
        )
    }
    assert f"{DAYS * 2 * WORDS} words" in printed


@pytest.mark.parametrize("office", text_steps.FORMATS)
def test_a_packed_text_comes_back_as_it_was_written(tmp_path, office):
    text = text_steps.make_text(5, office, 100)
    for _ in range(2):
        unpacked = text_steps.decompress(day=5, office=office, folder=str(tmp_path), words=100)
        assert unpacked == text
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() != text.encode()


def test_words_are_counted_whatever_their_case_and_what_stands_beside_them():
    assert text_steps.tokenise(upstream="One two, two.\nTHREE three-three") == Counter(
        one=1, two=2, three=3
    )


def test_merging_adds_the_counts_of_all_stages_before():
    upstream = {"north": Counter(a=1, b=2), "south": Counter(b=3)}
    assert text_steps.merge(upstream=upstream) == Counter(a=1, b=5)


def test_frequencies_fall_with_the_rank_of_a_word():
    counts = Counter(text_steps.draw_words(1, "north", 50_000)).most_common(3)
    assert counts[0][1] == pytest.approx(2 * counts[1][1], rel=0.1)
    assert counts[0][1] == pytest.approx(3 * counts[2][1], rel=0.1)
