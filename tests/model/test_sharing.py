"""What threads get of cores and the GIL, whatever they do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagebench.model.sharing import Host, Mix, find_rates

SETTINGS = settings(derandomize=True, database=None, deadline=None, max_examples=500)
HOLDS = Mix(cpu=1.0, held=1.0)
COMPUTES = Mix(cpu=1.0)


@st.composite
def mixes(draw):
    cpu = draw(st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0))
    held = cpu * draw(st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0))
    asks = draw(st.sampled_from([0.0, 1.0, 100.0, 10_000.0]) | st.floats(0.0, 300.0))
    return Mix(cpu, held, asks, draw(st.sampled_from([0.0, 0.0, 200.0])))


@st.composite
def crowds(draw, kinds=mixes):
    """Draw what threads do, and how many do so."""
    drawn = draw(st.lists(kinds(), min_size=1, max_size=4))
    return drawn, [draw(st.integers(0, 6)) for _ in drawn]


HOSTS = st.builds(
    Host,
    cores=st.sampled_from([1, 2, 4, 16]),
    has_gil=st.booleans(),
    wake_s=st.sampled_from([0.0, 0.003]),
)


def total(values, numbers, rates):
    return sum(v * n * r for v, n, r in zip(values, numbers, rates, strict=True))


@SETTINGS
@given(crowds(), HOSTS)
def test_nobody_gets_more_than_there_is(crowd, host):
    kinds, numbers = crowd
    rates = find_rates(kinds, numbers, host)
    assert all(0 < rate <= 1 for rate in rates)
    assert total([mix.cpu for mix in kinds], numbers, rates) <= host.cores * 1.001
    if host.has_gil:
        assert total([mix.held for mix in kinds], numbers, rates) <= 1.001


def find_speed_up(crowd, host):
    """Return by how much the luckiest thread gets faster, at most, as any kind gets one more."""
    kinds, numbers = crowd
    before = find_rates(kinds, numbers, host)
    factors = [1.0]
    for added in range(len(kinds)):
        after = find_rates(kinds, [n + (k == added) for k, n in enumerate(numbers)], host)
        factors += [a / b for a, b, n in zip(after, before, numbers, strict=True) if n]
    return max(factors)


@SETTINGS
@given(crowds(), HOSTS)
def test_one_more_thread_speeds_up_nobody_who_needs_only_a_core(crowd, host):
    assert find_speed_up(crowd, host._replace(has_gil=False)) <= 1.02


@SETTINGS
@given(crowds(), HOSTS)
def test_one_more_thread_speeds_up_nobody_while_there_are_cores_for_all(crowd, host):
    assert find_speed_up(crowd, host._replace(cores=64, wake_s=0.0)) <= 1.02


def always_held():
    return mixes().map(lambda mix: mix._replace(held=mix.cpu, wakes=0.0))


@SETTINGS
@given(crowds(always_held), HOSTS)
def test_one_more_thread_speeds_up_nobody_who_computes_with_the_gil(crowd, host):
    assert find_speed_up(crowd, host) <= 1.02


def test_one_that_holds_the_gil_may_free_cores_for_others():
    # Threads that ask often, and compute without the GIL meanwhile, are slowed down most of all.
    kinds, host = [Mix(cpu=0.9, held=0.01, asks=1000.0), COMPUTES, HOLDS], Host(cores=2)
    crowded = find_rates(kinds, [3, 2, 0], host)
    convoy = find_rates(kinds, [3, 2, 1], host)
    assert crowded[1] == pytest.approx(0.4, rel=0.01)
    assert convoy[0] < 0.2 < crowded[0]
    assert convoy[1] > 1.2 * crowded[1]


@pytest.mark.parametrize(
    ("asks", "factor"), [(1.0, 1.005), (10.0, 1.05), (100.0, 1.5), (1000.0, 6.0)]
)
def test_each_time_a_thread_asks_it_waits_for_the_switch_interval(asks, factor):
    kinds = [Mix(cpu=0.001, held=0.001, asks=asks), HOLDS]
    rates = find_rates(kinds, [1, 1], Host(cores=2))
    assert 1 / rates[0] == pytest.approx(factor, rel=0.01)
    assert rates[1] == pytest.approx(1.0, rel=0.01)


def test_the_switch_interval_is_a_setting():
    kinds = [Mix(cpu=0.001, held=0.001, asks=100.0), HOLDS]
    rates = find_rates(kinds, [1, 1], Host(cores=2, switch_s=0.001))
    assert 1 / rates[0] == pytest.approx(1.1, rel=0.01)


def test_threads_with_the_gil_use_one_core_and_leave_the_others():
    assert find_rates([HOLDS, COMPUTES], [3, 1], Host(cores=2)) == pytest.approx([1 / 3, 1.0])
    assert find_rates([HOLDS, COMPUTES], [5, 3], Host(cores=2)) == pytest.approx([1 / 5, 1 / 3])
    assert find_rates([HOLDS, COMPUTES], [2, 4], Host(cores=2)) == pytest.approx([1 / 3, 1 / 3])


def test_a_thread_without_the_gil_waits_for_none():
    assert find_rates([Mix(cpu=0.5), HOLDS], [1, 1], Host(cores=2))[0] == pytest.approx(1.0)


def test_a_thread_that_wakes_up_waits_for_a_busy_core():
    kinds, host = [Mix(cpu=0.1, wakes=100.0), COMPUTES], Host(cores=2, wake_s=0.002)
    assert find_rates(kinds, [1, 0], host)[0] == 1.0
    slowed = [1 / find_rates(kinds, [1, others], host)[0] for others in (1, 2, 4)]
    assert 1.0 < slowed[0] < 1.2 <= slowed[1] < slowed[2]
