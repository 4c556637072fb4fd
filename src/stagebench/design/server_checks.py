"""The server beside a treatment's runs: what is checked of it, and its part of a specification.

Levels are filled in before. Unknown values are not reported again.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import KeyPath, Problem, problem, show
from stagebench.handlers.source import hash_command
from stagebench.store import PORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Json = dict[str, Any]

SERVER: Json = {"ready": "port", "ready_s": 10.0}


def find_server_problems(settings: Json, path: KeyPath) -> Iterator[Problem]:
    """Check that a server's command can be read, and that nothing else sets its variable."""
    server, process = settings.get("server"), settings.get("process")
    if not isinstance(server, dict):
        return
    command = server["command"]
    if command is not UNKNOWN and (reason := _why_unreadable(command)):
        yield problem((*path, "command"), f"{show(command)} is not allowed: {reason}")
    environment = process.get("environment") if isinstance(process, dict) else None
    if isinstance(environment, dict) and PORT in environment:
        text = f"{PORT} is set for runs beside a server; allowed: other variables"
        yield problem(("process", "environment", PORT), text)


def _why_unreadable(command: str) -> str:
    try:
        shlex.split(command)
    except ValueError:
        return "a quote is not closed; allowed: a shell's command"
    return ""


def complete_server(given: Json | None, beside: Path | None) -> Json:
    """Return the part of a specification for the server; nothing without one.

    Specifications without it stay as they were before it existed, so no run is repeated.
    """
    if given is None:
        return {}
    complete = SERVER | given
    complete["ready_s"] = float(complete["ready_s"])
    return {"server": complete | {"files": hash_command(given["command"], beside)}}
