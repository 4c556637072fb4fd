"""A module whose import ends a worker process; harmless to the tests themselves."""

import multiprocessing
import os

if multiprocessing.parent_process() is not None:
    os._exit(3)
