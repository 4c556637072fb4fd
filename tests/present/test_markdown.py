from __future__ import annotations

import pandas as pd
import pytest

from stagebench.present.markdown import (
    LONGEST_TEXT,
    count_noun,
    escape,
    format_estimate,
    format_number,
    format_percent,
    format_quantity,
    format_spread,
    format_table,
    title_quantity,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (11.125, "11.1"),
        (0.5, "0.500"),
        (12345.6, "12346"),
        (0.0123, "0.0123"),
        (0.00125, "0.0013"),
        (0.00002, "<0.0001"),
        (-15.04, "-15.0"),
        (999.7, "1000"),
        (NAN, "–"),
        (pd.NA, "–"),
    ],
)
def test_a_number_has_three_digits_and_no_exponent(value, text):
    assert format_number(value) == text


def test_a_number_is_scaled_before_it_is_rounded():
    assert format_number(3 * 2**20, scale=2**-20) == "3.00"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.426, "43 %"), (0.0987, "9.9 %"), (0.0999, "10 %"), (0, "0 %"), (1, "100 %"), (NAN, "–")],
)
def test_a_share_is_shown_in_percent(share, text):
    assert format_percent(share) == text


def spread(median, low, high, n=3):
    return format_spread(pd.Series({"median": median, "min": low, "max": high, "n": n}))


def test_a_spread_has_the_places_of_its_median():
    assert spread(9.876, 9.5, 11.04) == "9.88 (9.50 to 11.04)"


def test_a_spread_of_counts_has_no_places():
    assert spread(2, 1, 5) == "2 (1 to 5)"


def test_a_median_without_spread_stands_alone():
    assert spread(5, 5, 5) == "5"
    assert spread(1.25, 1.25, 1.25, n=1) == "1.25"


def test_a_spread_of_nothing_is_a_dash():
    assert spread(NAN, NAN, NAN, n=0) == "–"


def test_a_table_aligns_texts_left_and_numbers_right_in_padded_columns():
    text = format_table(["name", "s"], [["a", "1.5"], ["long-name", "12.25"]], texts=1)
    assert text.splitlines() == [
        "| name      |     s |",
        "| --------- | ----: |",
        "| a         |   1.5 |",
        "| long-name | 12.25 |",
    ]


def test_a_cell_cannot_end_its_cell_its_line_or_open_a_tag():
    line = format_table(["x"], [["a|b\nc <script> & d"]], texts=1).splitlines()[2]
    assert line == "| a\\|b c &lt;script> &amp; d |"


def test_a_sign_that_opens_no_tag_stays_as_it_is():
    assert format_table(["x"], [["<0.0001"]], texts=0).splitlines()[2] == "| <0.0001 |"


@pytest.mark.parametrize(("count", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_a_noun_follows_its_number(count, text):
    assert count_noun(count, "run") == text


@pytest.mark.parametrize(
    ("values", "limits", "unit", "text"),
    [
        ((1.02,), (0.98, 1.06), "ratio", "1.02 [0.98, 1.06] ×"),
        ((0.2,), (0.15, 0.25), "share", "20 [15, 25] %"),
        (
            (10 * 2**20, 12 * 2**20),
            (9.5 * 2**20, 12.5 * 2**20),
            "bytes",
            "10.0 to 12.0 [9.5, 12.5] MiB",
        ),
        ((5,), (5, 5), "1", "5"),
        ((-0.001,), (-3, 3), "s", "0.00 [-3.00, 3.00] s"),
        ((2.5,), None, "1/s", "2.50 1/s"),
    ],
)
def test_an_estimate_is_told_with_its_interval_in_one_unit(values, limits, unit, text):
    assert format_estimate(values, limits, unit) == text


@pytest.mark.parametrize(
    ("quantity", "value", "title", "text"),
    [
        ("tree_peak_bytes", 36 * 2**20, "tree peak MiB", "36.0"),
        ("makespan_s", 12.6, "makespan s", "12.6"),
        ("throughput_per_s", 2.5, "throughput /s", "2.50"),
        ("tree_memory_time_byte_s", 2**21, "tree memory time MiB s", "2.00"),
        ("stage_efficiency", 0.43, "stage efficiency", "43 %"),
        ("makespan_ratio", 1.02, "makespan ratio", "1.02"),
        ("tree_peak_bytes", NAN, "tree peak MiB", "–"),
    ],
)
def test_a_value_of_a_quantity_reads_in_the_unit_of_its_title(quantity, value, title, text):
    assert title_quantity(quantity) == title
    assert format_quantity(value, quantity) == text


def test_of_a_very_long_text_the_beginning_is_shown():
    text = escape("*" * 50_000_000)
    assert text.startswith("\\*\\*")
    assert text.endswith("\\*…")
    assert len(text) == 2 * LONGEST_TEXT + 1
