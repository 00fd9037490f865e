"""Digests of a text and a number each, for thousands of short keys at once.

XXH3 with 128 bits, no seed, of keys of 17 to 128 bytes; the others are left to a library. As in
`XXH3_len_17to128_128b` of Y. Collet's xxHash, whose digests are stable since version 0.8.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

DIGITS = 32  # hexadecimal, of a digest
LEAST, MOST = 17, 128  # bytes of a key
_NUMBER = 19  # decimal digits of a number, at most

# The first 128 bytes of `XXH3_kSecret`, eight at a time.
_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    ),
    np.uint64,
).copy()
_PRIME_1, _PRIME_2, _PRIME_4, _PRIME_MX = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63, 0x165667919E3779F9)
)
_HALF, _LOW_HALF, _U0 = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(0)
_U4, _U8, _U15, _U37, _U60 = (np.uint64(x) for x in (4, 8, 15, 37, 60))
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).copy()


@njit(cache=True, nogil=True, error_model="numpy")
def digest_keys(octets: U8, bounds: I64, number: I64, out: U8, left: Bool) -> None:
    """Write the digest of each key, in hexadecimal: its text, a zero byte, its number in digits.

    Parameters
    ----------
    octets, bounds
        Text i is `octets[bounds[i]:bounds[i + 1]]`.
    number
        (n,)
    out
        (n, `DIGITS`) digits, as ASCII.
    left
        (n,) True where the key is not of `LEAST` to `MOST` bytes, or its number negative: nothing
        is written there.
    """
    key = np.zeros(MOST, np.uint8)
    for i in range(number.size):
        size = bounds[i + 1] - bounds[i]
        rest = number[i]
        digits = 1
        while digits < _NUMBER and rest >= 10**digits:
            digits += 1
        length = size + 1 + digits
        left[i] = rest < 0 or length < LEAST or length > MOST
        if left[i]:
            continue
        for k in range(size):
            key[k] = octets[bounds[i] + k]
        key[size] = 0
        for k in range(digits):
            key[length - 1 - k] = 48 + rest % 10
            rest //= 10
        low, high = _digest(key, length)
        for k in range(16):
            shift = _U60 - _U4 * np.uint64(k)
            out[i, k] = _HEX[(high >> shift) & _U15]
            out[i, 16 + k] = _HEX[(low >> shift) & _U15]


@njit(cache=True, nogil=True, error_model="numpy")
def _digest(key: U8, length: int) -> tuple[np.uint64, np.uint64]:
    """Return the low and the high half of the digest of the first bytes."""
    size = np.uint64(length)
    low, high = size * _PRIME_1, _U0
    for part in range((length - 1) // 32, -1, -1):  # from the middle outwards
        one, other = 16 * part, length - 16 * (part + 1)
        a, b = _word(key, one), _word(key, one + 8)
        c, d = _word(key, other), _word(key, other + 8)
        low = (low + _folded(a ^ _SECRET[4 * part], b ^ _SECRET[4 * part + 1])) ^ (c + d)
        high = (high + _folded(c ^ _SECRET[4 * part + 2], d ^ _SECRET[4 * part + 3])) ^ (a + b)
    mixed = low * _PRIME_1 + high * _PRIME_4 + size * _PRIME_2
    return _avalanche(low + high), _U0 - _avalanche(mixed)


@njit(cache=True, nogil=True, error_model="numpy")
def _word(key: U8, at: int) -> np.uint64:
    """Return eight bytes, the first one lowest."""
    word = _U0
    for k in range(8):
        word |= np.uint64(key[at + k]) << (_U8 * np.uint64(k))
    return word


@njit(cache=True, nogil=True, error_model="numpy")
def _folded(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return the high and the low 64 bits of a product, one upon the other."""
    a1, a0, b1, b0 = a >> _HALF, a & _LOW_HALF, b >> _HALF, b & _LOW_HALF
    cross = a0 * b0
    middle = a1 * b0 + (cross >> _HALF)
    other = a0 * b1 + (middle & _LOW_HALF)
    return (a1 * b1 + (middle >> _HALF) + (other >> _HALF)) ^ (a * b)


@njit(cache=True, nogil=True, error_model="numpy")
def _avalanche(word: np.uint64) -> np.uint64:
    word ^= word >> _U37
    word *= _PRIME_MX
    return word ^ (word >> _HALF)
