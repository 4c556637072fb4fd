"""A trace in a terminal: Ctrl-C, Ctrl-Z, fg and the live line, on a pseudo-terminal."""

import contextlib
import os
import pty
import signal
import sys
import termios
import textwrap
import threading

import pytest
from tests.trace.tracing import PYTHON, TRACE, end, state_of, wait_for

from stagebench import store
from stagebench.sampler.procfs import read_children

SHELL = """
import os, signal, sys
report = open("report", "w", buffering=1)
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
    signal.signal(number, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
print("job", job, file=report)
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        break
    print("stopped by", os.WSTOPSIG(status), file=report)
    command = sys.stdin.readline()
    os.tcsetpgrp(0, job)
    (os.kill if command == "continue\\n" else os.killpg)(job, signal.SIGCONT)
print("ended", os.waitstatus_to_exitcode(status), file=report)
"""
"""A shell with a single job; it writes what happens to that job to the file `report`."""


class Terminal:
    """A pseudo-terminal of 80 columns and the shell in it; `output` is what was written to it."""

    def __init__(self, folder, command):
        self._folder = folder
        self.output = b""
        self.shell, self._descriptor = pty.fork()
        if self.shell == 0:
            os.chdir(folder)
            os.execv(sys.executable, [*PYTHON, SHELL, *command])
        termios.tcsetwinsize(self._descriptor, (24, 80))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def type(self, text):
        os.write(self._descriptor, text.encode())

    def wait_output(self, text):
        wait_for(lambda: text.encode() in self.output)

    def wait_reports(self, count):
        return wait_for(lambda: len(self.reports) >= count and self.reports)

    @property
    def reports(self):
        """What happened to the shell's job, one line each."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "report").read_text().split("\n")[1:-1]
        return []

    @property
    def main(self):
        """Process id of the traced process."""
        job = int((self._folder / "report").read_text().split("\n")[0].split()[1])
        return wait_for(lambda: read_children(job))[0]

    def close(self):
        """Wait until everything on the terminal has ended, and return all of its output."""
        os.waitpid(self.shell, 0)
        self._reader.join(60)
        return self.output.decode()

    def kill(self):
        with contextlib.suppress(OSError):
            os.close(self._descriptor)  # hangs up
        with contextlib.suppress(OSError):
            os.kill(self.shell, signal.SIGKILL)
            os.waitpid(self.shell, 0)

    def _read(self):
        with contextlib.suppress(OSError):  # raised at the end
            while block := os.read(self._descriptor, 65536):
                self.output += block


@pytest.fixture
def terminal(tmp_path):
    """Start to trace a command in a terminal; the folder is `out`."""
    opened = []

    def make(*command, options=("--quiet", "--no-figure")):
        arguments = [*TRACE, "--out", str(tmp_path / "out"), *options, "--", *command]
        opened.append(Terminal(tmp_path, arguments))
        return opened[-1]

    yield make
    for one in opened:
        one.kill()


def program(text):
    return (*PYTHON, textwrap.dedent(text))


ASK = program("""
    import sys
    print("ready", flush=True)
    answer = sys.stdin.readline()
    print("answer", answer, flush=True)
    sys.exit(4)
""")


def test_ctrl_c_is_handled_by_the_command(terminal):
    shell = terminal(
        *program("""
            import sys, time
            try:
                print("ready", flush=True)
                time.sleep(600)
            except KeyboardInterrupt:
                print("caught", flush=True)
                sys.exit(9)
        """)
    )
    shell.wait_output("ready")
    shell.type("\x03")
    assert shell.wait_reports(1) == ["ended 9"]
    assert shell.close().count("caught") == 1


@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
@pytest.mark.parametrize("means", ["ptrace", "poll"])
def test_a_key_that_ends_the_command_ends_us_too(terminal, tmp_path, key, number, means):
    shell = terminal(
        "sh", "-c", "ulimit -c 0; echo ready; exec sleep 600", options=("--census", means)
    )
    shell.wait_output("ready")
    shell.type(key)
    assert shell.wait_reports(1) == [f"ended {-number}"]
    assert store.read_run(tmp_path / "out")["status"] == "complete"
    assert (tmp_path / "out" / "trace.png").exists()


@pytest.mark.parametrize("means", ["ptrace", "poll"])
@pytest.mark.parametrize("word", ["fg", "continue"])
def test_a_job_can_be_stopped_and_continued_repeatedly(terminal, means, word):
    shell = terminal(*ASK, options=("--quiet", "--no-figure", "--census", means))
    shell.wait_output("ready")
    for turn in range(3):
        shell.type("\x1a")
        assert shell.wait_reports(turn + 1) == [f"stopped by {signal.SIGTSTP}"] * (turn + 1)
        assert state_of(shell.main)[0] in "tT"
        shell.type(f"{word}\n")
        wait_for(lambda: state_of(shell.main)[0] == "S")
    shell.type("yes\n")
    assert shell.wait_reports(4)[3] == "ended 4"
    assert "answer yes" in shell.close()


def test_a_command_that_ignores_ctrl_z_is_not_stopped(terminal):
    shell = terminal("sh", "-c", "trap '' TSTP; echo ready; read line; exit 4")
    shell.wait_output("ready")
    shell.type("\x1a")
    shell.type("yes\n")
    assert shell.wait_reports(1) == ["ended 4"]


STOP_ITSELF = """
    import os, signal, sys
    def stop(number, frame):
        print("tidied", flush=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill({target}, number)
        print("back", flush=True)
    signal.signal(signal.SIGTSTP, stop)
    print("ready", flush=True)
    answer = sys.stdin.readline()
    sys.exit(4)
"""


@pytest.mark.parametrize("target", ["0", "os.getpid()"])
@pytest.mark.parametrize("means", ["ptrace", "poll"])
def test_a_command_can_tidy_up_before_it_stops(terminal, target, means):
    text = STOP_ITSELF.format(target=target)
    shell = terminal(*program(text), options=("--quiet", "--no-figure", "--census", means))
    shell.wait_output("ready")
    shell.type("\x1a")
    assert shell.wait_reports(1) == [f"stopped by {signal.SIGTSTP}"]
    assert b"tidied" in shell.output
    assert b"back" not in shell.output
    shell.type("fg\n")
    shell.wait_output("back")
    shell.type("yes\n")
    assert shell.wait_reports(2)[1] == "ended 4"


def test_a_terminal_that_hangs_up_ends_the_command_and_the_trace_is_whole(terminal, tmp_path):
    shell = terminal("sh", "-c", "echo ready; exec sleep 600")
    shell.wait_output("ready")
    main = shell.main
    shell.kill()
    try:
        wait_for(lambda: state_of(main)[0] == "Z")
    except AssertionError:
        end(main)
        raise
    run = wait_for(lambda: (run := store.read_run(tmp_path / "out"))["status"] != "running" and run)
    assert (run["status"], run["exit_code"]) == ("complete", -signal.SIGHUP)


def screen_of(text):
    """Return the lines that a terminal shows in the end."""
    lines, column = [""], 0
    for character in text:
        if character == "\n":
            lines.append("")
        elif character == "\r":
            column = 0
        else:
            line = lines[-1].ljust(column)
            lines[-1] = line[:column] + character + line[column + 1 :]
            column += 1
        assert column <= 80
    return [line.rstrip() for line in lines]


def test_a_terminal_shows_a_line_while_the_command_runs_and_not_after(terminal, tmp_path):
    waiting = "while [ ! -e go ]; do sleep 0.05; done; exit 4"
    # The forks of this loop would use up a small budget before any sweep.
    shell = terminal("sh", "-c", waiting, options=("--no-figure", "--live", "--cpu-budget", "1"))
    shell.wait_output(" processes live")
    shell.wait_output("tree 0.")
    (tmp_path / "go").touch()
    shell.wait_reports(1)
    text = shell.close()
    assert "highest" in text
    screen = screen_of(text)
    assert not [line for line in screen if " processes live" in line]
    assert "ended      with exit code 4" in "\n".join(screen)
    assert max(map(len, screen)) <= 80


def test_a_terminal_whose_program_reads_single_keys_is_left_alone(terminal):
    shell = terminal(
        *program("""
            import sys, termios, time, tty
            before = termios.tcgetattr(0)
            tty.setcbreak(0)
            print("ready", flush=True)
            sys.stdin.read(1)
            print("read", flush=True)
            time.sleep(0.5)
            sys.stdin.read(1)
            termios.tcsetattr(0, termios.TCSANOW, before)
        """),
        options=("--no-figure", "--live"),
    )
    shell.wait_output("ready")
    shell.type("a")
    shell.wait_output("read\r\n")
    shell.type("b")
    shell.wait_reports(1)
    begun = shell.close().split("ready")[1]
    assert " processes live" not in begun.split("python")[0]


@pytest.mark.parametrize(
    "words",
    ["sleep 0.5; echo line 0", "printf 'Name: '; sleep 0.5; echo", "printf '50 %%'; sleep 0.5"],
)
def test_the_output_of_the_command_is_whole(terminal, words):
    shell = terminal("sh", "-c", words, options=("--no-figure",))
    bare = pty.fork()
    if bare[0] == 0:
        os.execv("/bin/sh", ["sh", "-c", words])
    shell.wait_reports(1)
    expected = read_to_end(bare)
    assert shell.close().startswith(expected + "sh -c")


def read_to_end(forked):
    """Return what a process writes to its terminal until it ends."""
    text = b""
    with contextlib.suppress(OSError):  # raised at the end
        while block := os.read(forked[1], 65536):
            text += block
    os.waitpid(forked[0], 0)
    os.close(forked[1])
    return text.decode()


def test_quiet_is_silent_on_a_terminal_too(terminal):
    shell = terminal("sh", "-c", "echo ready; sleep 0.5")
    shell.wait_reports(1)
    assert shell.close() == "ready\r\n"


def test_without_a_terminal_there_is_no_line(trace):
    done = trace("sh", "-c", "sleep 0.5")
    assert "\r" not in done.stderr
    assert " processes live" not in done.stderr


def test_a_program_whose_first_thread_has_ended_stops_and_continues_as_a_job(terminal):
    command = program("""
        import ctypes, sys, threading
        def work():
            print("ready", flush=True)
            sys.stdin.readline()
            print("done", flush=True)
        for number in range(2):
            threading.Thread(target=work if number else threading.Event().wait, daemon=True).start()
        ctypes.CDLL(None).pthread_exit(None)
    """)
    shown = terminal(*command)
    shown.wait_output("ready")
    wait_for(lambda: state_of(shown.main)[0] == "Z")
    shown.type("\x1a")
    assert shown.wait_reports(1) == [f"stopped by {int(signal.SIGTSTP)}"]
    shown.type("fg\n")
    shown.type("go\n")
    shown.wait_output("done")
    assert len(shown.reports) == 1
