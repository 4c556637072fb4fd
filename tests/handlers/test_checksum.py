import zlib

import pytest

from stagebench.handlers.checksum import checksum


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_have_the_same_checksum_in_any_type(kind):
    assert checksum(upstream=kind(b"abc")) == zlib.adler32(b"abc")


def test_anything_but_bytes_is_refused():
    with pytest.raises(TypeError, match="bytes-like"):
        checksum(upstream="abc")
