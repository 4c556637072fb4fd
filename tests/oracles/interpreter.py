"""A private interpreter: no other program maps its files, so none can change its tree's PSS.

It consists of copies of the executable, the loader, every library and extension module that the
programs of known memory map, and these programs. The copied loader is started by its path, because
the executable names that of the system.
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
    """A private interpreter: the command that starts it, and the folder of the programs."""

    command: list[str]
    folder: Path

    def program(self, kind: str, seed: int, truth: Path, *options: str) -> list[str]:
        """Return the command that runs one kind of program and writes its truth."""
        command = [*self.command, str(self.folder / "program.py"), kind, "--seed", str(seed)]
        return [*command, "--truth", str(truth), "--python", json.dumps(self.command), *options]


def environment() -> dict[str, str]:
    """Return this process's environment with a locale for which no file is mapped."""
    return os.environ | {"LC_ALL": "C"}


def make_interpreter(folder: Path) -> Interpreter:
    """Create a private interpreter in `folder`, which nobody else may use.

    Raises RuntimeError if that is impossible: not on Linux, or without a shared C library.
    """
    base = Path(sys._base_executable).resolve()  # the Python behind a venv
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
        raise RuntimeError(f"the private interpreter maps files outside its folder: {shared}")
    return made


def _mapped(command: list[str], folder: Path) -> list[Path]:
    """List the files that an interpreter maps after importing all modules."""
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
    """Copy a file to its place; extension modules go beside the programs, where they are imported.

    A library is mapped by the name of its file but requested by that of a link beside it, so these
    links are created, too.
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
