import zlib

import pytest

from stagebench.handlers.checksum import checksum


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_form_in_which_bytes_arrive_has_the_same_checksum(kind):
    assert checksum(upstream=kind(b"abc")) == zlib.adler32(b"abc")


def test_what_is_no_bytes_is_refused():
    with pytest.raises(TypeError, match="bytes-like"):
        checksum(upstream="abc")
