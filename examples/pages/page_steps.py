"""Download pages with coroutines, and count their words."""

import asyncio
import os
import re
from collections import Counter


async def fetch(path: str) -> bytes:
    """Return a page of the server beside the run."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["PORT"]))
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, page = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if not head.startswith(b"HTTP/1.0 200"):
        raise OSError(f"{path}: {head[:40]!r}")
    return page


def count(upstream: bytes) -> int:
    """Return how often the most frequent word comes up; Python code, which holds the GIL."""
    words = Counter(word.casefold() for word in re.findall(r"\w+", upstream.decode()))
    return words.most_common(1)[0][1]
