"""Slow, obvious twins of the kernels of record batches, written from Kafka's documentation."""

from typing import NamedTuple


class Row(NamedTuple):
    """A record as its batch says it."""

    stamp: int
    delta: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[bytes, bytes | None]]


class Damaged(Exception):
    """What a reader may not believe."""


def varint(number: int) -> bytes:
    """Say a number, as Protocol Buffers say sint64."""
    rest, said = (number << 1) ^ (number >> 63), b""
    while rest > 127:
        said += bytes([rest & 127 | 128])
        rest >>= 7
    return said + bytes([rest])


def sized(part: bytes | None) -> bytes:
    """Say a size, then the bytes."""
    return varint(-1) if part is None else varint(len(part)) + part


def packed(headers: list[tuple[bytes, bytes | None]]) -> bytes:
    """Say headers."""
    return varint(len(headers)) + b"".join(sized(k) + sized(v) for k, v in headers)


def written(rows: list[Row]) -> bytes:
    """Say records."""
    said = b""
    for row in rows:
        body = b"\0" + varint(row.stamp) + varint(row.delta) + sized(row.key) + sized(row.value)
        body += packed(row.headers)
        said += varint(len(body)) + body
    return said


class Cursor:
    """Reads front to back, never beyond the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        """Take bytes."""
        if not 0 <= size <= len(self.data):
            raise Damaged
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, bits: int) -> int:
        """Take a number that was said in at most so many bits."""
        rest = shift = 0
        while True:
            octet = self.take(1)[0]
            rest |= (octet & 127) << shift
            shift += 7
            if shift >= bits + 7 or (octet < 128 and rest >= 2**bits):
                raise Damaged
            if octet < 128:
                return (rest >> 1) ^ -(rest & 1)

    def part(self) -> bytes | None:
        """Take bytes that begin with their size."""
        size = self.number(32)
        return None if size < 0 else self.take(size)


def read(data: bytes, count: int) -> list[tuple[int, int, bytes | None, bytes | None, bytes]]:
    """Return timestamp delta, offset delta, key, value and raw headers of each record."""
    section, found = Cursor(data), []
    if count < 0:
        raise Damaged
    for _ in range(count):
        body = Cursor(section.take(section.number(32)))
        body.take(1)
        stamp, delta, key, value = body.number(64), body.number(32), body.part(), body.part()
        rest = body.data
        headers = body.number(32)
        if headers < 0:
            raise Damaged
        for _ in range(headers):
            if body.part() is None:
                raise Damaged
            body.part()
        if body.data:
            raise Damaged
        found.append((stamp, delta, key, value, rest if headers else b"\0"))
    if section.data:
        raise Damaged
    return found
