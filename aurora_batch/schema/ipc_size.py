"""How many rows and bytes an Arrow IPC stream will take, read off its metadata.

A compressed buffer begins with its length once decompressed, which Arrow allocates before it looks
further: a kilobyte may ask for gigabytes. Layout: Message.fbs of the Arrow format, whose flat
buffers are read here as far as needed.
"""

import struct
from typing import Any

import pyarrow as pa

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # MessageHeader
_HEADER_TYPE, _HEADER = 1, 2  # Message
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3  # RecordBatch
_DATA = 1  # DictionaryBatch
_NOT_COMPRESSED = -1  # in place of a length


def unpacked_bytes(payload: bytes) -> tuple[int, int]:
    """Return rows and bytes that the stream says it holds; raises where it is no stream."""
    rows = size = 0
    for message in pa.ipc.MessageReader.open_stream(payload):
        meta = memoryview(message.metadata)
        try:
            kind, batch = _batch(meta)
            if batch is None:
                continue
            (length,) = (
                struct.unpack_from("<q", meta, at) if (at := _at(meta, batch, _LENGTH)) else (0,)
            )
            rows += length if kind == _RECORD_BATCH else 0
            size += _unpacked(meta, batch, message.body)
        except struct.error:
            raise ValueError("its metadata is damaged") from None
    return rows, size


def _at(meta: memoryview, table: int, field: int) -> int | None:
    """Return the position of a field of a flat-buffer table, None where it has its default."""
    (back,) = struct.unpack_from("<i", meta, table)
    (bytes_of_vtable,) = struct.unpack_from("<H", meta, table - back)
    slot = 4 + 2 * field
    if slot >= bytes_of_vtable:
        return None
    (offset,) = struct.unpack_from("<H", meta, table - back + slot)
    return table + offset if offset else None


def _table(meta: memoryview, table: int, field: int) -> int | None:
    """Return the position of the table or vector that a field points to."""
    at = _at(meta, table, field)
    return None if at is None else at + int(struct.unpack_from("<I", meta, at)[0])


def _batch(meta: memoryview) -> tuple[int, int | None]:
    (message,) = struct.unpack_from("<I", meta, 0)
    at = _at(meta, message, _HEADER_TYPE)
    kind = meta[at] if at is not None else 0
    header = _table(meta, message, _HEADER)
    if kind == _DICTIONARY_BATCH and header is not None:
        return kind, _table(meta, header, _DATA)
    return kind, header if kind == _RECORD_BATCH else None


def _unpacked(meta: memoryview, batch: int, body: Any) -> int:
    if _at(meta, batch, _COMPRESSION) is None or body is None:
        return body.size if body is not None else 0
    vector = _table(meta, batch, _BUFFERS)
    if vector is None:
        return 0
    (count,) = struct.unpack_from("<I", meta, vector)
    data, size = memoryview(body), 0
    for i in range(min(count, len(meta) // 16)):
        offset, length = struct.unpack_from("<qq", meta, vector + 4 + 16 * i)
        if length >= 8:
            (unpacked,) = struct.unpack_from("<q", data, offset)
            size += length if unpacked == _NOT_COMPRESSED else max(unpacked, 0)
    return size
