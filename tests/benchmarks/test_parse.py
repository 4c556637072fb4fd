"""The table of dry runs."""

from benchmarks.parse import Cost, find_median, format_costs


def test_times_are_medians_and_ratios_to_the_first_study():
    small = [Cost(1.0, 3.0), Cost(9.0, 1.0), Cost(2.0, 2.0)]
    large = [Cost(3.0, 5.0)]

    assert find_median(small) == Cost(2.0, 2.0)
    assert format_costs({"s.yaml": small, "l.yaml": large}).splitlines()[2:] == [
        "| s.yaml | 2.00 | 1.00 | 2.00 | 1.00 |",
        "| l.yaml | 3.00 | 1.50 | 5.00 | 2.50 |",
    ]
