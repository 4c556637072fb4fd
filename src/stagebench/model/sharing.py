"""How fast threads get on beside each other: they share cores and the GIL of an interpreter.

A thread that wants the GIL while another runs Python gets it after the switch interval, once for
every time it asks: a thread that waits for a network all the time, and asks for the GIL after every
packet, is slowed down by one that computes, though it hardly uses a core. Threads that only compute
share it equally. The kernel does the same with cores, in slices of a few milliseconds.

Both are stations of a closed queueing network, solved by approximate mean value analysis: a thread
that comes to a station finds there what the others have there on average. Sources: P. J.
Schweitzer, Approximate analysis of multiclass closed networks of queues (1979); E. D. Lazowska et
al., Quantitative System Performance (1984), ch. 7; max-min fairness: D. Bertsekas and R. Gallager,
Data Networks (1992), section 6.5; the GIL: CPython, Python/ceval_gil.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.units import Seconds

SWITCH_INTERVAL_S = 0.005
"""How long a thread waits for the GIL before it asks for it (`sys.getswitchinterval`)."""

ROUNDS = 60
TOLERANCE = 1e-4


class Mix(NamedTuple):
    """What a thread does in a second that it has to itself.

    `cpu` is its share of time on a CPU, `held` that with the GIL of main. `asks` and `wakes` count
    how often it has to get the GIL, and a core, after it was without.
    """

    cpu: float = 0.0
    held: float = 0.0
    asks: float = 0.0
    wakes: float = 0.0


class Host(NamedTuple):
    """What threads share: `wake_s` is how long a thread that wakes up waits for a busy core.

    That is where as many threads compute as there are cores, and in proportion to their number.
    """

    cores: float
    has_gil: bool = True
    switch_s: Seconds = SWITCH_INTERVAL_S
    wake_s: Seconds = 0.0


def find_rates(mixes: Sequence[Mix], numbers: Sequence[int], host: Host) -> list[float]:
    """Return how fast threads of each kind get on, from 0 to 1 as compared with alone.

    `numbers` is how many of each kind there are.
    """
    kinds = [k for k, number in enumerate(numbers) if number]
    asks = [max(mix.asks, mix.held / host.switch_s) for mix in mixes]
    bursts = [mix.held / one if one else 0.0 for mix, one in zip(mixes, asks, strict=True)]
    used = sum(numbers[k] * mixes[k].cpu for k in kinds)
    contends = host.has_gil and sum(numbers[k] for k in kinds if asks[k]) > 1
    if not contends and used <= 1:
        return [1.0] * len(mixes)
    times = [1.0] * len(mixes)
    waits = [0.0] * len(mixes)
    slower = [1.0] * len(mixes)  # a thread that waits for a core keeps the GIL, if it has it
    for _ in range(ROUNDS):
        if contends:
            present = {
                k: min(1.0, (mixes[k].held * slower[k] + asks[k] * waits[k]) / times[k])
                * (bursts[k] * slower[k])
                for k in kinds
            }
            found = sum(numbers[k] * present[k] for k in kinds)
            for k in kinds:
                waits[k] = max(0.0, found - present[k])
        delay = _find_delay(mixes, numbers, times, host)
        alone = [
            1 + asks[k] * waits[k] + mix.wakes * delay if numbers[k] else 1.0
            for k, mix in enumerate(mixes)
        ]
        wanted = _fit(mixes, numbers, alone, host)
        for k in kinds:
            if mixes[k].cpu:
                longer = 1 + (wanted[k] - alone[k]) / mixes[k].cpu
                slower[k] = (slower[k] + longer) / 2
        new = [(old + one) / 2 for old, one in zip(times, wanted, strict=True)]
        change = max(abs(one / old - 1) for old, one in zip(times, new, strict=True))
        times = new
        if change < TOLERANCE:
            break
    return [1 / time for time in _fit(mixes, numbers, times, host)]


def _find_delay(
    mixes: Sequence[Mix], numbers: Sequence[int], times: Sequence[float], host: Host
) -> Seconds:
    """Return how long a thread that wakes up waits for a core."""
    wanting = sum(
        n * min(1.0, mix.cpu * _stretch(mix, time))
        for n, mix, time in zip(numbers, mixes, times, strict=True)
    )
    load = wanting / host.cores
    return host.wake_s * (load if load >= 1 else load**host.cores)


def _stretch(mix: Mix, time: float) -> float:
    return 1.0 if mix.cpu > 0.5 else 1 / time


def _fit(
    mixes: Sequence[Mix], numbers: Sequence[int], times: Sequence[float], host: Host
) -> list[float]:
    """Lengthen the times of those that use most, until all fit onto the GIL and the cores."""
    if host.has_gil:
        times = _share([mix.held for mix in mixes], numbers, times, 1.0)
    return _share([mix.cpu for mix in mixes], numbers, times, float(host.cores))


def _share(
    uses: Sequence[float], numbers: Sequence[int], times: Sequence[float], left: float
) -> list[float]:
    """Share `left` among threads that would use `uses` of a second in `times`; max-min fair."""
    wants = sorted((use / time, k) for k, (use, time) in enumerate(zip(uses, times, strict=True)))
    number = sum(numbers)
    for want, k in wants:
        if want * number > left:
            share = left / number
            return [max(time, use / share) for use, time in zip(uses, times, strict=True)]
        left -= want * numbers[k]
        number -= numbers[k]
    return list(times)
