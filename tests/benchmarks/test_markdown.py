"""The tables of benchmarks."""

from benchmarks.markdown import format_number, format_share, format_table


def test_a_share_is_in_percent_without_a_negative_nothing():
    assert format_share(-0.0001) == "0.0 %"
    assert format_share(-0.0123) == "-1.2 %"
    assert format_share(0.996, 0) == "100 %"


def test_what_is_not_known_is_a_dash():
    assert (format_share(None), format_number(None)) == ("–", "–")


def test_all_columns_but_the_first_are_aligned_to_the_right():
    assert format_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"
