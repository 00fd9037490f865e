"""Kafka records, one by one and as columns.

On the way of a micro-batch there is no object for a request: `Records` goes from the fetched bytes
to the rules, `Messages` from the encoded decisions to the bytes that are sent. Where one record
matters (a dead letter, a header that says how to read), it is made when somebody asks for it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, overload

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from aurora_batch.schema.buffers import buffers_of

I64 = NDArray[np.int64]
Headers = tuple[tuple[str, bytes], ...]

NO_HEADERS = b"\x00"  # how a record says that it has none: their number, a varint


# A struct, not a dataclass: a frozen dataclass takes ten times as long to make. It holds only bytes
# and text, so there is nothing for the garbage collector to follow.
class Record(Struct, frozen=True, gc=False):
    """One Kafka record: payload, key and coordinates."""

    value: bytes | None
    key: bytes | None = None
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp_us: int = -1  # UTC microseconds, -1 where there is none
    headers: Headers = ()


# `eq=False`: columns are compared by whoever knows what of them counts.
@dataclass(frozen=True, eq=False)
class Records(Sequence[Record]):
    """n records of one topic as columns; an item is a `Record` made for whoever asks.

    Neither the arrays nor what they point to may be written to.
    """

    topic: str
    partition: I64  # (n,)
    offset: I64  # (n,)
    timestamp_us: I64  # (n,) UTC microseconds, -1 where there is none
    key: pa.BinaryArray  # (n,) null where there is none
    value: pa.BinaryArray  # (n,) null where there is none
    headers: pa.BinaryArray | None = None  # (n,) as on the wire (`pack_headers`); None: nobody's

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Records":
        """Return records, all of one topic, as columns; those that are columns as they are."""
        if isinstance(records, Records):
            return records
        listed = list(records)
        headers = list(map(attrgetter("headers"), listed))
        return cls(
            listed[0].topic if listed else "",
            _column(listed, "partition"),
            _column(listed, "offset"),
            _column(listed, "timestamp_us"),
            pa.array(map(attrgetter("key"), listed), pa.binary()),
            pa.array(map(attrgetter("value"), listed), pa.binary()),
            pa.array(map(pack_headers, headers), pa.binary()) if any(headers) else None,
        )

    @classmethod
    def joined(cls, parts: Sequence["Records"]) -> "Records":
        """Return the records of all parts, one after the other."""
        parts = [part for part in parts if len(part)]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return NO_RECORDS
        return cls(
            parts[0].topic,
            np.concatenate([part.partition for part in parts]),
            np.concatenate([part.offset for part in parts]),
            np.concatenate([part.timestamp_us for part in parts]),
            pa.concat_arrays([part.key for part in parts]),
            pa.concat_arrays([part.value for part in parts]),
            _joined_headers([(part.headers, len(part)) for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.offset)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> "Records": ...
    def __getitem__(self, at: int | slice) -> "Record | Records":
        """Return a record; of a slice without a step, the columns of that part, not copied."""
        if isinstance(at, slice):
            low, high, step = at.indices(len(self))
            if step != 1:
                return self.take(np.arange(low, high, step))
            return self._each(lambda column: column[low:high])
        return Record(
            self.value[at].as_py(),
            self.key[at].as_py(),
            self.topic,
            int(self.partition[at]),
            int(self.offset[at]),
            int(self.timestamp_us[at]),
            () if self.headers is None else unpack_headers(self.headers[at].as_py()),
        )

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self)))

    def listed(self) -> list[Record]:
        """Return all of them one by one, faster than item by item."""
        kinds, which = self.kinds_of_headers()
        columns = (self.partition, self.offset, self.timestamp_us, which)
        of_each = zip(
            self.value.to_pylist(), self.key.to_pylist(), *(c.tolist() for c in columns),
            strict=True,
        )  # fmt: skip
        return [Record(v, k, self.topic, p, o, t, kinds[h]) for v, k, p, o, t, h in of_each]

    def take(self, rows: I64) -> "Records":
        """Return these records, in this order, copied."""
        if len(rows) == len(self) and bool((rows == np.arange(len(rows))).all()):
            return self
        at = pa.array(rows)
        return self._each(lambda c: c[rows] if isinstance(c, np.ndarray) else c.take(at))

    def _each(self, change: Callable[[Any], Any]) -> "Records":
        return Records(
            self.topic,
            change(self.partition),
            change(self.offset),
            change(self.timestamp_us),
            change(self.key),
            change(self.value),
            None if self.headers is None else change(self.headers),
        )

    def sizes(self) -> I64:
        """Return the bytes of each value, shape (n,), 0 of none."""
        return sizes_of(self.value)

    @property
    def bytes(self) -> int:
        """Bytes of all values together."""
        return bytes_of(self.value)

    def kinds_of_headers(self) -> tuple[list[Headers], I64]:
        """Return the different headers that there are, and which of them each record has, (n,)."""
        if self.headers is None:
            return [()], np.zeros(len(self), np.int64)
        encoded = self.headers.dictionary_encode()
        kinds = [unpack_headers(packed) for packed in encoded.dictionary.to_pylist()]
        return kinds, encoded.indices.to_numpy().astype(np.int64)


class Message(Struct, frozen=True, gc=False):
    """One record to send. Without a key it goes to the partition numbered like its request's."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int = 0


@dataclass(frozen=True, eq=False)
class Messages(Sequence[Message]):
    """n records to send as columns; an item is a `Message` made for whoever asks."""

    value: pa.BinaryArray  # (n,) null where there is none
    key: pa.BinaryArray  # (n,) null where there is none
    partition: I64  # (n,) of the request, taken where there is no key
    headers: pa.BinaryArray | None = None  # (n,) as on the wire; None: nobody's

    @classmethod
    def of(cls, messages: Iterable[Message]) -> "Messages":
        """Return messages as columns; those that are columns as they are."""
        if isinstance(messages, Messages):
            return messages
        listed = list(messages)
        headers = list(map(attrgetter("headers"), listed))
        return cls(
            pa.array(map(attrgetter("value"), listed), pa.binary()),
            pa.array(map(attrgetter("key"), listed), pa.binary()),
            _column(listed, "partition"),
            pa.array(map(pack_headers, headers), pa.binary()) if any(headers) else None,
        )

    @classmethod
    def joined(cls, parts: Sequence["Messages"]) -> "Messages":
        """Return the messages of all parts, one after the other."""
        parts = [part for part in parts if len(part)] or [cls.of(())]
        if len(parts) == 1:
            return parts[0]
        return cls(
            pa.concat_arrays([part.value for part in parts]),
            pa.concat_arrays([part.key for part in parts]),
            np.concatenate([part.partition for part in parts]),
            _joined_headers([(part.headers, len(part)) for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.partition)

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> "Messages": ...
    def __getitem__(self, at: int | slice) -> "Message | Messages":
        """Return a message; of a slice, the columns of that part."""
        if isinstance(at, slice):
            return self.take(np.arange(*at.indices(len(self))))
        return Message(
            self.value[at].as_py(),
            self.key[at].as_py(),
            () if self.headers is None else unpack_headers(self.headers[at].as_py()),
            int(self.partition[at]),
        )

    def __iter__(self) -> Iterator[Message]:
        return map(self.__getitem__, range(len(self)))

    def sizes(self) -> I64:
        """Return the bytes of value, key and headers of each, shape (n,)."""
        headers = 1 if self.headers is None else sizes_of(self.headers)
        return sizes_of(self.value) + sizes_of(self.key) + headers

    def with_headers(self, at: int, headers: Headers) -> "Messages":
        """Return them, the one at `at` with these headers."""
        packed = self.headers
        if packed is None:
            packed = pa.repeat(pa.scalar(NO_HEADERS, pa.binary()), len(self))
        said = pa.array([pack_headers(headers)], pa.binary())
        packed = pa.concat_arrays([packed[:at], said, packed[at + 1 :]])
        return Messages(self.value, self.key, self.partition, packed)

    def take(self, rows: I64) -> "Messages":
        """Return these messages, in this order, copied."""
        at = pa.array(rows)
        headers = None if self.headers is None else self.headers.take(at)
        return Messages(self.value.take(at), self.key.take(at), self.partition[rows], headers)


def sizes_of(values: pa.BinaryArray) -> I64:
    """Return the bytes of each value, shape (n,), 0 of null."""
    _, bounds, valid = buffers_of(values)
    return np.where(valid, np.diff(bounds), 0)


def bytes_of(values: pa.BinaryArray) -> int:
    """Return the bytes of all values together."""
    if values.null_count == len(values):
        return 0
    ends = np.frombuffer(values.buffers()[1], np.int32)  # null has none: nobody makes others
    return int(ends[values.offset + len(values)] - ends[values.offset])


def pack_headers(headers: Headers) -> bytes:
    """Return headers as a record of format v2 says them: their number, then each, with lengths."""
    if not headers:
        return NO_HEADERS
    return varint(len(headers)) + b"".join(pack_header(*header) for header in headers)


def pack_header(name: str, value: bytes | None) -> bytes:
    """Return one header as `pack_headers` says it, behind their number."""
    said = varint(-1) if value is None else varint(len(value)) + value
    return _named(name) + said


@lru_cache(1024)
def _named(name: str) -> bytes:
    key = name.encode()
    return varint(len(key)) + key


def unpack_headers(packed: bytes) -> Headers:
    """Return what `pack_headers` packed; a header without a value has an empty one.

    Raises `ValueError` where it is damaged.
    """
    if packed == NO_HEADERS:
        return ()
    count, at = _read_varint(packed, 0)
    headers = []
    for _ in range(count):
        size, at = _read_varint(packed, at)
        name, at = _part(packed, at, size)
        size, at = _read_varint(packed, at)
        value, at = _part(packed, at, max(size, 0))
        headers.append((name.decode(errors="replace"), value))
    if at != len(packed):
        raise ValueError("headers: bytes after the last one")
    return tuple(headers)


def _part(packed: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size < 0 or at + size > len(packed):
        raise ValueError("headers: a length beyond the end")
    return packed[at : at + size], at + size


@lru_cache(1024)
def varint(number: int) -> bytes:
    """Return a zigzag varint (Protocol Buffers, sint32)."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    octets = bytearray()
    while rest > 127:
        octets.append(rest & 127 | 128)
        rest >>= 7
    octets.append(rest)
    return bytes(octets)


def _read_varint(packed: bytes, at: int) -> tuple[int, int]:
    """Return a zigzag varint and where the next thing begins."""
    rest = shift = 0
    while True:
        if at >= len(packed) or shift > 28:
            raise ValueError("headers: a broken number")
        octet = packed[at]
        rest |= (octet & 127) << shift
        at, shift = at + 1, shift + 7
        if octet < 128:
            return (rest >> 1) ^ -(rest & 1), at


def _column(listed: Sequence[Struct], name: str) -> I64:
    return np.fromiter(map(attrgetter(name), listed), np.int64, len(listed))


def _joined_headers(parts: Sequence[tuple[pa.BinaryArray | None, int]]) -> pa.BinaryArray | None:
    if all(headers is None for headers, _ in parts):
        return None
    none = pa.scalar(NO_HEADERS, pa.binary())
    return pa.concat_arrays([pa.repeat(none, n) if h is None else h for h, n in parts])


NO_RECORDS = Records.of(())
