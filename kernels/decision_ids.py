"""Ids of decisions: the XXH3 hash, 128 bits, of `request id, NUL, event time`, as 32 hex digits.

Hashes texts of 17 to 128 bytes, which nearly all are, and leaves the others to a library; the tests
hold both to be the same. Algorithm: github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, XXH3,
medium inputs.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

DIGITS = 32  # of an id
SHORTEST, LONGEST = 17, 128  # bytes that are hashed here
_MOST_DIGITS = 20  # of an event time

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
# The first 128 bytes of the default secret, as little-endian words.
_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    ),
    "<u8",
).astype(np.uint64)
_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_MX = np.uint64(0x165667919E3779F9)
_U0, _U10, _U32, _U37, _ZERO = (np.uint64(x) for x in (0, 10, 32, 37, 48))
_LOW_HALF = np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True, error_model="numpy")
def decision_ids(octets: U8, bounds: I64, event: I64, out: U8) -> Bool:
    """Write the id of each of n requests, and return which were not, (n,): see the module.

    Request ids are `octets[bounds[i]:bounds[i + 1]]`, event times microseconds, (n,), `out` is
    (32 n,).
    """
    n = event.size
    left = np.zeros(n, np.bool_)
    digits = np.empty(_MOST_DIGITS, np.uint8)
    text = np.empty(LONGEST, np.uint8)
    for i in range(n):
        time, count = np.uint64(event[i]), 0
        while count == 0 or time > _U0:
            rest = time // _U10
            digits[count] = _ZERO + (time - rest * _U10)
            time = rest
            count += 1
        size = bounds[i + 1] - bounds[i]
        length = size + 1 + count
        if event[i] < 0 or length < SHORTEST or length > LONGEST:
            left[i] = True
            continue
        for x in range(size):
            text[x] = octets[bounds[i] + x]
        text[size] = 0
        for x in range(count):
            text[length - 1 - x] = digits[x]
        _hash(text, length, out, DIGITS * i)
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def _hash(text: U8, length: int, out: U8, at: int) -> None:
    low, high = np.uint64(length) * _PRIME_1, _U0
    for step in range((length - 1) // 32, -1, -1):
        one, two, secret = 16 * step, length - 16 * (step + 1), 4 * step
        a, b = _word(text, one), _word(text, one + 8)
        c, d = _word(text, two), _word(text, two + 8)
        low = (low + _folded(a ^ _SECRET[secret], b ^ _SECRET[secret + 1])) ^ (c + d)
        high = (high + _folded(c ^ _SECRET[secret + 2], d ^ _SECRET[secret + 3])) ^ (a + b)
    first = low + high
    second = low * _PRIME_1 + high * _PRIME_4 + np.uint64(length) * _PRIME_2
    _write(_U0 - _avalanche(second), out, at)
    _write(_avalanche(first), out, at + 16)


@njit(cache=True, nogil=True, error_model="numpy")
def _word(text: U8, at: int) -> np.uint64:
    word = _U0
    for x in range(8):
        word |= np.uint64(text[at + x]) << np.uint64(8 * x)
    return word


@njit(cache=True, nogil=True, error_model="numpy")
def _folded(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return the halves of the product of 128 bits, one xor the other."""
    a_low, a_high, b_low, b_high = a & _LOW_HALF, a >> _U32, b & _LOW_HALF, b >> _U32
    low, high = a_low * b_low, a_high * b_high
    left, right = a_high * b_low, a_low * b_high
    middle = (low >> _U32) + (left & _LOW_HALF) + right
    upper = high + (left >> _U32) + (middle >> _U32)
    return upper ^ (a * b)


@njit(cache=True, nogil=True, error_model="numpy")
def _avalanche(x: np.uint64) -> np.uint64:
    x ^= x >> _U37
    x *= _PRIME_MX
    return x ^ (x >> _U32)


@njit(cache=True, nogil=True, error_model="numpy")
def _write(word: np.uint64, out: U8, at: int) -> None:
    for x in range(16):
        out[at + x] = _HEX[(word >> np.uint64(60 - 4 * x)) & np.uint64(15)]
