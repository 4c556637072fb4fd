"""Where a control group of memory can be made, and why not.

In version 1, it is made below the group of this process. In version 2, only a group without
processes can have groups below it that count memory. So it is made at the first of these places:

- below the root of all groups, if this process is there;
- beside this process's group, if the one above it counts memory and may be used;
- in this process's group, if this process is alone there. It moves into a group below that first;
- in a scope of its own that it asks systemd for: the system's manager as root, else the user's.
  systemd moves this process there.

A group of systemd may be used only if it is delegated, because systemd rules over the others. And
wherever the group is, the limits hold that this process had before.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (No Internal Process Constraint, Delegation);
systemd, docs/CGROUP_DELEGATION.md and org.freedesktop.systemd1(5) (StartTransientUnit).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFIX = "stagebench-"
"""Before the supervisor's process id in the name of a group."""

INNER = "processes"
"""The name of the folder inside a group in which its processes are."""

OWN = Path("/proc/self")

SYSTEMD = Path("/run/systemd/system")
"""It exists if systemd started this machine or container."""

UNITS = (".slice", ".scope", ".service")
"""How the names of systemd's own groups end."""

MARKS = ("user.delegate", "trusted.delegate")
"""The extended attributes by which systemd marks a delegated group."""

LIMITS = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "cpu.max": "max",
    "cpuset.cpus": "",
}
"""The files of version 2 that limit what a run may use, and how they begin if there is no limit."""

PATIENCE_S = 5.0
"""systemd gets this long to move this process."""


class NoPlaceError(LookupError):
    """There is no place for a control group; the message is the reason, in one sentence."""


def find_group(controller: str, proc: Path) -> tuple[int, Path, str]:
    """Return the version, the mount point of a controller's groups, and this process's group."""
    paths = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    for line in (proc / "mounts").read_text().splitlines():
        _device, place, kind, options, *_rest = line.split()
        if kind == "cgroup" and controller in options.split(",") and controller in paths:
            return 1, Path(place), paths[controller]
        if kind == "cgroup2" and controller not in paths and "" in paths:
            return 2, Path(place), paths[""]
    raise NoPlaceError(f"no control group of {controller} is mounted")


def find_place(proc: Path = OWN, movable: Iterable[int] = ()) -> tuple[int, Path]:
    """Return the version, and the folder in which a group can be made; raises NoPlaceError if none.

    This process may be moved for it, and with it the `movable` ones of its group.
    """
    version, root, path = find_group("memory", proc)
    own = root / path.removeprefix("/")
    if version == 1:
        return version, own
    return version, _find_in_version_2(root, own, proc, {os.getpid(), *movable})


def _find_in_version_2(root: Path, own: Path, proc: Path, movable: set[int]) -> Path:
    if not own.is_dir():
        raise NoPlaceError(f"{own} does not exist: this process's group is not mounted here")
    if not (own / "cgroup.type").exists():  # only the root of all groups has none
        _enable(own)
        return own
    try:
        return _find_near(own, movable)
    except (NoPlaceError, OSError) as error:
        reason = describe_error(error)
    try:
        _enter_scope(root, own, movable)
        _, _, path = find_group("memory", proc)
        return _find_near(root / path.removeprefix("/"), movable)
    except (NoPlaceError, OSError) as error:
        raise NoPlaceError(f"{reason}; {describe_error(error)}") from error


def _find_near(own: Path, movable: set[int]) -> Path:
    """Find a place above or in this process's group; raises NoPlaceError or OSError if none."""
    above = own.parent
    if _counts_memory(above) and _may_use(above) and not any(_list_limits([own])):
        return above
    if not _may_use(own):
        raise NoPlaceError(f"{own} is not delegated to this process")
    pids = _read_pids(own)
    if not pids <= movable:
        raise NoPlaceError(f"{own} has other processes, too")
    if "memory" not in _words(own / "cgroup.controllers"):
        raise NoPlaceError(f"{own} cannot count memory: its controllers are not enabled")
    inner = own / f"{PREFIX}{os.getpid()}-supervisor"
    inner.mkdir(exist_ok=True)
    for pid in pids:
        write(inner / "cgroup.procs", str(pid))
    _enable(own)
    return own


def _may_use(folder: Path) -> bool:
    """Return whether this process may make groups in a folder without getting in systemd's way."""
    if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        return False
    if folder.name.endswith(UNITS) or not (folder / "cgroup.type").exists():
        ours = folder.name.startswith(PREFIX)
        return ours or _is_delegated(folder) or not SYSTEMD.exists()
    return True


def _is_delegated(folder: Path) -> bool:
    try:
        return any(name in MARKS for name in os.listxattr(folder))
    except OSError:  # before Linux 5.7, or an older systemd
        return False


def _counts_memory(folder: Path) -> bool:
    return "memory" in _words(folder / "cgroup.subtree_control")


def _enable(folder: Path) -> None:
    if not _counts_memory(folder):
        write(folder / "cgroup.subtree_control", "+memory")


def _read_pids(folder: Path) -> set[int]:
    return set(map(int, _words(folder / "cgroup.procs")))


def _list_limits(groups: Iterable[Path]) -> Iterator[str]:
    """Yield the files of groups that set a limit."""
    for group in groups:
        for name, unlimited in LIMITS.items():
            words = _words(group / name)
            if words and words[0] != unlimited:
                yield str(group / name)


class Manager:
    """The systemd manager that may make a scope for this process."""

    def __init__(self, user: int) -> None:
        if not SYSTEMD.exists():
            raise NoPlaceError("systemd, which could delegate one, does not run here")
        self._program = shutil.which("busctl")
        if self._program is None:
            raise NoPlaceError("busctl, to ask systemd for one, is not installed")
        self._is_system = user == 0
        # Without a login session, nothing has set the variable: for example below su, or in cron.
        self._environment = {"XDG_RUNTIME_DIR": f"/run/user/{user}"} | dict(os.environ)

    def read_own_group(self) -> str:
        """Return the path of the group that the manager rules over."""
        if self._is_system:
            return "/"
        answer = self._call("get-property", *_MANAGER, "ControlGroup")
        return answer.partition(" ")[2].strip().strip('"') or "/"

    def start_scope(self, name: str, pids: Iterable[int], slice_: str) -> None:
        """Ask for a delegated scope with some processes; it takes a moment."""
        numbers = [str(pid) for pid in pids]
        properties = [
            *("PIDs", "au", str(len(numbers)), *numbers),
            *("Delegate", "b", "true"),
            *("CollectMode", "s", "inactive-or-failed"),
            *(("Slice", "s", slice_) if slice_ else ()),
        ]
        count = "4" if slice_ else "3"
        signature = "ssa(sv)a(sa(sv))"
        self._call(
            *("call", *_MANAGER, "StartTransientUnit", signature),
            *(name, "fail", count, *properties, "0"),
        )

    def _call(self, *arguments: str) -> str:
        bus = "--system" if self._is_system else "--user"
        try:
            done = subprocess.run(
                [str(self._program), bus, *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NoPlaceError(f"systemd did not answer within {PATIENCE_S:g} s") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            who = "systemd" if self._is_system else "this user's systemd manager"
            raise NoPlaceError(f"{who} does not delegate one (busctl: {lines[0]})")
        return done.stdout


_MANAGER = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)


def _enter_scope(root: Path, own: Path, movable: set[int]) -> None:
    """Move this process into a delegated scope of systemd's; raises NoPlaceError if it cannot."""
    manager = Manager(os.geteuid())
    anchor = root / manager.read_own_group().removeprefix("/")
    # The same slice, if the manager has it: the limits of the groups above it hold on.
    slices = [group for group in (own, *own.parents) if group.name.endswith(".slice")]
    slice_ = next((group for group in slices if anchor in group.parents), None)
    kept = slice_ or anchor
    left = [group for group in (own, *own.parents) if group not in (kept, *kept.parents)]
    for limit in _list_limits(left):
        raise NoPlaceError(f"the limit in {limit} would not hold in a group elsewhere")
    pids = _read_pids(own) & movable
    manager.start_scope(f"{PREFIX}{os.getpid()}.scope", pids, slice_.name if slice_ else "")
    deadline = time.monotonic() + PATIENCE_S
    while _read_pids(own) & pids:
        if time.monotonic() > deadline:
            raise NoPlaceError(f"systemd did not move this process within {PATIENCE_S:g} s")
        time.sleep(0.005)


def write(path: Path, text: str) -> None:
    """Write to an existing file of a group, in one piece as the kernel needs it."""
    try:
        with path.open("r+b", buffering=0) as file:
            file.write(text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def describe_error(error: OSError | NoPlaceError) -> str:
    """Return what went wrong, and with which file."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
