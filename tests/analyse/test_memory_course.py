"""What follows from both lines of a run's memory, on readings whose results follow by hand."""

from dataclasses import replace

import pytest
from tests.known_runs import MIB

from stagebench.analyse.memory import summarise_memory
from stagebench.analyse.memory_course import MOST_ROWS, bound_time, list_course
from stagebench.analyse.study import summarise_run

GROUPED = {"reads": 5, "group_drift_bytes": 0}


@pytest.fixture
def trace_of(run_trace, known_run, make_sweep):
    """Return the trace of a run with some readings; its workflow runs from 10 s to 16 s."""

    def make(*reads, sampled=GROUPED, sweeps=None, **more):
        sweeps = (make_sweep(0, 0.1, 20),) if sweeps is None else sweeps
        return run_trace(known_run(reads=tuple(reads), sampled=sampled, sweeps=sweeps, **more))

    return make


@pytest.fixture
def spiked(make_read):
    """Readings of 20 MiB; a spike to between 70 and 80 MiB before 12.1 s."""
    steady = dict.fromkeys(range(95, 170), (20, 22))
    steady[121] = (70, 80)
    return [make_read(at / 10, low, peak=high, mapped=40) for at, (low, high) in steady.items()]


def test_a_row_is_a_reading_with_its_span_and_both_lines(trace_of, make_read):
    trace = trace_of(make_read(11, 20, shmem=3, peak=30), make_read(11.25, 25, peak=25))
    assert list_course(trace) == [
        trace.key
        | {
            "reading": number,
            "began_s": began_s,
            "time_s": time_s,
            "tree_lower_bytes": lower * MIB,
            "tree_reached_bytes": lower * MIB,
            "tree_upper_bytes": upper * MIB,
        }
        for number, (began_s, time_s, lower, upper) in enumerate(
            [(-10, 1, 23, 30), (1, 1.25, 25, 25)]
        )
    ]


def test_without_a_group_the_upper_line_is_missing(trace_of, make_read):
    trace = trace_of(make_read(11, 20, is_charged=False), sampled={"reads": 1})
    (row,) = list_course(trace)
    assert (row["tree_lower_bytes"], row["tree_upper_bytes"]) == (20 * MIB, None)


def test_without_readings_or_the_workflows_start_there_are_no_rows(trace_of, make_read):
    assert list_course(trace_of()) == []
    late = trace_of(make_read(11, 20), events={}, tasks=(), status="crashed")
    assert list_course(late) == []


def test_readings_of_a_long_run_are_joined_and_lose_no_extreme(trace_of, make_read):
    number = 2 * MOST_ROWS + 1
    reads = [make_read(9 + n / 1000, 10 + n % 7, peak=20 + n % 5) for n in range(number)]
    rows = list_course(trace_of(*reads))
    assert len(rows) == -(-number // 3)
    assert [row["began_s"] for row in rows[1:]] == [row["time_s"] for row in rows[:-1]]
    assert max(row["tree_reached_bytes"] for row in rows) == 16 * MIB
    assert max(row["tree_upper_bytes"] for row in rows) == 24 * MIB
    first = rows[0]
    assert (first["tree_lower_bytes"], first["tree_reached_bytes"]) == (12 * MIB, 12 * MIB)


def test_the_peak_lies_where_the_upper_line_reaches_the_lower_end(trace_of, spiked):
    row = bound_time(trace_of(*(replace(read, mapped_bytes=0) for read in spiked)))
    assert row["tree_time_to_peak_s"] == pytest.approx(2.0)
    assert row["tree_time_to_peak_upper_s"] == pytest.approx(2.1)
    assert row["tree_anon_peak_bytes"] == 70 * MIB
    assert row["tree_anon_peak_upper_bytes"] == 80 * MIB


def test_a_rise_is_at_least_from_the_upper_line_and_at_most_from_the_lower_one(trace_of, spiked):
    row = bound_time(trace_of(*(replace(read, mapped_bytes=0) for read in spiked)))
    assert row["tree_largest_rise_bytes"] == (70 - 22) * MIB
    assert row["tree_largest_rise_upper_bytes"] == (80 - 20) * MIB


def test_what_readings_bound_replaces_what_sweeps_show(trace_of, spiked, make_sweep):
    sweeps = (make_sweep(0, 0.1, 5), make_sweep(1, 17, 20), make_sweep(2, 17.05, 28))
    row = summarise_run(trace_of(*spiked, sweeps=sweeps))
    assert row["tree_largest_rise_bytes"] == (70 - 22 - 40) * MIB  # files may have come and gone
    assert row["tree_largest_rise_upper_bytes"] == (80 - 20 + 40) * MIB


def test_a_peak_is_known_from_readings_though_no_sweep_saw_the_workflow(trace_of, spiked):
    row = summarise_run(trace_of(*spiked))
    assert (row["tree_peak_bytes"], row["tree_peak_upper_bytes"]) == (70 * MIB, 120 * MIB)
    assert "tree_trough_bytes" not in row
    assert row["tree_growth_bytes"] is None


def test_a_rise_over_more_than_a_tenth_of_a_second_counts_as_far_as_it_is_within(
    trace_of, make_read
):
    # 10 MiB in each of four steps of 40 ms; within 0.1 s there are at least two, perhaps four:
    # nothing is known of when they came between two readings.
    reads = [make_read(11 + n * 0.04, min(10 * n, 40), peak=min(10 * n, 40)) for n in range(8)]
    row = bound_time(trace_of(*reads))
    assert row["tree_largest_rise_bytes"] == 20 * MIB
    assert row["tree_largest_rise_upper_bytes"] == 30 * MIB


def test_a_rise_in_a_long_span_may_have_taken_a_moment(trace_of, make_read):
    row = bound_time(trace_of(make_read(11, 10, peak=10), make_read(12, 60, peak=60)))
    assert row["tree_largest_rise_bytes"] == 0
    assert row["tree_largest_rise_upper_bytes"] == 50 * MIB


def test_memory_over_time_is_joined_below_and_holds_in_whole_spans_above(trace_of, make_read):
    sizes = {9: 10, 10: 10, 12: 20, 16: 20, 17: 90}
    row = bound_time(trace_of(*(make_read(at, size, peak=size) for at, size in sizes.items())))
    assert row["tree_memory_time_byte_s"] == pytest.approx((2 * 15 + 4 * 20) * MIB)
    assert row["tree_memory_time_upper_byte_s"] == pytest.approx((2 * 20 + 4 * 20) * MIB)


def test_what_is_unknown_outside_of_the_workflow_leaves_its_memory_over_time_known(
    trace_of, make_read
):
    # The peak of the first reading is of a time that began within its span.
    late = replace(make_read(10, 10, peak=10), peak_since_ns=9_000_000_000)
    early = make_read(8, 10, peak=10)
    reads = (early, late, make_read(13, 10, peak=10), make_read(16, 10, peak=10))
    row = bound_time(trace_of(*reads))
    assert row["tree_memory_time_upper_byte_s"] == pytest.approx(60 * MIB)


def test_without_a_group_no_upper_end_is_known(trace_of, make_read):
    reads = [make_read(10 + n, 20, is_charged=False) for n in range(7)]
    row = bound_time(trace_of(*reads, sampled={"reads": 7}))
    assert row["tree_anon_peak_bytes"] == 20 * MIB
    assert row["tree_anon_peak_upper_bytes"] is None
    assert row["tree_memory_time_byte_s"] == pytest.approx(120 * MIB)
    assert row["tree_memory_time_upper_byte_s"] is None
    assert "tree_time_to_peak_s" not in row
    assert "tree_largest_rise_bytes" not in row


def test_without_readings_nothing_follows(trace_of):
    assert bound_time(trace_of()) == {}


def test_a_runs_peak_is_what_readings_prove_and_the_charge_bounds(trace_of, spiked, make_sweep):
    sweeps = (make_sweep(0, 9.65, 12), make_sweep(1, 11.55, 16, [8]))
    trace = trace_of(*spiked, sweeps=sweeps)
    row = summarise_memory(trace)
    # Three quarters of what sweeps read are files, which have not moved since.
    assert (row["tree_peak_bytes"], row["tree_peak_upper_bytes"]) == (88 * MIB, 98 * MIB)
    assert (row["tree_growth_bytes"], row["tree_growth_upper_bytes"]) == (76 * MIB, 86 * MIB)
    assert (row["at_peak_main_bytes"], row["at_peak_children_bytes"]) == (16 * MIB, 8 * MIB)


def test_an_anonymous_peak_is_the_most_that_readings_or_walks_prove(
    trace_of, make_read, make_sweep
):
    sweeps = (make_sweep(0, 9.5, 20), make_sweep(1, 11, 120))  # a quarter of it is anonymous
    reads = [make_read(10 + n, 10, is_charged=False) for n in range(7)]
    row = summarise_memory(trace_of(*reads, sweeps=sweeps, sampled={"reads": 7}))
    assert row["tree_anon_peak_bytes"] == 30 * MIB


def test_the_rise_of_a_run_without_an_upper_line_is_that_of_its_sweeps(
    trace_of, make_read, make_sweep
):
    sweeps = (make_sweep(0, 11, 20), make_sweep(1, 11.05, 28))
    reads = [make_read(10 + n, 10, is_charged=False) for n in range(7)]
    run = summarise_run(trace_of(*reads, sweeps=sweeps, sampled={"reads": 7}))
    assert run["tree_largest_rise_bytes"] == 8 * MIB
    assert "tree_largest_rise_upper_bytes" not in run
