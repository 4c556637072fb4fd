"""A real Slurm cluster of two nodes on this machine, which ends with its block.

`python -m tests.cluster.two_nodes FOLDER` keeps one up until Ctrl-C, to try things by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")
"""The only place where the steps of a job find it."""

OURS = "# Of the tests of stagebench: it is removed when they end."
NODES = ("node1", "node2")
PARTITION = "debug"
START_S = 30.0
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "unshare", "setpriv")
LOCK = Path("/run/lock/stagebench-tests-slurm")
"""One cluster at a time: there is one place for its configuration."""

LOCK_S = 300.0

SLURM_CONF = """{ours}
ClusterName=tests
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldTimeout=10
SlurmdTimeout=10
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000
KillWait=2
MpiDefault=none
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=1000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=1000
PartitionName={partition} Nodes=node1,node2 Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    if os.geteuid():
        return "only root can start daemons that act for any user"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)}: not installed (Debian: slurm-wlm, munge)"
    if CONFIG.exists() and not CONFIG.read_text().startswith(OURS):
        return f"{CONFIG}: there is a cluster of this machine, which tests leave alone"
    return None


class TwoNodes:
    """A running cluster of two nodes, and what can happen to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for name in ("munge", "state"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o755)
        (self.folder / "munge" / "key").write_bytes(os.urandom(128))
        (self.folder / "munge" / "key").chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        text = SLURM_CONF.format(
            ours=OURS,
            host=host,
            folder=self.folder,
            ports=free_ports(3),
            cpus=os.cpu_count(),
            partition=PARTITION,
        )
        CONFIG.write_text(text)
        files = {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        places = [f"--{option}={self.folder}/munge/{name}" for option, name in files.items()]
        socket_place = f"--socket={self.folder}/munge/socket"
        self._start("munged", "munged", "--foreground", "--force", socket_place, *places)
        self._await((self.folder / "munge" / "socket").exists, "munged")
        self._start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        self._await(self.is_idle, "nodes")

    def start_node(self, node: str, *wrapper: str) -> None:
        """Start the daemon of a node; `wrapper` is a command before it, such as unshare."""
        (self.folder / node / "spool").mkdir(parents=True, exist_ok=True)
        self._start(node, *wrapper, "slurmd", "-D", "-N", node)

    def restart_node(self, node: str, *wrapper: str) -> None:
        self.lose_node(node)
        self.start_node(node, *wrapper)
        self._await(self.is_idle, node)

    def is_idle(self) -> bool:
        states = call("sinfo", "--Node", "--noheader", "--format=%T", check=False)
        return states.split() == ["idle"] * len(NODES)

    def lose_node(self, node: str) -> None:
        """Kill a node as a power cut would, and say so to Slurm, which would find it out later."""
        self.kill_node(node)
        call("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon, its steps and all that runs in them."""
        while pids := self.find(node):
            # What is stopped starts nothing that the next look could not find.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in {*pids, *self.find(node)}:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            for daemon in self.daemons:
                daemon.poll()
            time.sleep(0.05)

    def find(self, name: str) -> list[int]:
        """Return the processes of a node or daemon: those in its folder, and their descendants.

        A step has its daemon's folder as its current one; its environment is overwritten.
        """
        children: dict[int, list[int]] = {}
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] == "Z":
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry.name))
                if os.readlink(entry / "cwd") == str(self.folder / name):
                    found.append(int(entry.name))
        for pid in found:  # it grows
            found += [child for child in children.get(pid, []) if child not in found]
        return found

    def stop(self) -> None:
        if CONFIG.exists():
            call("scancel", "--user=root", check=False)
        for name in (*NODES, "slurmctld", "munged"):
            self.kill_node(name)
        for daemon in self.daemons:
            daemon.wait(10)
        if CONFIG.exists() and CONFIG.read_text().startswith(OURS):
            CONFIG.unlink()

    def _start(self, name: str, *command: str) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons.append(
                subprocess.Popen(
                    # If this process is killed, no daemon outlives it.
                    [shutil.which("setpriv") or "", "--pdeathsig", "KILL", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder / name,
                    start_new_session=True,
                )
            )

    def _await(self, is_there, what: str) -> None:
        end = time.monotonic() + START_S
        while not is_there():
            if time.monotonic() > end:
                logs = [path.read_text()[-2000:] for path in sorted(self.folder.glob("*.[lo]*"))]
                raise TimeoutError(f"{what}: not ready after {START_S} s\n" + "\n".join(logs))
            time.sleep(0.1)


def call(*command: str, check: bool = True) -> str:
    """Run a command of Slurm; return what it prints."""
    done = subprocess.run(command, check=check, capture_output=True, text=True, timeout=30)
    return done.stdout


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def locked(path: Path):
    """Wait until no other process has a cluster of the tests."""
    with path.open("ab") as file:
        end = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        yield


def end_left_behind() -> None:
    """End what is left of a cluster whose process was killed."""
    if CONFIG.exists():
        (state,) = re.findall(r"^StateSaveLocation=(.*)$", CONFIG.read_text(), re.MULTILINE)
        TwoNodes(Path(state).parent).stop()


@contextlib.contextmanager
def two_nodes(folder: Path):
    """Start a cluster in a new folder, and end all that it started."""
    with locked(LOCK):
        end_left_behind()
        folder.mkdir(parents=True)
        cluster = TwoNodes(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), two_nodes(Path(sys.argv[1]).absolute()):
        print("two nodes; Ctrl-C ends them", flush=True)
        signal.pause()
