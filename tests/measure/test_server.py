"""A server beside a run: real servers on real sockets, and what is left of them."""

import os
import re
import time
from pathlib import Path

import pytest
from tests.measure.test_supervisor import alive

from stagebench import store
from stagebench.analyse.run_file import check_run
from stagebench.errors import MeasureError
from stagebench.handlers.source import source_hash
from stagebench.records import ProcessRecord, TaskRecord
from stagebench.sampler.procfs import read_children

SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            print("asked to end", flush=True)
            os._exit(3)
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

HTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()
"""

STEPS = """
import os, time, urllib.request

def ask(path: str = "/"):
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['PORT']}{path}") as answer:
        text = answer.read().decode()
    print("answered by", text, flush=True)

def end_it():
    try:
        ask("/end")
    except OSError:
        time.sleep(60)
"""


@pytest.fixture
def beside(tmp_path):
    """The folder of a config, with a server and handlers that ask it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pages.py").write_text(SERVER)
    (folder / "ask_steps.py").write_text(STEPS)
    return folder


@pytest.fixture
def measure_beside(specify, measure, beside):
    """Measure a run of one handler beside a server; return its folder."""

    def make(command, function="ask", stage=None, process=None, **server):
        handler = f"ask_steps:{function}"
        stage = {"handler": handler, "parameters": {}, **(stage or {})}
        stage["source"] = source_hash(handler, beside)
        server = {"command": command, "ready": "port", "ready_s": 20.0, "files": {}} | server
        specification = specify(stage=stage, server=server, process=process)
        return measure(specification, beside=beside)

    return make


SERVE = "python pages.py $PORT"
FORK = {"executor": "process", "start_method": "fork"}
SPAWN = {"executor": "process", "start_method": "spawn"}


@pytest.mark.parametrize("stage", [{}, FORK, SPAWN], ids=["thread", "fork", "spawn"])
@pytest.mark.parametrize("ready", ["port", "/", "/health?deep=1"])
def test_handlers_reach_the_server_which_is_not_in_the_measured_tree_and_ends(
    measure_beside, stage, ready
):
    before = read_children(os.getpid())
    folder = measure_beside(SERVE, stage=stage, ready=ready)
    run = store.read_run(folder)
    assert (run["status"], run["detail"]) == ("ok", "")
    pids = set(map(int, re.findall(r"answered by (\d+)", (folder / "output.txt").read_text())))
    assert len(pids) == 1
    tree = {one.pid for one in store.read_records(folder / "processes.csv", ProcessRecord)}
    assert not pids & tree
    assert not any(map(alive, pids))
    assert read_children(os.getpid()) == before
    check_run(folder / "run.json", run)


def test_what_the_server_prints_is_a_checked_file_of_the_run(measure_beside):
    folder = measure_beside(f"echo begun; exec {SERVE}")
    text = (folder / store.SERVER_FILE).read_text()
    assert text.startswith("begun\n")
    assert '"GET / HTTP/1.1" 200' in text
    files = store.read_run(folder)["files"]
    assert files[store.SERVER_FILE]["bytes"] == len(text.encode())
    assert not [name for name in files if name not in {p.name for p in folder.iterdir()}]


def test_a_server_is_ready_when_it_has_written_its_file(measure_beside):
    folder = measure_beside(f'sleep 0.3; (sleep 0.3; echo > "$READY_FILE") & {SERVE}', ready="file")
    assert store.read_run(folder)["status"] == "ok"
    assert {path.name for path in folder.iterdir()} >= {store.SERVER_FILE, store.TASKS_FILE}
    assert not (folder / "server-ready").exists()


def test_the_server_runs_in_the_folder_of_the_config_with_our_python_and_no_setting_of_it(
    measure_beside, beside, monkeypatch
):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as in Snakemake's jobs
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    command = f"pwd; python -c 'import stagebench, pages_helper; print(7)'; exec {SERVE}"
    (beside / "pages_helper.py").write_text("")
    folder = measure_beside(command)
    assert (folder / store.SERVER_FILE).read_text().startswith(f"{beside}\n7\n")


BROKEN = {
    "no such program": ("nosuchprogram", "port", "exit code 127 before it was ready"),
    "ends": ("echo one; echo two; exit 4", "port", "exit code 4 before .* one / two"),
    "is killed": ("kill -KILL $$", "port", "ended by signal SIGKILL before .* printed nothing"),
    "raises": ("python pages.py x", "port", r"pages\.py, line 14: ValueError: invalid literal"),
    "stays silent": ("sleep 60", "port", r"not ready after 700 ms: nothing listens to port \d+"),
    "writes no file": ("sleep 60", "file", "has not written the file that .READY_FILE names"),
    "has no page": (SERVE, "/none", r"/none is not answered at port \d+"),
    "is no web server": ("sleep 60", "/x", "/x is not answered"),
}


@pytest.mark.parametrize(("command", "ready", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_server_that_does_not_become_ready_ends_the_run_in_words(
    measure_beside, tmp_path, command, ready, reason
):
    before = read_children(os.getpid())
    limit_s = 0.7 if command.startswith(("sleep", "python pages.py $")) else 20.0
    with pytest.raises(MeasureError, match=reason):
        measure_beside(command, ready=ready, ready_s=limit_s)
    assert not [*(tmp_path / "raw").glob("r*")]
    assert read_children(os.getpid()) == before


def test_a_server_that_ends_meanwhile_ends_the_run_at_once_and_is_named(measure_beside):
    run = store.read_run(folder := measure_beside(SERVE, "end_it", stage={"workers": 2}))
    assert run["status"] == "server_lost"
    assert "the server ended with exit code 3" in run["detail"]
    assert run["detail"].endswith("asked to end")
    assert not run["timed_out"]
    assert not [t for t in store.read_records(folder / "tasks.csv", TaskRecord) if t.status == "ok"]
    check_run(folder / "run.json", run)


def test_no_process_of_the_server_survives_not_even_one_that_ignores_sigterm(
    measure_beside, beside
):
    script = "trap '' TERM; setsid sleep 61 & echo $! > pids; (setsid sleep 62 & echo $! >> pids)"
    (beside / "start.sh").write_text(f"{script}\n{SERVE}\n")
    folder = measure_beside("sh start.sh")
    assert store.read_run(folder)["status"] == "ok"
    pids = list(map(int, (beside / "pids").read_text().split()))
    assert len(pids) == 2
    assert not any(map(alive, pids))


def test_the_servers_use_of_the_cpu_is_recorded_as_a_part_of_what_others_used(
    measure_beside, beside
):
    (beside / "busy.py").write_text("while True: pass\n")
    (beside / "ask_steps.py").write_text("import time\ndef ask():\n    time.sleep(0.5)\n")
    noise = store.read_run(measure_beside(f"python busy.py & {SERVE}"))["noise"]
    ticks = 0.05  # of 10 ms, by which either may be off
    assert 0 < noise["server_cpu_share"] <= noise["others_cpu_share"] + ticks


def test_a_run_without_a_server_has_nothing_of_it(specify, measure):
    folder = measure(specify())
    assert "server_cpu_share" not in store.read_run(folder)["noise"]
    assert not (folder / store.SERVER_FILE).exists()


def test_the_server_ends_when_the_supervisor_is_killed(beside, specify, tmp_path):
    pid = os.fork()
    if pid == 0:
        from stagebench.measure.server import run_server

        try:
            server = {"command": f"echo $$ > pid; exec {SERVE}", "ready": "port", "ready_s": 20.0}
            with run_server(specify(server=server), tmp_path, beside):
                (tmp_path / "ready").touch()
                time.sleep(60)
        finally:
            os._exit(1)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    server = int((beside / "pid").read_text())
    assert alive(server)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    while alive(server):  # a time-out of the whole test would tell
        time.sleep(0.01)
    assert not Path(f"/proc/{server}/exe").exists()
