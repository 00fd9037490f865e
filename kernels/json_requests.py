"""Plain requests in JSON, read straight from bytes into columns.

A row is *plain* where nothing about it needs a second thought: one object of known members, none of
them twice; strings of printable ASCII without escapes; numbers without a sign, of at most 19 digits
and an ordinary exponent; times in the usual form; no value out of its bounds. Every other row is
left to a whole JSON decoder and the rules, so that a doubt here costs time and never changes an
answer.

Decimal numbers become the nearest double by Eisel and Lemire's method (D. Lemire, "Number parsing
at a gigabyte per second", Software: Practice and Experience 51, 2021, doi 10.1002/spe.2984), within
the powers of ten for which its 128-bit product is shown there to decide every case.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

# What a member's value may be.
TEXT, NAMES, NUMBER, TIME, PARTS = range(5)  # NAMES: a text or a list; PARTS: an object of numbers

QUOTE, BACKSLASH, COMMA, COLON, DOT, MINUS, PLUS, BAR = (ord(c) for c in '"\\,:.-+|')
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = (ord(c) for c in "{}[]")
BLANK, TAB, LINE, RETURN, TILDE = 32, 9, 10, 13, 126
ZERO, NINE, LETTER_E, SMALL_E, LETTER_N = (ord(c) for c in "09Een")
LETTER_T, SMALL_T, LETTER_Z, SMALL_Z = (ord(c) for c in "TtZz")

# 5**q fits into 128 bits up to 55, and 5**27 into 64: between, the product decides every case.
LEAST_POWER, MOST_POWER = -27, 55
DIGITS = 19  # as many always fit into 64 bits

_HALF, _LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
_U0, _U1, _U3, _U10, _U63 = (np.uint64(x) for x in (0, 1, 3, 10, 63))


def _powers() -> U64:
    """Return 5**q as 128 bits, high and low half, the highest bit set; rounded up where q < 0."""
    rows = []
    for q in range(LEAST_POWER, MOST_POWER + 1):
        if q < 0:
            bits = 2 ** ((5**-q - 1).bit_length() + 127) // 5**-q + 1
        else:
            bits = 5**q << (128 - (5**q).bit_length())
        rows.append((bits >> 64, bits & (2**64 - 1)))
    return np.array(rows, np.uint64)


_POWERS = _powers()


class Form(NamedTuple):
    """The members of a request, then those of its object of numbers."""

    names: U8  # (m, w) padded with 0
    sizes: I64  # (m,) bytes of each name
    kind: I64  # (m,) TEXT .. PARTS
    column: I64  # (m,) which of the columns of its kind
    longest: I64  # (texts,) bytes of a text; it has one at least
    least: U64  # (numbers,) bits of the smallest number, as a float64 >= 0
    most: U64  # (numbers,) and of the largest
    members: int  # how many of them are the request's own
    required: int  # bit k: member k must say something


class Plain(NamedTuple):
    """Where plain rows are written to, one after the other; owned by the caller."""

    row: I64  # (n,) the row that each was
    data: U8  # (texts, bytes of all rows)
    ends: I32  # (texts, n + 1)
    has_text: Bool  # (texts, n)
    number: U64  # (numbers, n) the bits of a float64, 0 where there is none
    has_number: Bool  # (numbers, n)
    time: I64  # (n,) UTC microseconds
    has_time: Bool  # (n,)


# One function, arrays as locals: an array that is taken out of a tuple costs two atomic operations.
@njit(cache=True, nogil=True, error_model="numpy")
def read_plain(
    octets: U8, ends: I64, valid: Bool, form: Form, most: int, time_to: int, out: Plain
) -> int:
    """Read the plain rows and return how many they are.

    `octets` are the bytes of all rows, row i those from `ends[i]` to `ends[i + 1]`; `valid`, shape
    (n,), is False for a row without a value. Rows of more than `most` bytes are not plain, nor
    are times outside 0 to `time_to` microseconds (exclusive).
    """
    names, sizes, kinds, columns = form.names, form.sizes, form.kind, form.column
    data, text_ends, has_text = out.data, out.ends, out.has_text
    number, has_number, time, has_time = out.number, out.has_number, out.time, out.has_time
    longest, lowest, highest = form.longest, form.least, form.most
    members, everything = form.members, sizes.size
    size = 0
    follows = np.arange(everything + 1)  # which member came last after each; [0]: at the beginning
    for i in range(valid.size):
        at, end = ends[i], ends[i + 1]
        if not valid[i] or end - at > most:
            continue
        for j in range(has_text.shape[0]):
            has_text[j, size] = False
            text_ends[j, size + 1] = text_ends[j, size]
        for j in range(has_number.shape[0]):
            has_number[j, size] = False
            number[j, size] = _U0
        has_time[size], time[size] = False, 0
        at = _space(octets, at, end)
        if at >= end or octets[at] != OPEN:
            continue
        at = _space(octets, at + 1, end)
        # No literal: for one, `_member` is compiled once more.
        seen, said, k, outer, first, last = 0, 0, -1, -1, int(np.int64(0)), members
        plain, parts = False, _U0
        while True:  # at a member, of the request or of its object of numbers
            before = k + 1
            k = _member(octets, at, end, names, sizes, follows[before], first, last)
            if k < 0 or seen >> k & 1:
                break
            follows[before] = k
            seen |= 1 << k
            at = _space(octets, at + sizes[k] + 2, end)
            if at >= end or octets[at] != COLON:
                break
            at = _space(octets, at + 1, end)
            if at >= end:
                break
            kind, column, octet = kinds[k], columns[k], octets[at]
            if octet == LETTER_N:
                at = _null(octets, at, end)
            elif kind == NUMBER:
                said |= 1 << k
                has_number[column, size] = True
                bits, at = _number(octets, at, end)
                if bits < lowest[column] or bits > highest[column]:
                    break
                number[column, size] = bits
                parts |= bits
            elif kind == TIME:
                has_time[size] = True
                time[size], at = _time(octets, at + 1, end)
                if octet != QUOTE or at >= end or octets[at] != QUOTE or time[size] >= time_to:
                    break
                at += 1
            elif kind == PARTS:
                if octet != OPEN:
                    break
                at = _space(octets, at + 1, end)
                if at < end and octets[at] != CLOSE:
                    outer, k, first, last = k, members - 1, members, everything
                    parts = _U0
                    continue
                at += 1
            else:
                said |= 1 << k
                has_text[column, size] = True
                listed = kind == NAMES and octet == OPEN_LIST
                if listed:
                    at = _space(octets, at + 1, end)
                if listed and at < end and octets[at] == CLOSE_LIST:
                    at += 1
                else:
                    to = text_ends[column, size]
                    while True:  # at a string
                        stop = _string(octets, at, end)
                        if stop < 0:
                            break
                        for x in range(at + 1, stop):
                            data[column, to] = octets[x]
                            to += 1
                        at = stop + 1
                        if not listed:
                            break
                        at = _space(octets, at, end)
                        if at >= end or octets[at] != COMMA:
                            break
                        data[column, to] = BAR
                        to += 1
                        at = _space(octets, at + 1, end)
                    if stop < 0 or (listed and (at >= end or octets[at] != CLOSE_LIST)):
                        break
                    at += listed
                    text_ends[column, size + 1] = to
                # Space around a name is for the rules, and so is what may be no name at all.
                begin, to = text_ends[column, size], text_ends[column, size + 1]
                if to == begin or to - begin > longest[column]:
                    break
                head = data[column, begin]
                if data[column, to - 1] == BLANK or head < ZERO or head == BAR:
                    break
            if at < 0:
                break
            at = _space(octets, at, end)
            if first > 0 and at < end and octets[at] == CLOSE:
                if parts == _U0:
                    break
                k, first, last = outer, 0, members
                at = _space(octets, at + 1, end)
            if at >= end:
                break
            if octets[at] == CLOSE and first == 0:
                done = _space(octets, at + 1, end) == end
                plain = done and said & form.required == form.required
                break
            if octets[at] != COMMA:
                break
            at = _space(octets, at + 1, end)
        if plain:
            out.row[size] = i
            size += 1
    return size


@njit(cache=True, nogil=True, error_model="numpy")
def read_times(octets: U8, ends: I64, valid: Bool, out: I64) -> None:
    """Write the RFC 3339 times of texts as UTC microseconds; -1 for what is no usual one.

    Row i is from `ends[i]` to `ends[i + 1]`; `valid` and `out` are (n,).
    """
    for i in range(valid.size):
        out[i] = -1
        if valid[i]:
            time, at = _time(octets, ends[i], ends[i + 1])
            if at == ends[i + 1]:
                out[i] = time


@njit(cache=True, nogil=True, error_model="numpy")
def _space(octets: U8, at: int, end: int) -> int:
    """Return where the white space that begins here ends."""
    while at < end and (
        octets[at] == BLANK or octets[at] == LINE or octets[at] == TAB or octets[at] == RETURN
    ):
        at += 1
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def _null(octets: U8, at: int, end: int) -> int:
    """Return where a null ends that begins here, else -1."""
    if at + 4 > end or octets[at] != 110 or octets[at + 1] != 117:
        return -1
    return at + 4 if octets[at + 2] == 108 and octets[at + 3] == 108 else -1


@njit(cache=True, nogil=True, error_model="numpy")
def _member(
    octets: U8, at: int, end: int, names: U8, sizes: I64, guess: int, first: int, last: int
) -> int:
    """Return which of the members from `first` to `last` is named here, -1 if none.

    Looks first at `guess`: members mostly come in one order.
    """
    if at >= end or octets[at] != QUOTE:
        return -1
    at += 1
    k = guess if first <= guess < last else first
    for _ in range(last - first):
        size = sizes[k]
        if at + size < end and octets[at + size] == QUOTE:
            same = 0
            while same < size and octets[at + same] == names[k, same]:
                same += 1
            if same == size:
                return k
        k = k + 1 if k + 1 < last else first
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _string(octets: U8, at: int, end: int) -> int:
    """Return where the string that begins here has its closing quote, -1 if it is not plain."""
    if at >= end or octets[at] != QUOTE:
        return -1
    at += 1
    while at < end and octets[at] != QUOTE:
        if octets[at] < BLANK or octets[at] > TILDE or octets[at] == BACKSLASH:
            return -1
        at += 1
    return at if at < end else -1


@njit(cache=True, nogil=True, error_model="numpy")
def _number(octets: U8, at: int, end: int) -> tuple[np.uint64, int]:
    """Return the bits of the double next to the number here and where it ends, -1 if not plain."""
    mantissa, digits, power = _U0, 0, 0
    begin = at
    while at < end and ZERO <= octets[at] <= NINE:
        mantissa = mantissa * _U10 + np.uint64(octets[at] - ZERO)
        digits += digits > 0 or octets[at] != ZERO
        at += 1
    if at == begin or (octets[begin] == ZERO and at > begin + 1):
        return _U0, -1
    if at < end and octets[at] == DOT:
        at += 1
        begin = at
        while at < end and ZERO <= octets[at] <= NINE:
            mantissa = mantissa * _U10 + np.uint64(octets[at] - ZERO)
            digits += digits > 0 or octets[at] != ZERO
            at += 1
        power = begin - at
        if power == 0:
            return _U0, -1
    if digits > DIGITS:
        return _U0, -1
    if at < end and (octets[at] == LETTER_E or octets[at] == SMALL_E):
        at += 1
        down = at < end and octets[at] == MINUS
        if at < end and (octets[at] == MINUS or octets[at] == PLUS):
            at += 1
        begin, said = at, 0
        while at < end and ZERO <= octets[at] <= NINE and at < begin + 4:
            said = said * 10 + (octets[at] - ZERO)
            at += 1
        if at == begin:
            return _U0, -1
        power += -said if down else said
    if mantissa == _U0:
        return _U0, at
    if power < LEAST_POWER or power > MOST_POWER:
        return _U0, -1
    return nearest(mantissa, power), at


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(mantissa: np.uint64, power: int) -> np.uint64:
    """Return the bits of the double next to mantissa x 10**power, ties to even.

    `mantissa` is at least 1, `power` from LEAST_POWER to MOST_POWER: the result is never 0,
    subnormal or infinite.
    """
    zeros = 0
    for step in (32, 16, 8, 4, 2, 1):
        if mantissa >> np.uint64(64 - step) == _U0:
            mantissa <<= np.uint64(step)
            zeros += step
    high, low = _product(mantissa, _POWERS[power - LEAST_POWER, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        more, _ = _product(mantissa, _POWERS[power - LEAST_POWER, 1])
        low += more
        if low < more:
            high += _U1
    upper = high >> _U63
    shift = upper + np.uint64(9)
    bits = high >> shift  # 54 of them: one more than a double has
    exponent = ((217706 * power) >> 16) + 63 + np.int64(upper) - zeros + 1023
    # Exactly between two doubles, which only small powers can be: to the even one.
    halfway = low <= _U1 and -4 <= power <= 23 and bits & _U3 == _U1 and bits << shift == high
    if halfway:
        bits -= _U1
    bits = (bits + (bits & _U1)) >> _U1
    if bits >> np.uint64(53) != _U0:
        bits >>= _U1
        exponent += 1
    return (bits & np.uint64(0xFFFFFFFFFFFFF)) | (np.uint64(exponent) << np.uint64(52))


@njit(cache=True, nogil=True, error_model="numpy")
def _product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the high and the low 64 bits of a product."""
    a1, a0, b1, b0 = a >> _HALF, a & _LOW_HALF, b >> _HALF, b & _LOW_HALF
    cross = a0 * b0
    middle = a1 * b0 + (cross >> _HALF)
    other = a0 * b1 + (middle & _LOW_HALF)
    return a1 * b1 + (middle >> _HALF) + (other >> _HALF), a * b


@njit(cache=True, nogil=True, error_model="numpy")
def _pair(octets: U8, at: int) -> int:
    """Return the number of two digits here, a large negative one where they are none."""
    tens, ones = int(octets[at]) - ZERO, int(octets[at + 1]) - ZERO
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else -1_000_000


@njit(cache=True, nogil=True, error_model="numpy")
def _time(octets: U8, at: int, end: int) -> tuple[int, int]:
    """Return the RFC 3339 time here in UTC microseconds, and where it ends.

    -1 and `end` where it is none, before 1970 or not of the usual form. A finer fraction is cut.
    """
    if at + 20 > end:
        return -1, end
    between = octets[at + 10]
    dashes = octets[at + 4] == MINUS and octets[at + 7] == MINUS
    colons = octets[at + 13] == COLON and octets[at + 16] == COLON
    if not (dashes and colons) or (between != LETTER_T and between != SMALL_T and between != BLANK):
        return -1, end
    year = _pair(octets, at) * 100 + _pair(octets, at + 2)
    month, day = _pair(octets, at + 5), _pair(octets, at + 8)
    hour, minute = _pair(octets, at + 11), _pair(octets, at + 14)
    second = _pair(octets, at + 17)
    if year < 1 or month < 1 or month > 12 or day < 1 or day > _days(year, month):
        return -1, end
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1, end
    at += 19
    micro, unit = 0, 100_000
    if octets[at] == DOT:
        begin = at + 1
        at = begin
        while at < end and ZERO <= octets[at] <= NINE:
            micro += unit * (octets[at] - ZERO)
            unit //= 10
            at += 1
        if at == begin or at > begin + 9:
            return -1, end
    ahead = 0
    if at < end and (octets[at] == LETTER_Z or octets[at] == SMALL_Z):
        at += 1
    elif at + 6 <= end and (octets[at] == PLUS or octets[at] == MINUS) and octets[at + 3] == COLON:
        hours, minutes = _pair(octets, at + 1), _pair(octets, at + 4)
        if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
            return -1, end
        ahead = hours * 60 + minutes
        if octets[at] == MINUS:
            ahead = -ahead
        at += 6
    else:
        return -1, end
    minutes = (_day_number(year, month, day) * 24 + hour) * 60 + minute - ahead
    if minutes < 0:
        return -1, end
    return (minutes * 60 + second) * 1_000_000 + micro, at


@njit(cache=True, nogil=True, error_model="numpy")
def _days(year: int, month: int) -> int:
    """Return how many days a month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 31 - (month == 4 or month == 6 or month == 9 or month == 11)


@njit(cache=True, nogil=True, error_model="numpy")
def _day_number(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 of a date of the Gregorian calendar."""
    # In years that begin in March the leap day is the last.
    if month < 3:
        year -= 1
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468
