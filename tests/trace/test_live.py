import contextlib
import os
import pty
import termios
from dataclasses import replace

import pytest

from stagebench.trace.live import LiveLine, format_elapsed, format_line
from stagebench.trace.tracer import Journal
from stagebench.units import MIB


def read_all(terminal):
    """Read what was written to a terminal until its other end is closed."""
    text = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1000):
            text += part
    return text


def test_the_line_is_overwritten_at_most_five_times_a_second():
    above, below = pty.openpty()
    termios.tcsetwinsize(below, (24, 40))
    line = LiveLine(below)
    line.show("x" * 200)
    line.show("never shown")
    line.clear()
    os.close(below)
    text = read_all(above).decode()
    assert text == "\r" + "x" * 39 + "\r" + " " * 39 + "\r"
    os.close(above)


def test_even_the_longest_line_fits_into_80_columns():
    line = format_line(360_000, 1_500 << 30, 1_500 << 30, (10_000, 1_000_000))
    assert len(line) <= 79
    assert format_line(0, None, None, (1, 1)).startswith("0.0 s  tree –")
    assert [format_elapsed(value) for value in (7.9, 754, 3600)] == ["7.9 s", "12:34", "1:00:00"]


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ([(100, 0), (130, 1)], (100, 100)),
        ([(100, 0), (80, 0), (90, 1)], (80, 100)),
        ([(130, 1)], (130, None)),
        ([(130, 1), (100, 0)], (100, 100)),
    ],
)
def test_the_tree_is_never_larger_than_the_highest_that_is_shown(
    tmp_path, make_sweep, sizes, shown
):
    asked = {"interval_s": 0.01, "cpu_budget": 0.01}
    journal = Journal(tmp_path, {"status": "running", "sampler": asked, "main": 100})
    with contextlib.closing(journal):
        for number, (size, torn) in enumerate(sizes):
            sweep, samples = make_sweep(number, 1 + number, size)
            for sample in samples:
                journal.write_sample(sample)
            journal.write_sweep(replace(sweep, torn=torn))
    expected = tuple(None if size is None else size * MIB for size in shown)
    assert (journal.tree_bytes, journal.highest_bytes) == expected
