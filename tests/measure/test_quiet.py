"""The wait for a quiet machine, on a clock and a /proc/stat of the test's own."""

import pytest

from stagebench.measure.quiet import (
    Quiet,
    Ticks,
    idle_share,
    is_quiet,
    parse_ticks,
    read_ticks,
    wait_until_quiet,
)

STEP_TICKS = 10
"""Of two cores in 0.05 s."""


class Machine:
    """Is busy in the steps that are named, and idle in the others; time passes in sleep alone."""

    def __init__(self, busy=()):
        self.busy, self.now, self.idle = set(busy), 0, 0

    def clock(self):
        return self.now * 0.05

    def sleep(self, _duration_s):
        self.now += 1
        self.idle += 0 if self.now in self.busy else STEP_TICKS

    def read(self):
        return Ticks(idle=self.idle, all=self.now * STEP_TICKS)


def wait(machine, at_most_s=2.0):
    found = wait_until_quiet(at_most_s, machine.read, machine.clock, machine.sleep)
    return Quiet(round(found.waited_s, 6), found.idle_share, found.quiet)


def test_a_quiet_machine_is_known_after_a_fifth_of_a_second():
    assert wait(Machine()) == (0.2, 1.0, True)


def test_the_wait_ends_a_fifth_of_a_second_after_the_last_busy_moment():
    assert wait(Machine(busy=range(1, 7))) == (0.5, 1.0, True)


def test_a_machine_that_does_not_become_quiet_is_waited_for_no_longer_than_allowed():
    waited_s, share, quiet = wait(Machine(busy=range(1, 100)))
    assert 1.95 <= waited_s <= 2.0
    assert (share, quiet) == (0.0, False)


def test_what_is_idle_nine_tenths_of_the_time_is_quiet_and_what_is_less_is_not():
    assert is_quiet(idle_share(Ticks(100, 1000), Ticks(190, 1100)))
    assert not is_quiet(idle_share(Ticks(100, 1000), Ticks(189, 1100)))


@pytest.mark.parametrize("at_most_s", [0.0, 0.15])
def test_without_time_to_look_it_is_unknown(at_most_s):
    found = wait(Machine(), at_most_s)
    assert (found.idle_share, found.quiet) == (None, None)


def test_waiting_for_a_disk_and_stolen_time_are_not_idle():
    text = "cpu  10 20 30 400 50 60 70 80 5 5\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert parse_ticks(text) == Ticks(idle=400, all=720)


def test_this_machine_tells_its_ticks():
    assert 0 < read_ticks().idle < read_ticks().all
