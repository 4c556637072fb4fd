import contextlib
import os
import pty
import termios

from stagebench.trace.live import LiveLine, format_elapsed, format_line


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
