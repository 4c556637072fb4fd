"""The census counts every process of a real program, however it was created."""

import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.conftest import release_orphans

from stagebench.measure.process import ChildSignals, adopt_orphans, kill_tree, start_program
from stagebench.sampler import ptrace
from stagebench.sampler.census import open_census
from stagebench.sampler.processes import record_lives


@pytest.fixture
def transitions():
    """The transitions of the last program that `follow` ran."""
    return []


@pytest.fixture
def begin(transitions):
    """Start a program under a census; returns the census and the signals to wait for."""
    handlers = signal.getsignal(signal.SIGCHLD)

    def make(program, *, means="ptrace"):
        transitions.clear()
        signals = ChildSignals()
        strangers = adopt_orphans()
        command = [sys.executable, "-c", textwrap.dedent(program)]
        with Path(os.devnull).open() as nothing:
            started = start_program(command, os.environ, stdin=nothing.fileno(), output=None)
        census = open_census(
            means,
            started.pid,
            os.getpid(),
            strangers,
            exit_kill=True,
            write_transition=transitions.append,
        )
        started.release(census)
        census.update()
        return census, signals

    yield make
    release_orphans()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, handlers)


@pytest.fixture
def follow(begin):
    """Run a program under a census to its end; returns its process records, main first."""

    def make(program, **options):
        census, signals = begin(program, **options)
        deadline = time.monotonic() + 60
        while census.alive and time.monotonic() < deadline:
            signals.wait(0.01)
            census.update()
        left = kill_tree(census)
        assert not left, f"{left} processes did not end"
        return record_lives(census.lives, census.lives[0].pid)

    return make


def statuses(records):
    return [record.exit_status for record in records]


def test_children_that_live_under_a_millisecond_are_all_seen(follow):
    records = follow("""
        import os
        for _ in range(300):
            if os.fork() == 0:
                os._exit(3)
            os.wait()
    """)
    assert len(records) == 301
    assert statuses(records) == [0] + [3] * 300
    assert {record.parent_pid for record in records[1:]} == {records[0].pid}
    assert all(record.started_ns <= record.ended_ns for record in records)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_every_process_of_a_pool_has_its_role(follow, method):
    records = follow(f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as pool:
            list(pool.map(abs, range(20)))
    """)
    roles = sorted(record.role for record in records)
    helpers = {
        "fork": [],
        "forkserver": ["forkserver", "resource_tracker"],
        "spawn": ["resource_tracker"],
    }[method]
    workers = roles.count("worker")
    assert 1 <= workers <= 2
    assert roles == sorted(["main", *helpers, *["worker"] * workers])


def test_children_of_threads_subprocesses_double_forks_and_orphans_are_seen(follow):
    records = follow("""
        import os, subprocess, sys, threading, time
        def fork():
            if os.fork() == 0:
                os._exit(0)
            os.wait()
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        subprocess.run(["/bin/true"])
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.05)
                os._exit(5)
            os._exit(4)
        os.wait()
        time.sleep(0.1)
    """)
    assert len(records) == 5
    by_status = {record.exit_status: record for record in records[1:]}
    assert by_status[5].parent_pid == by_status[4].pid
    (subprocess_,) = [record for record in records if record.command == "/bin/true"]
    assert (subprocess_.execs, subprocess_.role) == (1, "other")


def test_the_high_water_mark_of_a_spike_is_exact_though_nothing_sampled_it(follow):
    records = follow("""
        import os
        if os.fork() == 0:
            block = bytearray(100 << 20)
            os._exit(0)
        os.wait()
    """)
    child = records[1]
    assert 100 * 2**20 <= child.high_water_bytes <= 130 * 2**20
    assert child.samples == 0


def test_births_record_their_kind_and_transitions_the_memory(follow, transitions):
    records = follow("""
        import os, subprocess, sys
        block = bytearray(50 << 20)
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        subprocess.run([sys.executable, "-c", ""], check=True)
    """)
    main, forked, spawned = records
    assert [record.birth for record in records] == [None, "fork", "vfork"]
    assert all(record.since_ns <= record.started_ns for record in records)
    by_kind = {(each.pid, each.kind): each for each in transitions}
    born = by_kind[forked.pid, "birth"]
    assert born.rss_bytes >= 50 << 20
    assert born.faults < 10
    left = by_kind[forked.pid, "exit"]
    assert left.faults > born.faults
    assert left.high_water_bytes == forked.high_water_bytes
    # A new program starts with little memory and ends with what Python needs, without main's 50 MiB
    # of ballast.
    assert by_kind[spawned.pid, "exec"].rss_bytes < 2 << 20
    assert 5 << 20 < spawned.high_water_bytes < 50 << 20
    assert main.max_rss_bytes >= main.high_water_bytes - (4 << 20)


def test_a_child_by_vfork_has_no_memory_of_its_own_until_it_execs(follow):
    records = follow("""
        import os, subprocess
        block = bytearray(50 << 20)
        try:
            subprocess.run(["/nowhere/to/be/found"])
        except FileNotFoundError:
            pass
    """)
    assert [record.birth for record in records] == [None, "vfork"]
    assert records[1].high_water_bytes is None


def test_threads_are_not_counted_as_processes(follow):
    records = follow("""
        import threading
        threads = [threading.Thread(target=lambda: None) for _ in range(64)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)
    assert len(records) == 1
    assert statuses(records) == [0]


def test_a_process_whose_first_thread_exits_early_ends_with_its_last(follow):
    records = follow("""
        import ctypes, threading, time, os
        def late():
            time.sleep(0.1)
            os._exit(6)
        threading.Thread(target=late).start()
        ctypes.CDLL(None).pthread_exit(None)
    """)
    assert statuses(records) == [6]


def test_exec_from_a_thread_is_one_process(follow):
    records = follow("""
        import os, threading, time
        threading.Thread(target=lambda: os.execv("/bin/true", ["true", "x"])).start()
        time.sleep(60)
    """)
    assert len(records) == 1
    assert (records[0].command, records[0].exit_status) == ("true x", 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_signal_that_ended_a_process_is_recorded(follow, number):
    records = follow(f"import os; os.kill(os.getpid(), {int(number)})")
    assert statuses(records) == [-number]


def test_signals_reach_their_handlers(follow):
    records = follow("""
        import os, signal, sys
        seen = []
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, lambda n, frame: seen.append(n))
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        sys.exit(40 + len(seen))
    """)
    assert records[0].exit_status == 43


def test_stop_and_continue_work_as_without_a_tracer(follow):
    records = follow("""
        import os, signal, sys, time
        child = os.fork()
        if child == 0:
            while True:
                time.sleep(1)
        os.kill(child, signal.SIGSTOP)
        _, status = os.waitpid(child, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP
        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, os.WCONTINUED)
        continued = os.WIFCONTINUED(status)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        ended = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
        sys.exit(0 if stopped and continued and ended else 1)
    """)
    assert statuses(records) == [0, -signal.SIGTERM]


def test_children_of_a_killed_main_are_followed_until_they_end(follow):
    records = follow("""
        import os, signal, time
        if os.fork() == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(0.1)
            os._exit(9)
        time.sleep(60)
    """)
    assert statuses(records) == [-9, 9]


class ChildrenLast:
    """Takes reports as on a busy machine, where no child runs before main has ended."""

    def __init__(self, take):
        self._take = take
        self._main = None
        self._held = []
        self._has_ended = self._pauses = False

    def __call__(self):
        if self._pauses:  # main's end was the last report that there was
            self._pauses = False
            return None
        if self._has_ended:
            return self._held.pop(0) if self._held else self._take()
        while (report := self._take()) is not None:
            self._main = self._main or report.thread
            if report.thread == self._main:
                self._has_ended = self._pauses = report.ended
                return report
            self._held.append(report)
        return None


def test_a_child_that_runs_only_after_its_parents_end_is_followed(follow, monkeypatch):
    monkeypatch.setattr(ptrace, "wait_report", ChildrenLast(ptrace.wait_report))
    records = follow("""
        import os
        if os.fork() == 0:
            os._exit(7)
    """)
    assert statuses(records) == [0, 7]
    assert records[1].parent_pid == records[0].pid
    assert records[0].ended_ns < records[1].ended_ns


def test_an_interrupt_that_loses_the_report_of_an_end_does_not_hang_the_killing(begin, monkeypatch):
    census, signals = begin("pass")

    def follow_for_ever():
        while True:
            signals.wait(0.01)
            census.update()

    with monkeypatch.context() as patch:
        patch.setattr(census, "_end", lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            follow_for_ever()
    (main,) = census.alive
    kill_tree(census)
    with pytest.raises(ProcessLookupError):
        os.kill(main, 0)


def test_polling_misses_processes_that_live_between_two_polls(follow):
    records = follow(
        """
        import os, time
        for _ in range(50):
            if os.fork() == 0:
                os._exit(0)
            os.wait()
        if os.fork() == 0:
            time.sleep(0.2)
            os._exit(2)
        os.wait()
        """,
        means="poll",
    )
    assert len(records) < 52
    assert records[-1].exit_status is None
    assert records[0].exit_status == 0
