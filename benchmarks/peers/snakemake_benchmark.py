"""Runs a command under the sampler of Snakemake's `benchmark:` and prints its record as JSON.

    python snakemake_benchmark.py INTERVAL COMMAND...

INTERVAL is in seconds, or `default`: every half second for the first half minute. Snakemake's
executors measure the shell of a job in the same way; here no shell is in between.
"""

import json
import subprocess
import sys

from snakemake.benchmark import BenchmarkRecord, benchmarked


def main() -> None:
    """Run the command and print the record."""
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
