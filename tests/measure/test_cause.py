import signal

import pytest

from stagebench import store
from stagebench.errors import StoreError
from stagebench.measure.cause import describe_crash, describe_end, describe_error

CHATTER = """
import os, sys, time
if os.fork() == 0:  # a helper that outlives main
    os.setsid()
    time.sleep(0.2)
    print("lib.py:3: DeprecationWarning: old", file=sys.stderr)
    print("OSError: the helper talks, too", file=sys.stderr, flush=True)
    os._exit(0)
print("ImportError: no numba; going on without", file=sys.stderr, flush=True)
"""

CAUSES = {
    "an exception": (CHATTER + "raise KeyError('why')", "exit code 1; {}: KeyError: 'why'"),
    "an exception of several lines": (
        "raise ValueError('why:\\n\\n  field a\\n')",
        "exit code 1; {}: ValueError: why: field a",
    ),
    "an exception with a name of its own": (
        CHATTER + "class Boom(Exception): pass\nraise Boom('why')",
        "exit code 1; {}: preloaded.Boom: why",
    ),
    "an exception that no handler catches": (
        CHATTER + "class Stop(BaseException): pass\nraise Stop('why')",
        "exit code 1; {}: preloaded.Stop: why",
    ),
    "an exception with a cause": (
        "try:\n    1 / 0\nexcept ArithmeticError as error:\n    raise OSError('why') from error",
        "exit code 1; {}: OSError: why",
    ),
    "a group": (
        "raise ExceptionGroup('both', [ValueError('a'), ExceptionGroup('in', [KeyError('b')])])",
        (
            "exit code 1; {}: ExceptionGroup: both (2 sub-exceptions) ValueError: a"
            " ExceptionGroup: in (1 sub-exception) KeyError: 'b'"
        ),
    ),
    "a text for sys.exit": (CHATTER + "sys.exit('why')", "exit code 1; {}: SystemExit: why"),
    "a signal": (
        (
            "import os, sys\n"
            "print('a.py:1: FutureWarning: old\\n  f()', file=sys.stderr, flush=True)\n"
            "os.abort()"
        ),
        "ended by signal SIGABRT; no output but warnings",
    ),
    "a signal that faulthandler explains": (
        "import ctypes, faulthandler\nfaulthandler.enable()\nctypes.string_at(0)",
        "ended by signal SIGSEGV; {}: Fatal Python error: Segmentation fault",
    ),
    "an exit that skips everything": (
        (
            "import os, sys, warnings\nprint('giving up', flush=True)\nwarnings.warn('old')\n"
            "os._exit(9)"
        ),
        "exit code 9; last output: giving up",
    ),
}


@pytest.mark.parametrize(("program", "detail"), CAUSES.values(), ids=CAUSES)
def test_a_crash_is_described_by_its_cause_and_place(specify, measure, tmp_path, program, detail):
    run = store.read_run(measure(specify(program=program)))
    line = 1 + next(
        (
            place
            for place, text in enumerate(program.splitlines())
            if text.strip().startswith(("raise ", "sys.exit", "ctypes.string_at"))
        ),
        0,
    )
    assert run["status"] == "crashed"
    assert run["detail"] == detail.replace("{}", f"{tmp_path / 'preloaded.py'}, line {line}")


def test_an_error_of_a_worker_is_named_with_its_place_beside_the_config(specify, measure, tmp_path):
    (tmp_path / "mine_start.py").write_text(
        "import multiprocessing\n"
        "if multiprocessing.parent_process():\n"
        "    raise ImportError('why')\n"
        "def work(): pass\n"
    )
    stage = {"executor": "process", "start_method": "spawn", "handler": "mine_start:work"}
    folder = measure(specify(stage={**stage, "parameters": {}}), beside=tmp_path)
    detail = store.read_run(folder)["detail"]
    assert detail == (
        "exit code 1; WorkerLostError: stage 'work': a worker process could not start:"
        " mine_start.py, line 3: ImportError: why"
    )


def test_what_was_printed_before_a_crash_is_kept(specify, measure):
    folder = measure(specify(program="print('not flushed')\nraise ValueError('why')\n"))
    assert (folder / store.OUTPUT_FILE).read_text().startswith("not flushed\nTraceback")


def test_a_closed_stream_hides_no_cause(specify, measure):
    program = "import sys\nsys.stdout.close()\nsys.stderr.close()\nraise ValueError('why')\n"
    run = store.read_run(measure(specify(program=program)))
    assert (run["exit_code"], run["detail"][-15:]) == (1, "ValueError: why")


LOGGED = 'ERROR:root:handled\nTraceback (most recent call last):\n  File "/my/a.py", line 3, in f\n'
OUTPUTS = {
    "nothing": ("", "no output"),
    "a traceback, then chatter": (
        LOGGED + "    f()\nmine.Why: because\nand more\nlib: ImportError is fine\n",
        "/my/a.py, line 3: mine.Why: because",
    ),
    "tracebacks that end no process": (
        LOGGED
        + "Why\nException ignored in: <function f>\nTraceback (most recent call last):\n"
        + '  File "/my/b.py", line 1, in f\nBrokenPipeError: gone\n'
        + "Exception in thread Thread-1 (f):\nTraceback (most recent call last):\n"
        + '  File "/my/c.py", line 2, in f\nKeyError: 1\n'
        + "Traceback (most recent call last):\n"
        + '  File "/usr/lib/python3/multiprocessing/resource_tracker.py", line 9, in main\n'
        + "KeyError: '/psm_1'\n",
        "/my/a.py, line 3: Why",
    ),
    "a traceback that is cut off": (LOGGED, "/my/a.py, line 3: "),
}


@pytest.mark.parametrize(("output", "cause"), OUTPUTS.values(), ids=OUTPUTS)
def test_without_an_error_of_main_the_output_is_searched(tmp_path, output, cause):
    (tmp_path / store.OUTPUT_FILE).write_text(output)
    assert describe_crash(tmp_path, 3, None) == cause.strip()


def test_an_error_that_quotes_one_of_another_process_is_named_once():
    quoted = (
        'Traceback (most recent call last):\n  File "/my/a.py", line 3, in f\nValueError: why\n'
    )
    text = (
        f'multiprocessing.pool.RemoteTraceback: \n"""\n{quoted}"""\n\nThe above exception was the'
        f" direct cause of the following exception:\n\n{quoted.replace('line 3', 'line 7')}"
    )
    assert describe_error(text, None) == "/my/a.py, line 7: ValueError: why"


def test_a_signal_without_a_name_is_a_number():
    assert describe_end(-signal.SIGRTMIN - 6) == "ended by signal 40"


@pytest.mark.parametrize("what", ["raw", "raw/.r1.*.partial", "raw/.r1.*/samples.csv"])
def test_a_run_whose_folder_is_removed_meanwhile_says_so(specify, measure, tmp_path, what):
    victim = str(tmp_path / what)
    program = (
        "import glob, shutil, subprocess, threading\n"
        f"def remove(): subprocess.run(['rm', '-r', *glob.glob({victim!r})])\n"
        "threading.Timer(0.1, remove).start()\n"
    )
    specification = specify(
        stage={"handler": "wait", "parameters": {"delay_s": 0.3}}, program=program
    )
    with pytest.raises(StoreError, match=r"removed while .*; start the study again: what is there"):
        measure(specification)
