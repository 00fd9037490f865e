"""Kafka's record batches (format v2) as columns: what is in fetched ones, and ones to send.

Reading takes two passes: `index_records` walks every record of many batches and notes where its
parts lie, `gather` copies one part of all records together, as Arrow holds binary columns. Nothing
that was read is believed before it is checked against what is there: what is damaged is a status,
never a record, and nothing outside of its own record is looked at.

Writing takes two passes as well: `cut_batches` computes the exact sizes and where the next batch
begins, `write_records` writes one batch. Rows are picked by number, so nothing is copied before.

Conventions: n records, b batches. Bytes are `uint8`; those that are only read are passed read-only
(`octets`), so that a kernel is compiled for one type, whoever owns the memory. Format:
kafka.apache.org/documentation/#recordbatch; numbers are zigzag varints of at most 5 bytes, those of
timestamps of at most 10.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

# The least that a record takes: length, attributes, two deltas, no key, no value, no headers.
LEAST_RECORD = 7
HEADER = 61  # bytes of a batch before its first record
MOST_BYTES = 2**31 - 1  # of a binary column with offsets of 32 bits
LAST_MS = (2**63 - 1) // 1000  # the last millisecond that can be said in microseconds

OK, TRUNCATED, OVERLONG, NEGATIVE, LENGTH, REST, COUNT = range(7)
STATUS = (
    "well formed",
    "a record ends before its parts do",
    "a number has too many bytes",
    "a length or count below zero",
    "a record is longer than its parts",
    "bytes after the last record",
    "more records than there is room for",
)

# Rows of what `index_records` fills.
OFFSET, TIMESTAMP, KEY_AT, KEY_SIZE, VALUE_AT, VALUE_SIZE, HEADERS_AT, HEADERS_SIZE = range(8)


class Batches(NamedTuple):
    """What is known of batches before their records are read."""

    start: I64  # (b,) where the records begin, in what is read
    stop: I64  # (b,) and end
    records: I64  # (b,) how many; 0 of a batch that is to be passed over, with start = stop
    base_offset: I64  # (b,)
    next_offset: I64  # (b,) of what comes after the batch
    timestamp: I64  # (b,) ms that deltas are added to
    dated: Bool  # (b,) whether `timestamp` is that of all records, whatever their deltas say


class Column(NamedTuple):
    """A binary column of n rows, as Arrow holds it."""

    data: U8  # read-only
    ends: I32  # (n + 1,) row i is data[ends[i]:ends[i + 1]]; read-only; empty: no row has any
    present: Bool  # (n,) False where a row is null; empty: none is


def octets(buffer: Any) -> U8:
    """Return the bytes of any buffer, not copied, read-only."""
    view = np.frombuffer(buffer, np.uint8)
    view.setflags(write=False)
    return view


@njit(cache=True, inline="always", error_model="numpy")
def _varint(data, at, end, most):  # type: ignore[no-untyped-def]
    """Return a number of at most `most` bits and where the next thing begins, or minus a status."""
    rest, shift, after = np.uint64(0), 0, -TRUNCATED
    while at < end:
        octet = np.uint64(data[at])
        at += 1
        rest |= (octet & np.uint64(127)) << np.uint64(shift)
        # The last byte has only so many bits left.
        if shift + 7 > most and (octet >> np.uint64(most - shift)) != 0:
            after = -OVERLONG
            break
        if octet < 128:
            after = at
            break
        shift += 7
    return np.int64(rest >> np.uint64(1)) ^ -np.int64(rest & np.uint64(1)), after


@njit(cache=True, inline="always", error_model="numpy")
def _skipped(data, at, end):  # type: ignore[no-untyped-def]
    """Return the size of bytes that begin with it, negative of null, and where they end."""
    size, at = _varint(data, at, end, 32)
    if at >= 0 and size > 0:
        at = at + size if size <= end - at else -TRUNCATED
    return size, at


@njit(cache=True, nogil=True, error_model="numpy")
def _headers_end(data: U8, at: int, end: int, count: int) -> int:
    """Return where so many headers end, or minus a status."""
    for _ in range(count):
        size, at = _skipped(data, at, end)
        if at < 0:
            return at
        if size < 0:
            return -NEGATIVE
        _, at = _skipped(data, at, end)
        if at < 0:
            return at
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def _index(data: U8, batches: Batches, position: int, rows: I64) -> tuple[int, int, int]:
    start, stop, count = batches.start, batches.stop, batches.records
    base, following = batches.base_offset, batches.next_offset
    timestamp, dated = batches.timestamp, batches.dated
    kept = 0
    for b in range(start.size):
        at, last = start[b], stop[b]
        for _ in range(count[b]):
            size, at = _varint(data, at, last, 32)
            if at < 0:
                return -at, b, position
            if size < 0:
                return NEGATIVE, b, position
            if size == 0 or size > last - at:
                return TRUNCATED, b, position
            end = at + size
            stamp, at = _varint(data, at + 1, end, 64)  # behind the attributes, which say nothing
            if at < 0:
                return -at, b, position
            delta, at = _varint(data, at, end, 32)
            if at < 0:
                return -at, b, position
            key_size, at = _skipped(data, at, end)
            if at < 0:
                return -at, b, position
            key_end = at
            value_size, at = _skipped(data, at, end)
            if at < 0:
                return -at, b, position
            value_end = at
            headers, at = _varint(data, at, end, 32)
            if at < 0:
                return -at, b, position
            if headers < 0:
                return NEGATIVE, b, position
            headers_at = at - 1  # their number says nothing more than 0: one byte of it will do
            if headers > 0:
                headers_at = value_end
                at = _headers_end(data, at, end, headers)
                if at < 0:
                    return -at, b, position
            if at != end:
                return LENGTH, b, position
            if base[b] + delta < position:
                continue
            if kept == rows.shape[1]:
                return COUNT, b, position
            position = base[b] + delta + 1
            ms = timestamp[b] if dated[b] else timestamp[b] + stamp
            rows[OFFSET, kept] = base[b] + delta
            rows[TIMESTAMP, kept] = ms * 1000 if 0 <= ms <= LAST_MS else -1
            rows[KEY_AT, kept], rows[KEY_SIZE, kept] = key_end - max(key_size, 0), key_size
            rows[VALUE_AT, kept], rows[VALUE_SIZE, kept] = (
                value_end - max(value_size, 0),
                value_size,
            )
            rows[HEADERS_AT, kept], rows[HEADERS_SIZE, kept] = headers_at, end - headers_at
            kept += 1
        if at != last:
            return REST, b, position
        position = following[b]
    return OK, kept, position


def index_records(data: U8, batches: Batches, position: int) -> tuple[int, int, int, I64]:
    """Walk the records of batches and note where their parts lie.

    Parameters
    ----------
    data
        Read-only; the records as they are without compression.
    position
        Offset below which records are passed over. It follows each record that is kept and, behind
        a batch, is what comes after that.

    Returns
    -------
    tuple
        Status; the batch that is damaged, or the number of records that are kept; the position
        afterwards; and, shape (8, kept), their offsets, their timestamps in microseconds (-1 where
        there is none or it cannot be said), and where key, value and headers lie and their sizes
        (negative of null), by the names at the top of this module.
    """
    start, stop, count = batches.start, batches.stop, batches.records
    if start.size and (start.min() < 0 or stop.max() > data.size or (start > stop).any()):
        raise ValueError("Expected batches within the data.")
    for status, wrong in ((NEGATIVE, count < 0), (COUNT, count > (stop - start) // LEAST_RECORD)):
        if wrong.any():
            return status, int(wrong.argmax()), position, np.empty((8, 0), np.int64)
    rows = np.empty((8, int(count.sum())), np.int64)
    status, kept, position = _index(data, batches, position, rows)
    return status, kept, position, rows[:, : 0 if status else kept]


# Slices first: an index from the front of an array is looked at for being negative, byte by byte,
# which takes twenty times as long. Assigning a slice looks for overlaps, four times as long.
@njit(cache=True, inline="always", error_model="numpy")
def _put_bytes(out, at, data, low, size):  # type: ignore[no-untyped-def]
    """Write bytes; return where the next thing goes."""
    target, source = out[at : at + size], data[low : low + size]
    for k in range(size):
        target[k] = source[k]
    return at + size


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(data: U8, at: I64, ends: I32, out: U8) -> None:
    for i in range(at.size):
        _put_bytes(out, ends[i], data, at[i], ends[i + 1] - ends[i])


def gather(data: U8, at: I64, size: I64) -> tuple[I32, U8]:
    """Return the bytes data[at:at + size] of n rows, one behind the other.

    Parameters
    ----------
    at, size
        Shape (n,), within `data`, as `index_records` gives them; a negative size counts as 0.

    Returns
    -------
    tuple
        Where each row ends, (n + 1,) beginning with 0, and the bytes. Raises `ValueError` where
        there are more than such a column can hold.
    """
    ends = np.zeros(at.size + 1, np.int64)
    np.cumsum(np.maximum(size, 0), out=ends[1:])
    if ends[-1] > MOST_BYTES:
        raise ValueError(f"Expected at most {MOST_BYTES} bytes in a column, got {ends[-1]}.")
    narrow, out = ends.astype(np.int32), np.empty(ends[-1], np.uint8)
    _copy(data, np.ascontiguousarray(at), narrow, out)
    return narrow, out


@njit(cache=True, inline="always", error_model="numpy")
def _size_of(number):  # type: ignore[no-untyped-def]
    """Return how many bytes a number takes."""
    rest = np.uint64((number << 1) ^ (number >> 63)) >> np.uint64(7)
    size = 1
    while rest != 0:
        rest >>= np.uint64(7)
        size += 1
    return size


@njit(cache=True, inline="always", error_model="numpy")
def _part_size(ends, present, row, null):  # type: ignore[no-untyped-def]
    """Return the bytes of a key or value, `null` where there is none."""
    if ends.size == 0 or (present.size > 0 and not present[row]):
        return np.int64(null)
    return np.int64(ends[row + 1]) - np.int64(ends[row])


@njit(cache=True, inline="always", error_model="numpy")
def _body_size(stamp, delta, key, value, headers):  # type: ignore[no-untyped-def]
    """Return the bytes of a record behind its length."""
    size = 1 + _size_of(stamp) + _size_of(delta) + _size_of(key) + _size_of(value)
    return size + max(key, 0) + max(value, 0) + headers


@njit(cache=True, nogil=True, error_model="numpy")
def cut_batches(
    rows: I64, timestamp: I64, key: Column, value: Column, headers: Column, limit: int,
    stop: I64, size: I64,
) -> int:  # fmt: skip
    """Divide rows, in their order, into batches of at most `limit` bytes.

    Parameters
    ----------
    rows
        Which rows of the columns are sent, (n,).
    timestamp
        Of each row of the columns [ms].
    headers
        As on the wire, number first; of none, all have none.
    limit
        Bytes of a batch with its header; a row that is larger has a batch of its own.
    stop, size
        Shape (n,): behind which of `rows` each batch ends, and the bytes of its records.
        **Modified in place.**

    Returns
    -------
    int
        How many batches there are.
    """
    made, total, delta, first = 0, 0, 0, 0
    for i in range(rows.size):
        row = rows[i]
        key_size = _part_size(key.ends, key.present, row, -1)
        value_size = _part_size(value.ends, value.present, row, -1)
        headers_size = _part_size(headers.ends, headers.present, row, 1)
        if delta == 0:
            first = timestamp[row]
        body = _body_size(timestamp[row] - first, delta, key_size, value_size, headers_size)
        record = _size_of(body) + body
        if delta > 0 and HEADER + total + record > limit:
            stop[made], size[made] = i, total
            made, total, delta, first = made + 1, 0, 0, timestamp[row]
            body = _body_size(0, 0, key_size, value_size, headers_size)
            record = _size_of(body) + body
        total += record
        delta += 1
    if rows.size > 0:
        stop[made], size[made] = rows.size, total
        made += 1
    return made


@njit(cache=True, inline="always", error_model="numpy")
def _put(out, at, number):  # type: ignore[no-untyped-def]
    """Write a number; return where the next thing goes."""
    rest = np.uint64((number << 1) ^ (number >> 63))
    while rest > 127:
        out[at] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
        rest >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@njit(cache=True, nogil=True, error_model="numpy")
def write_records(
    rows: I64, timestamp: I64, key: Column, value: Column, headers: Column, out: U8
) -> int:
    """Write the records of one batch, `rows` of the columns, as in `cut_batches`.

    Parameters
    ----------
    out
        As many bytes as `cut_batches` says. **Modified in place.**

    Returns
    -------
    int
        How many bytes were written.
    """
    at = 0
    for i in range(rows.size):
        row = rows[i]
        stamp = timestamp[row] - timestamp[rows[0]]
        key_size = _part_size(key.ends, key.present, row, -1)
        value_size = _part_size(value.ends, value.present, row, -1)
        headers_size = _part_size(headers.ends, headers.present, row, 1)
        at = _put(out, at, _body_size(stamp, i, key_size, value_size, headers_size))
        out[at] = 0
        at = _put(out, at + 1, stamp)
        at = _put(out, at, i)
        at = _put(out, at, key_size)
        if key_size > 0:
            at = _put_bytes(out, at, key.data, key.ends[row], key_size)
        at = _put(out, at, value_size)
        if value_size > 0:
            at = _put_bytes(out, at, value.data, value.ends[row], value_size)
        if headers.ends.size > 0:
            at = _put_bytes(out, at, headers.data, headers.ends[row], headers_size)
        else:
            at = _put(out, at, 0)
    return at
