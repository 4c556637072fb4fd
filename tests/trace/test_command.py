"""`stagebench trace` does not disturb the command, and writes what it saw."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
from tests.trace.tracing import PYTHON, TRACE

from stagebench import store
from stagebench.records import MemorySample, ProcessRecord, SweepRecord

PROBE = """
env | sort
pwd; umask
ulimit -a
grep -E '^(Sig[^Q]|Shd|Cap|NoNew)' /proc/self/status # SigQ is a user's
cut -d' ' -f5,6,7,8,18,19 /proc/self/stat
ls /proc/self/fd
"""
"""Prints everything that a command inherits, which has to be the same with and without a trace."""


def only_folder(path):
    (folder,) = path.iterdir()
    return folder


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_the_commands(trace, code):
    assert trace("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGRTMIN])
def test_a_signal_that_ends_the_command_ends_us_too(trace, tmp_path, number):
    done = trace("sh", "-c", f"kill -{int(number)} $$")
    assert done.returncode == -number
    assert "SIG" in done.stderr
    summary = store.read_json(only_folder(tmp_path) / "summary.json")
    assert (summary["status"], summary["exit_code"]) == ("complete", -number)


def test_we_leave_no_core_file_of_our_own(tmp_path):
    program = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"
    command = [sys.executable, "-m", "stagebench", "trace", "--no-figure", "--", *PYTHON, program]
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (most, most)),  # noqa: PLW1509 - no thread runs
    )
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0  # it was waited for
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)


def test_standard_input_and_output_belong_to_the_command_alone(trace):
    done = trace("sh", "-c", "cat; echo problem >&2", input="words\n")
    assert done.stdout == "words\n"
    assert done.stderr.startswith("problem\n")


def test_a_command_inherits_what_it_would_inherit_without_us(trace, tmp_path):
    os.set_inheritable(descriptor := os.open("/dev/null", os.O_RDONLY), True)
    # In the C locale an interpreter adds LC_CTYPE to its environment.
    environment = {name: value for name, value in os.environ.items() if name[:2] != "LC"}
    environment |= {"LANG": "C", "EMPTY": "", "LINES_": "a\nb"}
    settings = {"env": environment, "close_fds": False}
    command = ["/bin/sh", "-c", PROBE]
    traced = trace(*command, **settings)
    bare = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True, **settings
    )
    os.close(descriptor)
    assert traced.stdout == bare.stdout


class Doubled(dict):
    """An environment in which a variable stands twice, as a program may be given it."""

    def items(self):
        return [*super().items(), ("TWICE", "a"), ("TWICE", "b")]


def test_variables_are_for_the_command_and_not_for_our_interpreter(trace, tmp_path):
    foreign = tmp_path / "foreign"
    for name in ("resource.py", "json.py", "numpy/__init__.py", "sub/psutil.py"):
        (foreign / name).parent.mkdir(exist_ok=True, parents=True)
        (foreign / name).write_text("raise RuntimeError('foreign')")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nno such line")
    (tmp_path / "fcntl.py").write_text("raise RuntimeError('foreign')")
    environment = {
        "PATH": os.environ["PATH"],
        "BYTES": b"\xff\xfe",
        "PYTHONPATH": f"{foreign}:{foreign}/sub",
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "ascii",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
    }
    settings = {"env": Doubled(environment), "stdin": subprocess.DEVNULL}
    options = ("--out", "out", "--quiet")
    command = ["/bin/cat", "/proc/self/environ"]
    traced = trace(*command, options=options, **settings)
    bare = subprocess.run(command, stdout=subprocess.PIPE, check=True, **settings)
    assert traced.stdout.encode(errors="surrogateescape") == bare.stdout
    assert (traced.returncode, traced.stderr) == (0, "")
    assert (tmp_path / "out" / "trace.png").exists()


def test_limits_are_for_the_command_and_a_figure_that_cannot_be_drawn_is_one_line(trace):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (190_000 << 10, 190_000 << 10))
        resource.setrlimit(resource.RLIMIT_CPU, (7, resource.RLIM_INFINITY))

    options = ("--out", "out", "--quiet")
    done = trace("sh", "-c", "ulimit -t; ulimit -v", options=options, preexec_fn=limit)
    assert done.stdout == "7\n190000\n"
    assert done.stderr.startswith("stagebench: out: some files could not be written (trace.png: ")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)


def test_signals_that_were_ignored_before_us_are_ignored_by_the_command(trace):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    command = ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]
    done = trace(*command, preexec_fn=ignore)
    bare = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=ignore)
    # The process that runs the tests may ignore signals, too.
    assert done.stdout == bare.stdout
    blocked, ignored = (int(line.split()[1], 16) for line in done.stdout.splitlines())
    assert blocked & 1 << signal.SIGUSR1 - 1
    assert ignored & 1 << signal.SIGHUP - 1
    assert ignored & 1 << signal.SIGINT - 1


def test_a_script_without_an_interpreter_line_is_run_by_the_shell(trace, tmp_path):
    script = tmp_path / "script"
    script.write_text("echo $1 $0")
    script.chmod(0o755)
    assert trace("./script", "first").stdout == "first ./script\n"


def test_a_command_that_cannot_be_run_has_a_shells_exit_code_and_leaves_nothing(trace, tmp_path):
    here, work = tmp_path / "here", tmp_path / "work"
    work.mkdir()
    here.mkdir()
    (here / "plain").write_text("")
    (here / "orphan").write_text("#!/no/such/interpreter\n")
    (here / "orphan").chmod(0o755)
    cases = {"no-such-command": 127, "./no-such": 127, f"{here}/plain": 126, f"{here}": 126}
    cases |= {f"{here}/orphan": 127}
    for command, code in cases.items():
        done = trace(command, cwd=work)
        assert done.returncode == code
        assert done.stderr.startswith(f"stagebench: {command}: ")
        assert done.stderr.count("\n") == 1
        assert list(work.iterdir()) == []


def test_a_chosen_empty_folder_is_kept_if_the_command_cannot_be_run(trace, tmp_path):
    (tmp_path / "out").mkdir()
    assert trace("no-such-command", options=("--out", "out")).returncode == 127
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--interval", "0"], ["--interval", "'0'", "0.001 to 3600"]),
        (["--interval", "-1"], ["--interval", "'-1'", "0.001 to 3600"]),
        (["--interval=-1e-3"], ["--interval", "'-1e-3'", "0.001 to 3600"]),
        (["--interval", "nan"], ["--interval", "'nan'", "0.001 to 3600"]),
        (["--interval", "inf"], ["--interval", "'inf'", "0.001 to 3600"]),
        (["--interval", "soon"], ["--interval", "'soon'", "0.001 to 3600"]),
        (["--cpu-budget", "2"], ["--cpu-budget", "'2'", "above 0, at most 1"]),
        (["--cpu-budget", "0"], ["--cpu-budget", "'0'", "above 0, at most 1"]),
        (["--cpu-budget", "nan"], ["--cpu-budget", "'nan'", "above 0, at most 1"]),
        (["--census", "guess"], ["--census", "'guess'", "ptrace"]),
        (["--out", "full"], ["--out", "full", "not empty"]),
        (["--out", "file"], ["--out", "file", "Not a directory"]),
        (["--out", "none/such"], ["--out", "none/such", "No such file"]),
    ],
)
def test_a_bad_option_is_reported_before_anything_runs(trace, tmp_path, options, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    done = trace("touch", "ran", options=options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("arguments", [[], ["--"], ["--quiet", "--"], ["touch", "ran"]])
def test_a_missing_command_is_reported(tmp_path, arguments):
    command = [sys.executable, "-m", "stagebench", "trace", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "-- COMMAND" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_command_may_have_options_like_ours(trace, tmp_path):
    done = trace("echo", "--quiet", "--", "--out", options=("--quiet", "--no-figure"))
    assert (done.stdout, done.stderr) == ("--quiet -- --out\n", "")
    assert only_folder(tmp_path).name.startswith("trace-echo-2")


def test_a_trace_is_a_folder_of_whole_records(trace, tmp_path):
    program = textwrap.dedent("""
        import os, time
        block = bytearray(60 << 20)
        if os.fork() == 0:
            own = bytearray(80 << 20)
            time.sleep(0.3)
            os._exit(0)
        os.wait()
    """)
    options = ("--out", "out", "--cpu-budget", "1")
    done = trace(*PYTHON, program, options=options)
    assert done.returncode == 0
    folder = tmp_path / "out"
    run = store.read_run(folder)
    assert (run["kind"], run["status"], run["exit_code"]) == ("trace", "complete", 0)
    assert run["command"] == [*PYTHON, program]
    processes = store.read_records(folder / "processes.csv", ProcessRecord)
    assert [process.role for process in processes] == ["main", "worker"]
    assert run["main"] == processes[0].pid
    sweeps = store.read_records(folder / "sweeps.csv", SweepRecord)
    samples = store.read_records(folder / "samples.csv", MemorySample)
    assert {sample.sweep for sample in samples} <= {sweep.sweep for sweep in sweeps}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["processes"] == run["census"]
    assert 140 << 20 <= summary["peak"]["tree"]["lower_bytes"] <= 180 << 20
    assert 80 << 20 <= summary["peak"]["children"]["lower_bytes"] <= 130 << 20
    assert 0 < summary["peak"]["tree"]["lower_s"] <= summary["duration_s"]
    assert (folder / "trace.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_summary_is_within_80_columns_and_can_be_shown_again(trace, tmp_path):
    done = trace("sh", "-c", "sleep 0.1; true " + "word " * 50, options=("--out", "out"))
    assert max(map(len, done.stderr.splitlines())) <= 80
    show = [sys.executable, "-m", "stagebench", "show", "out", "--figure", "again.png"]
    shown = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == shown.stdout + "folder     out\n"
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out/trace.png").read_bytes()


def test_without_a_figure_there_is_none(trace, tmp_path):
    trace("true")
    assert not list(tmp_path.rglob("*.png"))


def test_two_traces_of_one_second_are_two_folders(trace, tmp_path):
    for _ in range(2):
        trace("true")
    assert len(list(tmp_path.iterdir())) == 2


def test_no_drawing_library_is_imported_while_the_command_runs(trace):
    program = "grep -cE 'matplotlib|numpy|pandas' /proc/$PPID/maps"
    assert trace("sh", "-c", program, options=()).stdout == "0\n"


def test_a_census_by_polling_says_so(trace, tmp_path):
    done = trace("sh", "-c", "sleep 0.2; exit 4", options=("--census", "poll", "--no-figure"))
    assert done.returncode == 4
    assert "polled: short-lived processes may be missed" in " ".join(done.stderr.split())
    assert store.read_json(only_folder(tmp_path) / "summary.json")["processes"]["means"] == "poll"


def test_where_ptrace_is_refused_nothing_is_started_or_the_tree_is_polled(trace, tmp_path):
    # A process has at most one tracer, so ptrace is refused within a trace.
    inner = [*TRACE, "--quiet", "--no-figure", "--out", "inner"]
    refused = trace(*inner, "--census", "ptrace", "--", "touch", "ran")
    assert refused.returncode == 1
    assert "ptrace is not permitted" in refused.stderr
    assert not (tmp_path / "inner").exists()
    assert not (tmp_path / "ran").exists()
    polled = trace(*inner, "--", "sh", "-c", "sleep 0.1; exit 6")
    assert polled.returncode == 6
    assert store.read_run(tmp_path / "inner")["census"]["means"] == "poll"


def test_a_run_of_a_study_is_shown_too(specify, measure, tmp_path):
    folder = measure(specify(process={"environment": {"LANG": "C"}}))
    show = [sys.executable, "-m", "stagebench", "show", folder, "--figure", tmp_path / "run.png"]
    done = subprocess.run(show, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("memory/t1/r1\n")
    assert "with exit code 0" in done.stdout
    assert (tmp_path / "run.png").exists()


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_a_trace_is_reported(tmp_path, name):
    (tmp_path / "empty").mkdir()
    show = [sys.executable, "-m", "stagebench", "show", name]
    done = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"stagebench: {name}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["none/such.png", "trace.gif"])
def test_a_figure_that_cannot_be_written_is_reported(trace, tmp_path, name):
    trace("true", options=("--out", "out", "--quiet", "--no-figure"))
    show = [sys.executable, "-m", "stagebench", "show", "out", "--figure", name]
    done = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"stagebench: --figure {name}: ")
    assert "Traceback" not in done.stderr
