"""Run `snakemake --lint` and fail on any hint but one.

The one: "Specify a conda environment or container for each rule". The environment of a study is the
project's own, pinned by hash in requirements.lock, and recorded with every run.
"""

import subprocess
import sys
from pathlib import Path

ACCEPTED = "    * Specify a conda environment or container for each rule"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def main() -> None:
    """Print what snakemake says if it has any other hint, or fails without one."""
    done = subprocess.run([SNAKEMAKE, "--lint"], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    hints = [line for line in said.splitlines() if line.startswith("    * ")]
    others = [line for line in hints if not line.startswith(ACCEPTED)]
    if others or (done.returncode and not hints):
        sys.exit(said)


if __name__ == "__main__":
    main()
