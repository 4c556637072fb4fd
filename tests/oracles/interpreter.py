"""An interpreter of files that no other program maps: then no other program changes a tree's PSS.

A copy of the executable, of the loader, of every library and extension module that the programs
of known truth map, and of these programs. The copied loader is called by name: the executable
names the system's one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PROGRAMS = (
    "program",
    "scene",
    "readings",
    "memory",
    "allocations",
    "births",
    "sharing",
    "holder",
)


class Interpreter(NamedTuple):
    """A private interpreter: the command that starts it, and where the programs are."""

    command: list[str]
    folder: Path

    def program(self, kind: str, seed: int, truth: Path, *options: str) -> list[str]:
        """Compose the command that runs one kind of program and writes its truth."""
        command = [*self.command, str(self.folder / "program.py"), kind, "--seed", str(seed)]
        return [*command, "--truth", str(truth), "--python", json.dumps(self.command), *options]


def environment() -> dict[str, str]:
    """Give this process's environment with a locale for which no file is mapped."""
    return os.environ | {"LC_ALL": "C"}


def make_interpreter(folder: Path) -> Interpreter:
    """Make a private interpreter in `folder`, which must not be shared with anyone.

    Raises RuntimeError where that is not possible: not on Linux, or without a shared C library.
    """
    base = Path(sys._base_executable).resolve()  # the one name of a venv's own python
    for program in PROGRAMS:
        shutil.copy(HERE / f"{program}.py", folder)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n", encoding="utf-8")
    library = folder / "lib"
    library.mkdir()
    (folder / "bin").mkdir()
    files = _mapped([str(base), "-E", "-S"], folder)
    for file in files:
        _copy(file, base, folder)
    loaders = [file.name for file in files if file.name.startswith("ld-")]
    if len(loaders) != 1:
        raise RuntimeError(f"{base}: expected one loader among its files, found {loaders}")
    start = [str(library / loaders[0]), "--library-path", str(library)]
    made = Interpreter([*start, str(folder / "bin" / base.name), "-E", "-S"], folder)
    if shared := [
        str(file) for file in _mapped(made.command, folder) if folder not in file.parents
    ]:
        raise RuntimeError(f"the private interpreter maps files that others map, too: {shared}")
    return made


def _mapped(command: list[str], folder: Path) -> list[Path]:
    """Let an interpreter name the files that it maps when all modules are imported."""
    done = subprocess.run(
        [*command, folder / "program.py", "--list", "files"],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    return [Path(line) for line in done.stdout.splitlines()]


def _copy(file: Path, base: Path, folder: Path) -> None:
    """Copy a file to its place: an extension module goes beside the programs, where import looks.

    What is mapped bears the name of the file, but is asked for by that of a link beside it.
    """
    if file.samefile(base):
        shutil.copy(file, folder / "bin" / base.name)
    elif file.parent.name == "lib-dynload":
        shutil.copy(file, folder)
    else:
        shutil.copy(file, folder / "lib")
        stem = file.name.split(".so")[0]
        for link in file.parent.glob(f"{stem}.so*"):
            if link.name != file.name and link.samefile(file):
                (folder / "lib" / link.name).symlink_to(file.name)
