"""Ids of decisions: the XXH3 hash, 128 bits, of `request id, NUL, event time`, as 32 hex digits.

Hashes texts of 17 to 128 bytes, which nearly all are, and leaves the others to a library; the tests
hold both to be the same. Algorithm: github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, XXH3,
medium inputs.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

DIGITS = 32  # of an id
SHORTEST, LONGEST = 17, 128  # bytes that are hashed here
_MOST_DIGITS = 20  # of an event time

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
_U0, _U4, _U8, _U10, _U16, _U20, _U32, _U37 = (np.uint64(x) for x in (0, 4, 8, 10, 16, 20, 32, 37))
_LOW_HALF = np.uint64(0xFFFFFFFF)
# Lanes of a word: each number is in its own, and what a step of arithmetic carries beyond is cut.
_TEN_TO_8, _TEN_TO_4 = np.uint64(10**8), np.uint64(10**4)
_HUNDRED, _PER_HUNDRED, _HUNDREDS = np.uint64(100), np.uint64(10486), np.uint64(0x7F_0000007F)
_PER_TEN, _TENS = np.uint64(103), np.uint64(0x000F_000F_000F_000F)
_LANES_OF_16, _LANES_OF_8 = np.uint64(0x0000FFFF_0000FFFF), np.uint64(0x00FF_00FF_00FF_00FF)
_ONES, _SIXES, _ZEROS = (np.uint64(x * 0x0101010101010101) for x in (1, 6, ord("0")))
_ZERO = np.uint8(ord("0"))
_TO_LETTERS = np.uint64(ord("a") - ord("0") - 10)


@intrinsic
def _word(typing: Any, text: Any, at: Any) -> Any:
    """Return the eight bytes text[at:at + 8] as a little-endian word."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature, args), align=1)

    return types.uint64(text, types.intp), generate


@intrinsic
def _store(typing: Any, text: Any, at: Any, word: Any) -> Any:
    """Write a word to text[at:at + 8]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature, args), align=1)
        return context.get_dummy_value()

    return types.none(text, types.intp, types.uint64), generate


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), ir.PointerType(ir.IntType(64)))


@intrinsic
def _folded(typing: Any, a: Any, b: Any) -> Any:
    """Return the halves of the product of 128 bits, one xor the other."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, half = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        upper = builder.trunc(builder.lshr(product, wide(64)), half)
        return builder.xor(upper, builder.trunc(product, half))

    return types.uint64(types.uint64, types.uint64), generate


@njit(cache=True, nogil=True, error_model="numpy")
def decision_ids(octets: U8, bounds: I64, event: I64, out: U8) -> Bool:
    """Write the id of each of n requests, and return which were not, (n,): see the module.

    Request ids are `octets[bounds[i]:bounds[i + 1]]`, event times microseconds, (n,), `out` is
    (32 n,).
    """
    n = event.size
    left = np.zeros(n, np.bool_)
    text = np.empty(LONGEST + _MOST_DIGITS, np.uint8)
    for i in range(n):
        size = bounds[i + 1] - bounds[i]
        if event[i] < 0 or size >= LONGEST:
            left[i] = True
            continue
        for x in range(size):
            text[x] = octets[bounds[i] + x]
        text[size] = 0
        length = _write_number(np.uint64(event[i]), text, size + 1)
        if length < SHORTEST or length > LONGEST:
            left[i] = True
            continue
        _hash(text, length, out, DIGITS * i)
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def _write_number(number: np.uint64, text: U8, at: int) -> int:
    """Write the digits of a number; return where they end."""
    upper = number // _TEN_TO_8
    if _TEN_TO_8 > upper >= _TEN_TO_8 // _U10:  # of sixteen digits, as times since 2001 are
        _store(text, at, _eight_digits(upper))  # type: ignore[call-arg]
        _store(text, at + 8, _eight_digits(number - upper * _TEN_TO_8))
        return at + 16
    end, rest = at + 1, number // _U10
    while rest > _U0:
        rest //= _U10
        end += 1
    for x in range(end - 1, at - 1, -1):
        rest = number // _U10
        text[x] = np.uint8(number - rest * _U10) + _ZERO
        number = rest
    return end


@njit(cache=True, nogil=True, error_model="numpy")
def _eight_digits(number: np.uint64) -> np.uint64:
    """Return a number below 10**8 as eight characters: halves, quarters, digits in their lanes."""
    upper = number // _TEN_TO_4
    lanes = upper | ((number - upper * _TEN_TO_4) << _U32)
    upper = ((lanes * _PER_HUNDRED) >> _U20) & _HUNDREDS
    lanes = upper | ((lanes - upper * _HUNDRED) << _U16)
    upper = ((lanes * _PER_TEN) >> _U10) & _TENS
    return (upper | ((lanes - upper * _U10) << _U8)) + _ZEROS


@njit(cache=True, nogil=True, error_model="numpy")
def _hash(text: U8, length: int, out: U8, at: int) -> None:
    low, high = np.uint64(length) * _PRIME_1, _U0
    for step in range((length - 1) // 32, -1, -1):
        one, two, secret = 16 * step, length - 16 * (step + 1), 4 * step
        a: np.uint64 = _word(text, one)  # type: ignore[call-arg]
        b: np.uint64 = _word(text, one + 8)
        c: np.uint64 = _word(text, two)
        d: np.uint64 = _word(text, two + 8)
        s = _SECRET[secret : secret + 4]
        low = (low + _folded(a ^ s[0], b ^ s[1])) ^ (c + d)
        high = (high + _folded(c ^ s[2], d ^ s[3])) ^ (a + b)
    first = low + high
    second = low * _PRIME_1 + high * _PRIME_4 + np.uint64(length) * _PRIME_2
    _write_hex(_U0 - _avalanche(second), out, at)
    _write_hex(_avalanche(first), out, at + 16)


@njit(cache=True, nogil=True, error_model="numpy")
def _avalanche(x: np.uint64) -> np.uint64:
    x ^= x >> _U37
    x *= _PRIME_MX
    return x ^ (x >> _U32)


@njit(cache=True, nogil=True, error_model="numpy")
def _write_hex(word: np.uint64, out: U8, at: int) -> None:
    _store(out, at, _eight_hex(word >> _U32))  # type: ignore[call-arg]
    _store(out, at + 8, _eight_hex(word & _LOW_HALF))


@njit(cache=True, nogil=True, error_model="numpy")
def _eight_hex(half: np.uint64) -> np.uint64:
    """Return 32 bits as eight hex digits, one in each byte, the highest in the lowest."""
    lanes = (half >> _U16) | (half << _U32)
    lanes &= _LANES_OF_16
    lanes = ((lanes >> _U8) | (lanes << _U16)) & _LANES_OF_8
    digits = ((lanes >> _U4) & _TENS) | ((lanes & _TENS) << _U8)
    letters = ((digits + _SIXES) >> _U4) & _ONES
    return digits + _ZEROS + letters * _TO_LETTERS
