"""A node of a Dask cluster beside main's: a process that keeps the workers which are there.

Started as `python -P -m stagebench.engines.dask_node`. It reads a line of JSON: where it is, and
what to start. It answers with a line when the scheduler knows all its workers, and it ends them
after a second line, or when its standard input ends. What its workers print goes to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkerLostError
from stagebench.network_nodes import enter_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stagebench.network_nodes import NetworkNode

GRACE_S = 10.0
"""Its workers get this long to end."""


class RunningNode:
    """A node that main has started; it ends when main ends."""

    def __init__(
        self,
        node: NetworkNode,
        scheduler: str,
        settings: Mapping[str, Any],
        workers: Iterable[Mapping[str, Any]],
    ) -> None:
        self.number = node.number
        self._program = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        place = {"namespace": node.namespace, "cores": node.cores, "host": node.address}
        work = {"scheduler": scheduler, "settings": settings, "workers": list(workers)}
        self._tell(json.dumps({**place, **work, "path": sys.path}))

    @property
    def pid(self) -> int:
        """The process that keeps the node's workers; they are its children."""
        return self._program.pid

    def wait_until_ready(self) -> None:
        """Wait until the scheduler knows all workers of the node."""
        if self._program.stdout is None or not self._program.stdout.readline():
            raise WorkerLostError(f"node {self.number} of the Dask cluster ended as it started")

    def close(self) -> None:
        """End the node's workers, and then the node."""
        with contextlib.suppress(BrokenPipeError), self._program:
            self._tell("close")
            try:
                self._program.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._program.kill()

    def _tell(self, line: str) -> None:
        if self._program.stdin is not None:
            self._program.stdin.write(f"{line}\n")
            self._program.stdin.flush()


def main() -> None:
    """Move to the node, start its workers, and end them when main says so."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads the pipe later
    given = json.loads(sys.stdin.readline())
    with open(given["namespace"], "rb") as namespace:
        enter_namespace(namespace.fileno())
    if given["cores"]:
        os.sched_setaffinity(0, given["cores"])
    sys.path[:] = given["path"]
    import dask  # in the node, as all that it imports may start threads
    from distributed import Nanny, Worker

    logging.getLogger("distributed").setLevel(logging.ERROR)
    kinds = {"thread": Worker, "process": Nanny}

    async def run() -> None:
        workers = [
            kinds[one["executor"]](
                given["scheduler"],
                name=one["name"],
                nthreads=one["nthreads"],
                host=given["host"],
                dashboard=False,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
            for one in given["workers"]
        ]
        await asyncio.gather(*workers)
        os.write(answer, b"ready\n")
        # Not until it ends: workers that main has forked hold its other end, too.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await asyncio.gather(*(one.close() for one in workers))

    with dask.config.set(given["settings"]):
        asyncio.run(run())


if __name__ == "__main__":
    main()
