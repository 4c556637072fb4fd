"""A server of long pages that is slow to answer: `python page_server.py PORT SECONDS`."""

import asyncio
import random
import sys

PORT, SECONDS = int(sys.argv[1]), float(sys.argv[2])
WORDS = ["".join(random.Random(n).choices("abcdefghij", k=5)) for n in range(5000)]
PAGE = " ".join(random.Random(1).choices(WORDS, k=120_000)).encode()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, whatever it asks for, as late as a distant server."""
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(SECONDS)
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + PAGE)
    await writer.drain()
    writer.close()


async def serve() -> None:
    """Answer until this process is ended."""
    async with await asyncio.start_server(answer, "127.0.0.1", PORT) as server:
        await server.serve_forever()


asyncio.run(serve())
