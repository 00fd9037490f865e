"""Digests of keys, beside the library whose digests they are."""

import numpy as np
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.digests import DIGITS, LEAST, MOST, digest_keys

KEYS = st.lists(st.tuples(st.binary(max_size=160), st.integers(-(2**63), 2**63 - 1)), max_size=20)


def key_of(text: bytes, number: int) -> bytes:
    """Return the key as one text."""
    return text + b"\0" + str(number).encode()


@settings(deadline=None)
@given(KEYS)
@example([(b"x" * size, 1_767_225_600_000_000) for size in range(MOST)])
@example([(b"", 0), (b"x" * 15, 0), (b"x" * 16, 9), (b"x" * 16, 10), (b"", 10**18)])
@example([(b"", 2**63 - 1), (b"x" * 126, 0), (b"x" * 127, 0), (b"\xff" * 60, -1)])
def test_digests_are_those_of_the_library(keys: list[tuple[bytes, int]]) -> None:
    """Every key of its sizes, whatever its bytes; the others are told."""
    octets = np.frombuffer(b"".join(text for text, _ in keys), np.uint8)
    bounds = np.cumsum([0, *(len(text) for text, _ in keys)])
    number = np.array([number for _, number in keys], np.int64)
    out, left = np.zeros((len(keys), DIGITS), np.uint8), np.zeros(len(keys), np.bool_)

    digest_keys(octets, bounds, number, out, left)

    expected = [n < 0 or not LEAST <= len(key_of(text, n)) <= MOST for text, n in keys]
    assert left.tolist() == expected
    for (text, n), written, skipped in zip(keys, out, left, strict=True):
        digest = xxhash.xxh3_128_hexdigest(key_of(text, n)).encode()
        assert written.tobytes() == (bytes(DIGITS) if skipped else digest)
