"""The work of every program here: pages that take a while to come, and some time to parse."""

import time

NUMBERS = range(600)


def fetch(number):
    """Return a page of 200 kB after 5 ms, as a server would."""
    time.sleep(0.005)
    return number.to_bytes(4, "big") * 50_000


def parse(page):
    """Return a number that takes some milliseconds to find."""
    found = 0
    for byte in page[:40_000]:
        found = (31 * found + byte) % 65_521
    return found
