"""A program for a child to exec: holds memory, reports, and stands still until it is killed.

    python holder.py BYTES REPORT LIFE

The last two are descriptors, see `scene.Family`.
"""

from __future__ import annotations

import os
import sys

from memory import allocate

if __name__ == "__main__":
    kept = allocate(int(sys.argv[1]))
    os.write(int(sys.argv[2]), b"r")
    os.read(int(sys.argv[3]), 1)
