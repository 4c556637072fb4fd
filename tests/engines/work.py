"""Handlers that every engine serves, in modules that its workers can import."""

import os
import signal


def number(value):
    if value == 3:
        raise ValueError("three is not served")
    return value


def double(upstream):
    return 2 * upstream


def text(upstream):
    return str(upstream)


def both(upstream):
    return sorted(upstream.items())


def fill(mib, upstream):
    """Return so much that engines share it in their own ways, such as memory-mapped files."""
    import numpy as np

    return np.full((mib, 1 << 17), float(upstream))


def total(upstream):
    return float(upstream.sum())


def die(value):
    if value == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def unpicklable(value):
    return (lambda: value) if value == 1 else value
