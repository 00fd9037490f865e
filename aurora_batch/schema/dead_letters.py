"""The form of a dead letter: what was sent, and in headers why and from where.

The value is the original payload and the key its key, so that a corrected producer, or a person,
can send it again. Of an Arrow payload only the bad row is kept, as a stream of that row alone.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.model import Fault
from aurora_batch.schema.arrow_reading import open_ipc
from aurora_batch.schema.columns import SCHEMA_VERSION, Rejection
from aurora_batch.schema.encoding import stream_of
from aurora_batch.schema.records import Headers, Record, Records, pack_header, varint

PREFIX = "aurora-"
# On a request that was a dead letter before: TOPIC:PARTITION:OFFSET[:ROW] of the original.
REDRIVEN_FROM = PREFIX + "redriven-from"
_VERSION = str(SCHEMA_VERSION)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dead_letter_headers(record: Record, rejection: Rejection) -> tuple[tuple[str, bytes], ...]:
    """Return the record's own headers and `aurora-reason`, `-detail`, coordinates and time.

    `aurora-` headers of an earlier death are replaced, but for where it was sent again from.
    """
    said = (
        ("aurora-reason", rejection.fault.value),
        ("aurora-detail", rejection.detail),
        ("aurora-topic", record.topic),
        ("aurora-partition", str(record.partition)),
        ("aurora-offset", str(record.offset)),
        ("aurora-row", None if rejection.row is None else str(rejection.row)),
        ("aurora-schema-version", _VERSION),
        ("aurora-timestamp", rfc3339(record.timestamp_us)),
    )
    return _own(record.headers) + tuple((name, text.encode()) for name, text in said if text)


def _own(headers: Headers) -> Headers:
    return tuple(h for h in headers if not h[0].startswith(PREFIX) or h[0] == REDRIVEN_FROM)


def pack_dead_letter_headers(
    records: Records, which: Sequence[int], rejections: Sequence[Rejection]
) -> list[bytes]:
    """Return `dead_letter_headers` packed, of rejection k of the record at `which[k]`.

    Where many come, this is most of what they cost: what letters have in common is packed once.
    """
    kinds, kind = records.kinds_of_headers()
    own = list(map(_packed_own, kinds))
    of_record = list(
        zip(
            (own[k] for k in kind.tolist()),
            records.partition.tolist(),
            (b"%d" % offset for offset in records.offset.tolist()),
            _times(records.timestamp_us),
            strict=True,
        )
    )
    packed = []
    for i, rejection in zip(which, rejections, strict=True):
        (count, mine), partition, offset, time = of_record[i]
        more, why = _why(rejection.fault, rejection.detail, records.topic, partition)
        count += more + bool(time)
        row = b""
        if rejection.row is not None:
            count, row = count + 1, pack_header("aurora-row", b"%d" % rejection.row)
        parts = varint(count), mine, why, _OFFSET, varint(len(offset)), offset, row, _SCHEMA, time
        packed.append(b"".join(parts))
    return packed


def _times(timestamp_us: NDArray[np.int64]) -> list[bytes]:
    """Return the packed header of each time, nothing of -1."""
    seconds, rest = np.divmod(timestamp_us, 10**6)
    return [
        b"%b%b.%06dZ" % (_TIME, _second(s), r) if s >= 0 else b""
        for s, r in zip(seconds.tolist(), rest.tolist(), strict=True)
    ]


@lru_cache(1024)
def _second(seconds: int) -> bytes:
    """Return UTC seconds as `rfc3339` begins."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19].encode()


@lru_cache(1024)
def _packed_own(headers: Headers) -> tuple[int, bytes]:
    own = _own(headers)
    return len(own), b"".join(pack_header(*header) for header in own)


@lru_cache(4096)
def _why(fault: Fault, detail: str, topic: str, partition: int) -> tuple[int, bytes]:
    """Return how many headers every letter of these has, and the first ones packed."""
    said = (
        ("aurora-reason", fault.value),
        ("aurora-detail", detail),
        ("aurora-topic", topic),
        ("aurora-partition", str(partition)),
    )
    packed = [pack_header(name, text.encode()) for name, text in said if text]
    return len(packed) + 2, b"".join(packed)  # and its offset and the version


_OFFSET = pack_header("aurora-offset", b"")[:-1]  # without the length
_SCHEMA = pack_header("aurora-schema-version", _VERSION.encode())
_TIME_SIZE = len("1970-01-01T00:00:00.000000Z")
_TIME = pack_header("aurora-timestamp", bytes(_TIME_SIZE))[:-_TIME_SIZE]


@lru_cache(1024)
def rfc3339(timestamp_us: int) -> str | None:
    """Return UTC microseconds as headers say them; None for -1, no time.

    >>> rfc3339(1_000_002)
    '1970-01-01T00:00:01.000002Z'
    """
    if timestamp_us < 0:
        return None
    time = _EPOCH + timedelta(microseconds=timestamp_us)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def microseconds(text: str | None) -> int:
    """Return a time as headers say it in UTC microseconds; -1 where there is none, or no time.

    >>> microseconds("1970-01-01T00:00:01.000002Z")
    1000002
    """
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return -1
    return (time.replace(tzinfo=time.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)


def dead_letter_value(record: Record, rejection: Rejection) -> bytes | None:
    """Return the record's value; of a row of an Arrow payload, a stream of that row alone."""
    if rejection.row is None:
        return record.value
    # Not a slice: its buffers, and a dictionary's, would carry other rows along.
    row = open_ipc(record.value).take(pa.array([rejection.row]))
    columns = [
        column.combine_chunks().dictionary_decode()
        if pa.types.is_dictionary(column.type)
        else column
        for column in row.columns
    ]
    return stream_of(pa.table(columns, names=row.column_names))
