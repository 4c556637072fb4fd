import hashlib
import socket
import tempfile
import time
import zlib
from types import SimpleNamespace

import pytest

from stagebench.handlers import download as module
from stagebench.handlers.download import Download, download, memory_need

SMALL = {"file_size_mb": 0.01, "bandwidth_mbps": 1000.0, "latency_ms": 1.0, "chunk_bytes": 4096}


def elapsed(**parameters):
    started = time.perf_counter()
    download(**SMALL | parameters)
    return time.perf_counter() - started


def test_the_whole_file_is_read_back_with_its_checksum():
    got = download(**SMALL)
    assert len(got.data) == int(0.01 * 2**20)
    assert got.sha256 == hashlib.sha256(got.data).hexdigest()
    assert download(**SMALL, checksum=False).sha256 is None


def test_two_downloads_differ():
    assert download(**SMALL).data != download(**SMALL).data


def test_latency_and_bandwidth_are_waited_for():
    # 10,485 bytes in three chunks at 1 Mbit/s (131,072 bytes/s): each chunk waits 31.25 ms.
    assert elapsed(latency_ms=50.0) >= 0.05
    assert elapsed(bandwidth_mbps=1.0) >= 3 * 4096 / 131072


def test_a_short_last_chunk_waits_as_long_as_a_whole_one():
    one_byte_more = (4096 + 1) / 2**20
    assert elapsed(bandwidth_mbps=1.0, file_size_mb=one_byte_more) >= 2 * 4096 / 131072


def test_every_step_is_done_for_every_chunk_and_can_be_left_out(monkeypatch):
    calls = []
    for owner, name in ((zlib, "compress"), (zlib, "decompress"), (module.os, "fsync")):
        real = getattr(owner, name)

        def count(*args, _real=real, _name=name, **others):
            calls.append(_name)
            return _real(*args, **others)

        monkeypatch.setattr(owner, name, count)
    download(**SMALL)
    assert calls == ["compress", "decompress", "fsync"] * 3
    calls.clear()
    download(**SMALL, compression=False)
    assert calls == ["fsync"] * 3


def test_the_busy_loop_burns_cpu_only_where_it_would_last_over_a_millisecond(monkeypatch):
    # The loop's clock is its own CPU time: other processes on the core do not shorten it.
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=time.thread_time))

    def cpu(overhead, bandwidth_mbps):
        """Return the least of three times: caches that others have emptied cost CPU time, too."""
        return min(measure(overhead, bandwidth_mbps) for _ in range(3))

    def measure(overhead, bandwidth_mbps):
        started = time.thread_time()
        download(
            file_size_mb=0.25,
            bandwidth_mbps=bandwidth_mbps,
            latency_ms=0.0,
            cpu_overhead=overhead,
            compression=False,
            checksum=False,
        )
        return time.thread_time() - started

    # Four chunks of 50 ms each at 10 Mbit/s, half of that busy: 25 ms a chunk; without it, 2 ms.
    assert cpu(0.5, 10.0) - cpu(0.0, 10.0) >= 0.09
    # At 1,000 Mbit/s a chunk lasts 0.5 ms: the loop is left out.
    assert cpu(1.0, 1000.0) < 0.02


def test_the_temporary_file_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    download(**SMALL)
    assert list(tmp_path.iterdir()) == []


def test_data_that_nobody_sent_is_an_error(monkeypatch):
    class Answering(socket.socket):
        def recv(self, _size):
            return b"?"

    monkeypatch.setattr(module.socket, "socket", Answering)
    with pytest.raises(OSError, match="nobody sent"):
        download(**SMALL)


def test_the_published_defaults_are_the_defaults():
    assert download.__kwdefaults__ == {
        "file_size_mb": 1.0,
        "bandwidth_mbps": 10.0,
        "latency_ms": 50.0,
        "chunk_bytes": 65536,
        "cpu_overhead": 0.05,
        "compression": True,
        "checksum": True,
    }


def test_the_estimate_is_the_size_of_what_is_returned():
    got = download(**SMALL)
    assert isinstance(got, Download)
    assert memory_need(**SMALL).result_bytes == len(got.data)
