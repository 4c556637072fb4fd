"""The thread that traces a command: census and sampler, and nothing that could keep it waiting."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from stagebench.measure.process import ChildSignals, adopt_orphans
from stagebench.measure.relay import WAKE, Deliveries
from stagebench.measure.watch import sample_until_exit
from stagebench.sampler.census import open_census
from stagebench.sampler.lives import record_lives
from stagebench.sampler.procfs import read_children
from stagebench.sampler.sampler import Sampler, SamplerUse
from stagebench.units import to_nanoseconds, to_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.measure.journal import Journal
    from stagebench.measure.process import Started
    from stagebench.records import ProcessRecord
    from stagebench.sampler.lives import Census, Life
    from stagebench.units import Seconds

ADVANCE_S = 5
"""So long a trace may spend its budget in advance: most commands are short."""

LEAVING_S = 0.1
"""After main's exit its helpers (resource tracker, end of a pipe) end by themselves within this."""


class Settings(NamedTuple):
    """How to trace."""

    interval_s: Seconds
    cpu_budget: float
    census: str


class Traced(NamedTuple):
    """What became of the command; `failure` is an error number where it could not be run."""

    failure: int
    exit_code: int
    exited_ns: int
    means: str
    use: SamplerUse
    instrument_cpu_s: Seconds
    processes: Sequence[ProcessRecord]
    stayed: Sequence[Life]


class Tracer(threading.Thread):
    """Follows a held process from its release to its end.

    In a thread because of how it ends: whatever the kernel let it trace, and is still alive, goes
    on untraced when the thread is no more, also if an error ends it.
    """

    def __init__(self, started: Started, settings: Settings, journal: Journal) -> None:
        super().__init__(name="tracer", daemon=True)
        self._held = started
        self._settings = settings
        self._journal = journal
        self._strangers = frozenset(read_children(os.getpid())) - {started.pid}
        self._signals = ChildSignals()  # to be made by the main thread
        self.deliveries = Deliveries(started.pid)
        self.census: Census | None = None
        self.is_done = False
        self.error: Exception | None = None
        self.traced: Traced | None = None

    def run(self) -> None:
        """Trace; an error is kept for the main thread, which is woken."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        try:
            self.traced = self._trace()
        except Exception as error:  # not swallowed: the main thread tells it
            self.error = error
        finally:
            self.is_done = True
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE)

    def wait_gone(self) -> None:
        """Wait until the kernel has let go of all that was traced."""
        self.join()
        while os.path.exists(f"/proc/self/task/{self.native_id}"):  # one stat
            time.sleep(0.0005)

    def _trace(self) -> Traced:
        started, settings, journal = self._held, self._settings, self._journal
        census = self.census = self._open_census()
        journal.begin(started.pid, census.means)
        sampler = Sampler(
            census,
            to_nanoseconds(settings.interval_s),
            settings.cpu_budget,
            advance_s=ADVANCE_S,
            write_sweep=journal.write_sweep,
            write_sample=journal.write_sample,
        )
        failure = started.release(census)
        sample_until_exit(started.pid, sampler, census, self._signals)
        self._let_leave(census)
        sampler.take_last()
        main = census.lives[0]
        return Traced(
            failure=failure,
            exit_code=0 if main.exit_status is None else main.exit_status,
            exited_ns=main.ended_ns or time.monotonic_ns(),
            means=census.means,
            use=sampler.use(),
            instrument_cpu_s=to_seconds(time.thread_time_ns()),
            processes=record_lives(census.lives, started.pid),
            stayed=list(census.alive.values()),
        )

    def _open_census(self) -> Census:
        census = open_census(
            self._settings.census,
            self._held.pid,
            os.getpid(),
            self._strangers,
            exit_kill=False,
            write_transition=self._journal.write_transition,
            observe=self.deliveries.observe,
        )
        if census.means == "poll":
            adopt_orphans()  # they could not be found otherwise
        return census

    def _let_leave(self, census: Census) -> None:
        deadline = time.monotonic() + LEAVING_S
        census.update()
        while census.alive and time.monotonic() < deadline:
            self._signals.wait(0.005)
            census.update()


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have: the sampler keeps two a process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
