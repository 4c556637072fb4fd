import time

from stagebench.handlers.payload import memory_need, payload


def test_a_payload_has_the_requested_size_after_the_delay():
    started = time.perf_counter()
    block = payload(size_mib=0.5, delay_s=0.05)
    assert time.perf_counter() - started >= 0.05
    assert block == bytearray(512 * 1024)


def test_the_estimate_is_the_size():
    assert memory_need(size_mib=0.5, delay_s=0.0).result_bytes == 512 * 1024
