"""Runs a command under tadween-core's memory collector.

    python tadween_memory.py LOG INTERVAL COMMAND...

INTERVAL is in seconds, or `default`. The collector observes the process that starts it. This
process then becomes COMMAND by exec, so that its own imports are not measured. It does so right
after a sample of children, the last of a round, and empties the log: all later samples are of
COMMAND. The package itself offers no way to wait for its collector.
"""

import os
import sys
import time
from pathlib import Path

from tadween_core.devtools.analytics.collectors.memory import MemoryCollector

TIME_LIMIT_S = 30


def wait_for_children(log: Path, samples: int) -> None:
    """Wait until that many samples of children are in the log."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while log.read_text().count("\n1|") < samples:
        if time.monotonic() > deadline:
            sys.exit("the collector did not begin")
        time.sleep(0.0005)


def main() -> None:
    """Start the collector and become the command."""
    log, interval, *command = sys.argv[1:]
    settings = {}
    if interval != "default":
        settings = {"main_interval": float(interval), "children_interval": float(interval)}
    path = Path(log)
    # Kept until the exec: its semaphores, which the collector's process needs, go with it.
    collector = MemoryCollector()
    collector.start(log_dir=str(path.parent), file_name=path.name, **settings)
    wait_for_children(path, 1)
    wait_for_children(path, 2)
    # Emptied, not replaced: the collector appends to its open file.
    os.truncate(path, 0)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
