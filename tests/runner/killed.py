"""A module whose import kills as many worker processes as the environment says."""

import multiprocessing
import os
import signal

if multiprocessing.parent_process() is not None:
    number, mark = os.environ["STAGEBENCH_TEST_KILLS"].split()
    with open(mark, "a+") as file:
        file.seek(0)
        kill = len(file.read()) < int(number)
        file.write("x" if kill else "")
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
