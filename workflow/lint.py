"""Run `snakemake --lint` and fail on any hint but one.

The accepted hint is "Specify a conda environment or container for each rule". A study runs in the
project's own environment, which requirements.lock pins by hash and every run records.
"""

import subprocess
import sys
from pathlib import Path

ACCEPTED = "    * Specify a conda environment or container for each rule"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def main() -> None:
    """Exit with the output of snakemake if it has any other hint, or fails without one."""
    done = subprocess.run([SNAKEMAKE, "--lint"], capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    hints = [line for line in output.splitlines() if line.startswith("    * ")]
    others = [line for line in hints if not line.startswith(ACCEPTED)]
    if others or (done.returncode and not hints):
        sys.exit(output)


if __name__ == "__main__":
    main()
