"""Decimal numbers become the nearest double, as Python's own `float` finds it."""

import struct

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.json_requests import LEAST_POWER, MOST_POWER, nearest


def double_of(mantissa: int, power: int) -> float:
    """What the kernel finds."""
    bits = int(nearest(np.uint64(mantissa), power))
    found: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return found


POWERS = st.integers(LEAST_POWER, MOST_POWER)


@settings(max_examples=600)
@given(st.integers(1, 10**19 - 1), POWERS)
@example(1, 0)
@example(10**19 - 1, MOST_POWER)
@example(2**53 + 1, 0)
@example(9007199254740993, 22)
def test_nearest_double(mantissa: int, power: int) -> None:
    """Any mantissa of 19 digits, any power of the table."""
    assert double_of(mantissa, power) == float(f"{mantissa}e{power}")


@settings(max_examples=400)
@given(st.integers(2**52, 2**53 - 1), st.integers(-4, 10), st.integers(-1, 1))
def test_halfway_between_two_doubles(fraction: int, shift: int, beside: int) -> None:
    """Exactly between two doubles, and the decimals on both sides of it."""
    numerator = 2 * fraction + 1
    power = 0
    if shift >= 0:
        mantissa = (numerator << shift) + beside
    else:
        mantissa, power = numerator * 5**-shift + beside, shift
    if 1 <= mantissa < 10**19 and power >= LEAST_POWER:
        assert double_of(mantissa, power) == float(f"{mantissa}e{power}")
