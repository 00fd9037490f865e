"""Record batches (format v2) between bytes and columns; no connection, no client.

Codecs are aiokafka's, so that what is read here is what aiokafka would read. Its checksum works
with tables, and takes fifteen times as long as the processor's own instruction, which is used here.
Whoever calls this from a thread leaves the event loop free for most of the time: the walks over the
records hold no lock.
"""

import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cramjam
import numpy as np
import pyarrow as pa
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from crc32c import crc32c
from numpy.typing import NDArray

from aurora_batch.schema.records import Messages, Records
from kernels import recordbatch as kernel
from kernels.recordbatch import Batches, Column, octets

I64 = NDArray[np.int64]
Columns = tuple[Column, Column, Column]  # keys, values, headers

# Bytes before compression for each that a batch may have when it is sent: what is packed less
# tightly is cut again. A broker's answer to a batch costs as much whatever its size.
UNPACKED = 2
# Base offset, length, leader epoch, magic, checksum; attributes, last offset delta, first and
# largest timestamp, producer id and epoch, first sequence number, records.
_HEAD = struct.Struct(">qiibIhiqqqhii")
_LENGTH = struct.Struct(">i")
_CRC = struct.Struct(">I")
_BEFORE_LENGTH, _LENGTH_END, _MAGIC_AT, _CRC_AT, _CRC_FROM = 8, 12, 16, 17, 21
_CODEC, _APPENDED, _TRANSACTIONAL, _CONTROL = 7, 8, 16, 32
_DECODE = {1: codec.gzip_decode, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}
# Beside zstd's usual level 3, about as small in half of the time; Arrow's is faster than cramjam's.
_ZSTD = pa.Codec("zstd", compression_level=1)
_ENCODE = {
    1: codec.gzip_encode, 2: codec.snappy_encode,
    3: lambda body: codec.lz4_encode(bytes(body)),  # it takes nothing else
    4: _ZSTD.compress,
}  # fmt: skip
_DAMAGE = (OSError, EOFError, ValueError, struct.error, zlib.error, cramjam.DecompressionError)


@dataclass(frozen=True)
class Fetched:
    """What a broker answered for one partition."""

    topic: str
    partition: int
    raw: bytes
    position: int  # the offset that was asked for
    aborted: list[tuple[int, int]]  # producer id and first offset of aborted transactions
    committed: bool  # whether only committed records are wanted
    checked: bool  # whether checksums are


def decode(fetched: Fetched) -> tuple[Records, int] | None:
    """Return the records at and behind the position, and the position afterwards.

    None where the broker holds something older, or newer, than format v2. Raises
    `CorruptRecordException` where anything is damaged: then nothing of it counts.
    """
    where = f"{fetched.topic}/{fetched.partition}"
    try:
        found = _batches(fetched)
    except OverflowError as error:
        raise CorruptRecordException(f"{where}: an offset beyond all others") from error
    if found is None:
        return None
    data, batches = found
    status, kept, position, rows = kernel.index_records(data, batches, fetched.position)
    if status:
        raise CorruptRecordException(
            f"{where}, batch at {batches.base_offset[kept]}: {kernel.STATUS[status]}"
        )
    try:
        return _records(fetched, data, rows), position
    except ValueError as error:
        raise CorruptRecordException(f"{where}: {error}") from error


def _records(fetched: Fetched, data: Any, rows: I64) -> Records:
    n = rows.shape[1]
    headers = None
    if n and rows[kernel.HEADERS_SIZE].max() > 1:
        headers = _binary(data, rows[kernel.HEADERS_AT], rows[kernel.HEADERS_SIZE])
    return Records(
        fetched.topic,
        np.full(n, fetched.partition, np.int64),
        rows[kernel.OFFSET].copy(),  # not to keep all the rows
        rows[kernel.TIMESTAMP].copy(),
        _binary(data, rows[kernel.KEY_AT], rows[kernel.KEY_SIZE]),
        _binary(data, rows[kernel.VALUE_AT], rows[kernel.VALUE_SIZE]),
        headers,
    )


def _binary(data: Any, at: I64, size: I64) -> pa.BinaryArray:
    if size.size and size.max() < 0:
        return pa.nulls(len(size), pa.binary())
    ends, out = kernel.gather(data, at, size)
    absent = size < 0
    nulls = int(absent.sum())
    valid = pa.py_buffer(np.packbits(~absent, bitorder="little")) if nulls else None
    buffers = [valid, pa.py_buffer(ends), pa.py_buffer(out)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(at), buffers, nulls)


def _checksum(data: memoryview) -> int:
    """Return the CRC32C; keeps Python's lock: to get it back could take far longer than this."""
    return crc32c(data, gil_release_mode=0)


def _batches(fetched: Fetched) -> tuple[Any, Batches] | None:
    """Return the batches that are whole, and the bytes that their records lie in."""
    raw, at = fetched.raw, 0
    parts, end = [raw], len(raw)
    aborted = _Aborted(fetched.aborted)
    found: list[tuple[int, ...]] = []
    while len(raw) - at >= _LENGTH_END:
        stop = at + _LENGTH_END + _LENGTH.unpack_from(raw, at + _BEFORE_LENGTH)[0]
        if stop > len(raw):
            break  # the broker sends as many bytes as were asked for, not as many batches
        if stop > at + _MAGIC_AT and raw[at + _MAGIC_AT] != 2:
            return None
        if stop < at + kernel.HEADER:
            raise CorruptRecordException("a batch is shorter than its header")
        head = _HEAD.unpack_from(raw, at)
        if fetched.checked and _checksum(memoryview(raw)[at + _CRC_FROM : stop]) != head[4]:
            raise CorruptRecordException(
                f"Invalid CRC - {fetched.topic}/{fetched.partition}, batch at {head[0]}"
            )
        start, attributes, at = at + kernel.HEADER, head[5], stop
        skipped = fetched.committed and aborted.skips(head, raw, start, stop)
        count = head[12]
        if skipped or attributes & _CONTROL:
            start, stop, count = 0, 0, 0
        elif attributes & _CODEC:
            parts.append(_decompressed(attributes & _CODEC, raw[start:stop]))
            start, stop = end, end + len(parts[-1])
            end = stop
        said = head[8] if attributes & _APPENDED else head[7]
        after = head[0] + head[6] + 1
        found.append((start, stop, count, head[0], after, said, attributes & _APPENDED))
    columns = np.array(found, np.int64).reshape(-1, 7).T.copy()
    data = octets(raw if len(parts) == 1 else b"".join(parts))
    starts, stops, counts, bases, following, stamps, dated = columns
    return data, Batches(starts, stops, counts, bases, following, stamps, dated != 0)


class _Aborted:
    """Which producers' transactions are aborted where the reading is."""

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._ahead = deque(sorted(aborted, key=lambda pair: pair[1]))
        self._producers: set[int] = set()

    def skips(self, head: tuple[int, ...], raw: bytes, start: int, stop: int) -> bool:
        """Move on to a batch; return whether it belongs to an aborted transaction."""
        base, attributes, producer = head[0], head[5], head[9]
        while self._ahead and self._ahead[0][1] <= base:
            self._producers.add(self._ahead.popleft()[0])
        # Compaction may take the record of a marker and leave its batch.
        if attributes & _CONTROL and head[12] and _is_abort(raw, start, stop, head[12]):
            self._producers.discard(producer)
        return bool(attributes & _TRANSACTIONAL) and producer in self._producers


def _is_abort(raw: bytes, start: int, stop: int, count: int) -> bool:
    """Return whether a transaction was aborted, as the first of control records says."""
    one = np.ones(1, np.int64)
    batches = Batches(start * one, stop * one, count * one, 0 * one, one, one, one > 0)
    _, _, _, rows = kernel.index_records(octets(raw), batches, 0)
    if not rows.size or rows[kernel.KEY_SIZE, 0] < 4:
        raise CorruptRecordException("a marker of a transaction is damaged")
    at, size = rows[[kernel.KEY_AT, kernel.KEY_SIZE], 0].tolist()
    return bool(ControlRecord.parse(raw[at : at + size]) == ABORT_MARKER)


def _decompressed(codec_number: int, body: bytes) -> bytes:
    decoder = _DECODE.get(codec_number)
    if decoder is None:
        raise CorruptRecordException(f"there is no codec {codec_number}")
    try:
        return bytes(decoder(body))
    except _DAMAGE as error:
        raise CorruptRecordException(f"compressed records: {error!r}") from error


class ColumnBatch:
    """A record batch that `AIOKafkaProducer.send_batch` takes in place of its own builder.

    It is full from the beginning; the producer's id, epoch and sequence number come when it is
    sent, and the checksum after them.
    """

    def __init__(
        self, buffer: bytearray, count: int, attributes: int, first_ms: int, last_ms: int
    ) -> None:
        self._buffer = buffer
        self._count = count
        self._said = (attributes, count - 1, first_ms, last_ms)
        self._producer = (-1, -1, 0)
        self._built = False

    def append(self, **_: Any) -> None:
        """Take nothing more."""

    def close(self) -> None:
        """Do nothing: it is closed."""

    def closed(self) -> bool:
        """Return True."""
        return True

    def size(self) -> int:
        """Return the bytes of the batch."""
        return len(self._buffer)

    def record_count(self) -> int:
        """Return the number of records."""
        return self._count

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, epoch, base_sequence)

    def _build(self) -> bytearray:
        if not self._built:
            body = len(self._buffer) - _LENGTH_END
            _HEAD.pack_into(
                self._buffer, 0, 0, body, -1, 2, 0, *self._said, *self._producer, self._count
            )
            checksum = _checksum(memoryview(self._buffer)[_CRC_FROM:])
            _CRC.pack_into(self._buffer, _CRC_AT, checksum)
            self._built = True
        return self._buffer


def encode(
    messages: Messages, lanes: Sequence[I64], timestamp_ms: I64, limit: int, codec_number: int, *,
    transactional: bool,
) -> list[list[ColumnBatch]]:  # fmt: skip
    """Return messages as record batches, those of each lane.

    Parameters
    ----------
    lanes
        Which messages go to one partition, in this order, and which to another.
    timestamp_ms
        Of each of all messages, (n,).
    limit
        Bytes of a batch as it is sent; a message that is larger has a batch of its own.
    codec_number
        0: none.
    """
    stamps = np.array(timestamp_ms, np.int64)
    columns = column(messages.key), column(messages.value), column(messages.headers)
    attributes = _TRANSACTIONAL if transactional else 0
    lanes = [np.array(rows, np.int64) for rows in lanes]
    return [_encoded(rows, stamps, columns, limit, codec_number, attributes) for rows in lanes]


def _encoded(
    rows: I64, timestamp_ms: I64, columns: Columns, limit: int, codec_number: int, attributes: int
) -> list[ColumnBatch]:
    most = limit * (UNPACKED if codec_number else 1)
    batches = []
    for some, size in _cut(rows, timestamp_ms, columns, most):
        batch = _batch(some, size, timestamp_ms, columns, codec_number, attributes)
        if batch.size() <= limit or len(some) == 1:
            batches.append(batch)
            continue
        for part, of_part in _cut(some, timestamp_ms, columns, limit):
            batches.append(_batch(part, of_part, timestamp_ms, columns, codec_number, attributes))
    return batches


def _cut(rows: I64, timestamp_ms: I64, columns: Columns, most: int) -> Iterator[tuple[I64, int]]:
    """Yield the rows of each batch of at most so many bytes before compression, and the bytes."""
    stop, size = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    made = kernel.cut_batches(rows, timestamp_ms, *columns, most, stop, size)
    low = 0
    for high, octets_of in zip(stop[:made].tolist(), size[:made].tolist(), strict=True):
        yield rows[low:high], octets_of
        low = high


def _batch(
    rows: I64, octets_of: int, timestamp_ms: I64, columns: Columns, codec_number: int,
    attributes: int,
) -> ColumnBatch:  # fmt: skip
    buffer = bytearray(kernel.HEADER + octets_of)
    out = np.frombuffer(buffer, np.uint8)[kernel.HEADER :]
    kernel.write_records(rows, timestamp_ms, *columns, out)
    stamps = timestamp_ms[rows]
    buffer, used = _compressed(buffer, codec_number)
    return ColumnBatch(buffer, len(rows), attributes | used, int(stamps[0]), int(stamps.max()))


def _compressed(buffer: bytearray, codec_number: int) -> tuple[bytearray, int]:
    """Return a batch with its records compressed, where that makes it smaller, and the codec."""
    if codec_number:
        packed = _ENCODE[codec_number](memoryview(buffer)[kernel.HEADER :])
        if kernel.HEADER + len(packed) < len(buffer):
            return bytearray(kernel.HEADER) + packed, codec_number
    return buffer, 0


def column(array: pa.BinaryArray | None) -> Column:
    """Return an Arrow column as a kernel reads it, not copied (but for which rows are null)."""
    none = np.empty(0, np.bool_)
    if array is None or array.null_count == len(array):
        return Column(octets(b""), _ends(b"", 0, 0), none)
    _, ends, data = array.buffers()
    if array.null_count:
        none = np.ascontiguousarray(array.is_valid().to_numpy(zero_copy_only=False))
    return Column(
        octets(data if data is not None else b""), _ends(ends, array.offset, len(array) + 1), none
    )


def _ends(buffer: Any, low: int, count: int) -> NDArray[np.int32]:
    ends = np.frombuffer(buffer, np.int32)[low : low + count]
    ends.setflags(write=False)
    return ends
