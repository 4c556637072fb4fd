"""A module whose import in a worker ends only when the environment says so."""

import os
import time

while "STAGEBENCH_TEST_ENDLESS" in os.environ:
    time.sleep(0.01)
