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
    kinds = range(len(mixes))
    bursts = [min(host.switch_s, mix.held / mix.asks) if mix.asks else 0.0 for mix in mixes]
    used = sum(n * mix.cpu for n, mix in zip(numbers, mixes, strict=True))
    contends = (
        host.has_gil and sum(n for n, mix in zip(numbers, mixes, strict=True) if mix.asks) > 1
    )
    if not contends and used <= 1:
        return [1.0] * len(mixes)
    times = [1.0] * len(mixes)
    waits = [0.0] * len(mixes)
    for _ in range(ROUNDS):
        if contends:
            present = [
                min(1.0, (mix.held + mix.asks * waits[k]) / times[k]) for k, mix in enumerate(mixes)
            ]
            found = sum(numbers[k] * present[k] * bursts[k] for k in kinds)
            waits = [max(0.0, found - (present[k] * bursts[k] if numbers[k] else 0)) for k in kinds]
        delay = _find_delay(mixes, numbers, times, host)
        wanted = [1 + mix.asks * waits[k] + mix.wakes * delay for k, mix in enumerate(mixes)]
        wanted = _share_cores(mixes, numbers, wanted, host.cores)
        new = [(old + one) / 2 for old, one in zip(times, wanted, strict=True)]
        change = max(abs(one / old - 1) for old, one in zip(times, new, strict=True))
        times = new
        if change < TOLERANCE:
            break
    return [1 / time for time in times]


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


def _share_cores(
    mixes: Sequence[Mix], numbers: Sequence[int], times: Sequence[float], cores: float
) -> list[float]:
    """Lengthen the times of those that use most, until all fit onto the cores."""
    wants = sorted(
        (mix.cpu / time, k)
        for k, (mix, time) in enumerate(zip(mixes, times, strict=True))
        if numbers[k]
    )
    left, number = float(cores), sum(numbers)
    for want, k in wants:
        if want * number <= left:
            left -= want * numbers[k]
            number -= numbers[k]
    if not number or left <= 0:
        return list(times)
    share = left / number
    return [
        max(time, mix.cpu / share) if numbers[k] else time
        for k, (mix, time) in enumerate(zip(mixes, times, strict=True))
    ]
