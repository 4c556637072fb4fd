"""The bracket of a peak, on records whose truth is known by construction."""

from dataclasses import replace

import pytest

from stagebench.peak.bracket import (
    Bracket,
    Counted,
    SurvivingMemory,
    bound_surviving,
    bound_surviving_in_tree,
    find_brackets,
)
from stagebench.peak.history import MemoryTrace, build_counter_histories
from stagebench.peak.upper_bounds import Kernel, Span
from stagebench.records import MemorySample, ProcessRecord, SweepRecord, TransitionRecord

MIB = 1024 * 1024
MS = 1_000_000
MAIN, CHILD = 10, 11
SAMPLER = {
    "counts_faults": True,
    "counter_drift_bytes": 0,
    "page_bytes": 4096,
    "anonymous_fault_bytes": 4096,
    "huge_faults_before": 0,
    "huge_faults": 0,
}
PER_MIB = MIB // 4096


class Course:
    """The records of one run, added one by one; sizes in MiB, times in ms."""

    def __init__(self):
        self.sweeps, self.samples, self.processes, self.transitions = [], [], [], []
        self.process(MAIN, 0, 1000)

    def process(self, pid, start, end, birth=None, execs=0):
        self.processes.append(
            ProcessRecord(
                pid=pid,
                parent_pid=None if pid == MAIN else MAIN,
                role="main" if pid == MAIN else "worker",
                birth=birth,
                since_ns=start * MS,
                started_ns=start * MS,
                ended_ns=None if end is None else end * MS,
                exit_status=0,
                high_water_bytes=None,
                max_rss_bytes=None,
                execs=execs,
                samples=0,
                command="python",
            )
        )

    def moved(self, pid, kind, at, rss, *, mark=None, faults=0):
        self.transitions.append(
            TransitionRecord(
                pid=pid,
                kind=kind,
                time_ns=at * MS,
                rss_bytes=rss * MIB,
                rss_anon_bytes=rss * MIB,
                high_water_bytes=(rss if mark is None else mark) * MIB,
                faults=faults,
                rss_shmem_bytes=0,
            )
        )

    def sweep(self, at, *readings, kind="pss", torn=0, huge=0):
        number = len(self.sweeps)
        self.sweeps.append(
            SweepRecord(
                sweep=number,
                kind=kind,
                started_ns=at * MS - 1000,
                ended_ns=at * MS,
                processes=len(readings),
                vanished=0,
                torn=torn,
                huge_faults=None if kind == "held" else huge,
            )
        )
        self.samples += [make_sample(number, values, walked=kind == "pss") for values in readings]

    def brackets(self, since=None, until=None, **sampler):
        trace = MemoryTrace(
            self.sweeps, self.samples, self.processes, self.transitions, SAMPLER | sampler
        )
        moments = [None if moment is None else moment * MS for moment in (since, until)]
        found = find_brackets(trace, *moments)
        return {
            part: tuple(None if v is None else v / MIB for v in (b.lower_bytes, b.upper_bytes))
            for part, b in found.items()
        }


def make_sample(number, values, *, walked):
    pid, rss, pss, uss, mark, faults = values
    return MemorySample(
        sweep=number,
        pid=pid,
        rss_bytes=rss * MIB,
        rss_anon_bytes=rss * MIB,
        rss_after_bytes=rss * MIB,
        rss_anon_after_bytes=rss * MIB,
        high_water_bytes=mark * MIB,
        mark_reset=0,
        faults_before=faults,
        faults=faults,
        pss_bytes=pss * MIB if walked else None,
        anon_bytes=pss * MIB if walked else None,
        file_bytes=0 if walked else None,
        shmem_bytes=0 if walked else None,
        uss_bytes=uss * MIB if walked else None,
        swap_bytes=0 if walked else None,
    )


def alone(rss, mark, faults):
    return (MAIN, rss, rss, rss, mark, faults)


def test_a_spike_that_no_sweep_saw_is_bounded_by_the_mark():
    course = Course()
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, alone(20, 70, 18000))
    course.moved(MAIN, "exit", 999, 20, mark=20, faults=18000)
    assert course.brackets()["tree"] == (20, 70)


def test_a_spike_after_the_last_sweep_is_bounded_by_the_mark_at_exit():
    course = Course()
    course.sweep(10, alone(20, 20, 5000))
    course.moved(MAIN, "exit", 999, 20, mark=90, faults=30000)
    assert course.brackets()["main"] == (20, 90)


def test_a_mark_may_lag_by_the_drift_of_the_counters_but_not_by_more_than_was_mapped():
    course = Course()
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, alone(20, 70, 18000))
    course.sweep(30, alone(20, 20, 18000))
    course.moved(MAIN, "exit", 999, 20, mark=20, faults=18000)
    assert course.brackets(counter_drift_bytes=MIB)["tree"] == (20, 71)
    assert course.brackets(since=25, counter_drift_bytes=MIB)["tree"] == (20, 20)


def fork_and_write(written):
    """Let main hold 200 MiB and fork; the child writes to some of it between two sweeps."""
    course = Course()
    course.process(CHILD, 11, 900, birth="fork")
    course.sweep(10, alone(200, 200, 51200))
    course.moved(CHILD, "birth", 11, 200)
    course.sweep(12, (MAIN, 200, 100, 0, 200, 51200), (CHILD, 200, 100, 0, 200, 0))
    pss = (200 - written) / 2 + written
    faults = written * PER_MIB
    child = (CHILD, 200, pss, written, 200, faults)
    course.sweep(20, (MAIN, 200, pss, written, 200, 51200), child)
    course.moved(CHILD, "exit", 890, 200, faults=faults)
    course.moved(MAIN, "exit", 999, 200, faults=51200)
    return course


def test_a_fork_alone_adds_nothing_however_large_the_parent_is():
    assert fork_and_write(0).brackets()["tree"] == (200, 200)


def test_copying_on_write_adds_one_page_per_fault():
    assert fork_and_write(50).brackets()["tree"] == (250, 250)


def test_main_has_all_of_its_pages_again_when_the_child_has_ended():
    assert fork_and_write(50).brackets()["main"] == (200, 200)
    assert fork_and_write(50).brackets(since=13, until=19)["main"] == (None, 150)


def test_a_child_has_at_most_half_of_its_parents_memory_and_what_it_wrote():
    assert fork_and_write(0).brackets()["children"] == (100, 100)
    assert fork_and_write(50).brackets()["children"][0] == 125
    assert fork_and_write(50).brackets(since=13, until=19)["children"][1] == 150


def test_faults_that_made_the_rss_grow_copied_nothing():
    course = fork_and_write(0)
    course.sweep(
        30,
        (MAIN, 200, 100, 0, 200, 51200),
        (CHILD, 260, 160, 60, 260, 60 * PER_MIB),
    )
    course.transitions[-2:] = []
    course.moved(CHILD, "exit", 890, 260, faults=60 * PER_MIB)
    course.moved(MAIN, "exit", 999, 200, faults=51200)
    assert course.brackets()["tree"] == (260, 260)


def test_children_one_after_the_other_are_not_added_up():
    course = Course()
    course.sweep(10, alone(10, 10, 2500))
    for number in range(3):
        start = 11 + 2 * number
        course.process(CHILD + number, start, start + 1, birth="fork")
        course.moved(CHILD + number, "birth", start, 10)
        course.moved(CHILD + number, "exit", start + 1, 40, mark=40, faults=30 * PER_MIB)
    course.sweep(20, alone(10, 10, 2500))
    course.moved(MAIN, "exit", 999, 10, faults=2500)
    assert course.brackets()["tree"] == (10, 40)


def test_a_child_by_vfork_counts_from_its_exec_with_all_that_its_program_maps():
    course = Course()
    course.process(CHILD, 11, 15, birth="vfork", execs=1)
    course.sweep(10, alone(100, 100, 25000))
    course.moved(CHILD, "birth", 11, 100)
    course.moved(CHILD, "exec", 12, 1, faults=10)
    course.moved(CHILD, "exit", 15, 30, mark=30, faults=9000)
    course.sweep(20, alone(100, 100, 25000))
    course.moved(MAIN, "exit", 999, 100, faults=25000)
    lower, upper = course.brackets()["tree"]
    assert lower == 100
    assert upper == pytest.approx(130, abs=0.05)


def test_a_child_by_vfork_that_never_execs_counts_nothing():
    course = Course()
    course.process(CHILD, 11, 15, birth="vfork")
    course.sweep(10, alone(100, 100, 25000))
    course.moved(CHILD, "birth", 11, 100)
    course.moved(CHILD, "exit", 15, 100, faults=0)
    course.sweep(20, alone(100, 100, 25000))
    course.moved(MAIN, "exit", 999, 100, faults=25000)
    assert course.brackets()["tree"] == (100, 100)


def test_without_an_untorn_sweep_the_beginning_of_mains_program_is_the_base():
    course = Course()
    course.process(CHILD, 11, 900, birth="fork")
    course.moved(MAIN, "exec", 1, 1, faults=256)
    course.moved(CHILD, "birth", 11, 200)
    reads = (MAIN, 200, 100, 0, 200, 51200), (CHILD, 200, 100, 0, 200, 0)
    course.sweep(20, *reads, torn=1)
    course.moved(CHILD, "exit", 890, 200)
    course.moved(MAIN, "exit", 999, 200, faults=51200)
    # Both may share the same pages, so these count once.
    assert course.brackets()["tree"] == (200, 200)


def test_a_torn_sweep_bounds_from_below_what_was_not_freed_and_is_no_base():
    course = Course()
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, alone(60, 60, 15240), torn=1)
    course.moved(MAIN, "exit", 999, 60, mark=60, faults=15240)
    assert course.brackets()["tree"] == (60, 60)


def test_a_torn_sweep_proves_nothing_if_the_machine_handed_out_huge_pages_meanwhile():
    course = Course()
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, alone(60, 60, 15240), torn=1, huge=1)
    course.moved(MAIN, "exit", 999, 60, mark=60, faults=15240)
    assert course.brackets(huge_faults=1)["tree"][0] == 20


def test_any_fault_may_have_mapped_a_huge_page_while_the_machine_handed_some_out():
    course = fork_and_write(0)
    course.sweeps[1:] = []
    course.samples = [each for each in course.samples if each.sweep == 0]
    course.sweep(20, (MAIN, 200, 100, 0, 200, 51200), (CHILD, 200, 100, 0, 200, 0), huge=3)
    assert course.brackets(huge_faults=3)["tree"] == (200, 212)


def test_held_sweeps_add_no_new_bound():
    course = Course()
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, kind="held")
    course.sweep(30, kind="held")
    course.moved(MAIN, "exit", 999, 20, mark=20, faults=5000)
    assert course.brackets()["tree"] == (20, 20)
    assert course.brackets(since=15, until=25)["tree"] == (None, 20)


def test_without_a_reading_at_its_end_a_process_is_not_bounded():
    course = Course()
    course.process(CHILD, 11, 15)
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, alone(20, 20, 5000))
    course.moved(MAIN, "exit", 999, 20, mark=20, faults=5000)
    assert course.brackets()["tree"] == (20, None)
    assert course.brackets()["main"] == (20, 20)


def test_the_kernels_own_maximum_bounds_a_process_whose_exit_was_not_read():
    course = Course()
    course.process(CHILD, 11, 15)
    course.processes[-1] = ProcessRecord(
        **{name: getattr(course.processes[-1], name) for name in ProcessRecord.__dataclass_fields__}
        | {"max_rss_bytes": 33 * MIB}
    )
    course.sweep(10, alone(20, 20, 5000))
    course.sweep(20, alone(20, 20, 5000))
    course.moved(MAIN, "exit", 999, 20, mark=20, faults=5000)
    assert course.brackets()["tree"] == (20, 53)


def test_without_page_fault_counts_there_is_no_upper_bound():
    course = Course()
    course.sweep(10, alone(20, 20, 0))
    course.moved(MAIN, "exit", 999, 20, mark=20)
    assert course.brackets(counts_faults=False)["tree"] == (20, None)


def test_a_sweep_that_could_not_read_one_process_is_a_lower_bound_and_no_base():
    course = fork_and_write(50)
    course.samples = [
        replace(each, pss_bytes=None) if (each.sweep, each.pid) == (2, CHILD) else each
        for each in course.samples
    ]
    assert course.brackets()["tree"] == (200, 250)


def test_of_an_empty_trace_nothing_is_known():
    trace = MemoryTrace([], [], [], [], SAMPLER)
    assert find_brackets(trace)["tree"] == Bracket(None, None, None)


def test_the_work_of_a_span_grows_with_the_processes_of_its_moment_alone():
    course = Course()
    for number in range(100):
        course.process(20 + number, 10 * number, 10 * number + 9, birth="fork")
    histories = build_counter_histories(course.processes, [], [], [])
    counted = Counted(histories)
    numbers = []
    for begin in range(0, 1000, 5):
        span = Span(begin * MS, begin * MS, (begin + 5) * MS, 0, 0, is_held=False)
        present = counted.within(span)
        assert present == {
            place: each
            for place, each in enumerate(histories)
            if each.starts_ns <= span.ends_ns and each.counts_until_ns >= span.begins_ns
        }
        numbers.append(len(present))
    assert max(numbers) <= 3


KERNEL = Kernel(drift=MIB, page=4096, anonymous_fault=4096)


def sample(*, uss=60, file=10, after=80, faults=0):
    """Make a process with 80 MiB of anonymous memory, 20 of them shared, and 10 MiB of files."""
    return MemorySample(
        sweep=0,
        pid=1,
        rss_bytes=90 * MIB,
        rss_anon_bytes=80 * MIB,
        rss_after_bytes=(after + 10) * MIB,
        rss_anon_after_bytes=after * MIB,
        high_water_bytes=90 * MIB,
        mark_reset=0,
        faults_before=7,
        faults=7 + faults,
        pss_bytes=None if uss is None else 80 * MIB,
        anon_bytes=None if uss is None else 70 * MIB,
        file_bytes=None if uss is None else file * MIB,
        shmem_bytes=None if uss is None else 0,
        uss_bytes=None if uss is None else uss * MIB,
        swap_bytes=0,
    )


def surviving_mib(surviving):
    return tuple(size / MIB for size in surviving)


def test_all_but_files_survives_in_a_process_that_stands_still():
    assert surviving_mib(bound_surviving(sample(), KERNEL)) == (50, 80)


@pytest.mark.parametrize(
    ("after", "faults", "lost"),
    [
        pytest.param(70, 0, 10 + 1, id="decrease of the RSS, and the drift of the counters"),
        pytest.param(80, 5 * PER_MIB, 5 + 1, id="faults that may have replaced pages"),
        pytest.param(90, 10 * PER_MIB, 0 + 1, id="nothing, where every fault made it grow"),
        pytest.param(90, 12 * PER_MIB, 2 + 1, id="faults beyond the growth"),
        pytest.param(75, 3 * PER_MIB, 5 + 3 + 1, id="decrease of the RSS, and faults besides"),
    ],
)
def test_what_may_have_been_freed_is_subtracted(after, faults, lost):
    surviving = bound_surviving(sample(after=after, faults=faults), KERNEL)
    assert surviving_mib(surviving) == (50 - lost, 80 - lost)


def test_a_process_cannot_free_more_than_it_had():
    assert bound_surviving(sample(after=0, faults=10_000_000), KERNEL) == SurvivingMemory(0, 0)


def test_counters_alone_prove_no_surviving_memory():
    assert bound_surviving(sample(uss=None), KERNEL) == SurvivingMemory(0, 0)


def test_shared_memory_counts_for_one_process_only():
    tree = [SurvivingMemory(50, 80), SurvivingMemory(10, 35), SurvivingMemory(0, 20)]
    assert bound_surviving_in_tree(tree) == 50 + 10 + 0 + 30
    assert bound_surviving_in_tree([]) == 0
