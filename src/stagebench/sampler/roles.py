"""What part a process plays in a run, told from its command line and its parent."""

from __future__ import annotations


def tell_role(command: str, *, is_main: bool, parent_role: str, parent_command: str) -> str:
    """Return one of `records.ROLES`.

    A forked worker has its parent's command line; a spawned one and the helpers of
    multiprocessing carry the function that they run in theirs. What the resource tracker or a
    worker forks is a part of neither: `other`.
    """
    if is_main:
        return "main"
    if "multiprocessing.resource_tracker" in command:
        return "resource_tracker"
    if "multiprocessing.spawn" in command:
        return "worker"
    if "multiprocessing.forkserver" in command and parent_role != "forkserver":
        return "forkserver"
    if command == parent_command and parent_role in {"main", "forkserver"}:
        return "worker"
    return "other"
