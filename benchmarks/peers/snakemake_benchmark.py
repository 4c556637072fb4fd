"""Runs a command under what Snakemake's `benchmark:` measures with; prints its record as JSON.

    python snakemake_benchmark.py INTERVAL COMMAND...

INTERVAL is in seconds, or `default`: every half a second for the first half a minute. Snakemake's
executors do the same with the shell of a job; here nothing is between the observer and the command.
"""

import json
import subprocess
import sys

from snakemake.benchmark import BenchmarkRecord, benchmarked


def main() -> None:
    """Run the command and print what was recorded."""
    interval, *command = sys.argv[1:]
    settings = {} if interval == "default" else {"interval": float(interval)}
    record = BenchmarkRecord()
    with (
        subprocess.Popen(command) as process,
        benchmarked(process.pid, record, **settings),
    ):
        process.wait()
    print(json.dumps({"max_pss": record.max_pss, "max_rss": record.max_rss}))


if __name__ == "__main__":
    main()
