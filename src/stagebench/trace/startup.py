"""What has to happen before the command line is imported: our interpreter is made our own.

The user's variables, such as PYTHONPATH, are meant for the traced command. They decide what an
interpreter imports, so this module imports only what every interpreter has loaded already.
"""

from __future__ import annotations

import os
import sys

BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from stagebench.__main__ import main; main()"

HARMLESS = {
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONNOUSERSITE",
    "PYTHONSAFEPATH",
}
"""Variables of Python that change nothing that matters here."""


class Environment(dict[bytes, bytes]):
    """Environment variables as a program was given them; one that stands twice is passed on twice.

    `os.execve` takes the length, the keys and the values of a mapping, and looks nothing up.
    """

    def __init__(self, block: bytes) -> None:
        entries = [entry.split(b"=", 1) for entry in block.split(b"\0") if b"=" in entry]
        super().__init__(reversed(entries))  # the first counts, as in getenv(3)
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> list[bytes]:  # type: ignore[override]
        """Return every name, in order."""
        return [name for name, _ in self._entries]

    def values(self) -> list[bytes]:  # type: ignore[override]
        """Return every value, in order."""
        return [value for _, value in self._entries]


def read_initial_environment() -> Environment:
    """Read the environment with which this program was started, byte for byte.

    os.environ may contain more: in the C locale the interpreter sets LC_CTYPE.
    """
    with open("/proc/self/environ", "rb") as file:
        return Environment(file.read())


def isolate() -> None:
    """Import nothing from the current folder, and start again if Python's variables are set.

    The environment is passed on as it is, for the traced command; the new interpreter ignores it.
    """
    if not sys.flags.safe_path and sys.path:
        del sys.path[0]
    theirs = {name for name in os.environ if name.startswith("PYTHON")} - HARMLESS
    if sys.flags.ignore_environment or not theirs:
        return
    try:
        environment = read_initial_environment()
    except OSError:  # nothing can be traced without /proc, which the command says in words
        return
    root = os.path.abspath(__file__).removesuffix("/stagebench/trace/startup.py")
    command = [sys.executable, "-E", "-P", "-c", BOOT, root, *sys.argv[1:]]
    os.execve(sys.executable, command, environment)
