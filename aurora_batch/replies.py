"""What goes back to the broker for a batch: decisions in the form of their requests, dead letters.

One JSON request gets one JSON decision; an Arrow payload of many rows gets one Arrow payload with
the decisions of its valid rows, in their order. Each reply has the key of its request's record, and
its trace and event headers.

No reply is larger than any broker takes (1 MiB of a record batch, unless configured otherwise):
one that is refused would come back, and stop the shard, for ever.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa
from msgspec import Struct, structs
from numpy.typing import NDArray

from aurora_batch.schema import (
    ARROW_CONTENT_TYPE,
    Decoded,
    Record,
    Rejection,
    dead_letter_headers,
    dead_letter_value,
    encode_arrow,
    encode_json,
)
from aurora_batch.schema.arrow_reading import is_arrow

Headers = tuple[tuple[str, bytes], ...]
_ARROW = ("content-type", ARROW_CONTENT_TYPE.encode())
MAX_VALUE = 900_000  # bytes
MAX_KEY = MAX_HEADERS = 50_000


class Message(Struct, frozen=True, gc=False):
    """One record to send. Without a key it goes to the partition numbered like its request's."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int = 0


def decision_messages(
    records: Sequence[Record], index: NDArray[np.int64], decisions: pa.Table
) -> list[Message]:
    """Return the messages that carry decisions back.

    Parameters
    ----------
    records
        The batch.
    index
        Record of each decision, shape (n,), ascending.
    decisions
        `schema.DECISION_SCHEMA`, n rows.
    """
    arrow = [i for i, r in enumerate(records) if r.headers and is_arrow(r.headers)]
    if not arrow:
        return _json(records, index, decisions)
    packed = np.isin(index, arrow)
    messages = _json(records, index[~packed], decisions.filter(pa.array(~packed)))
    for i in arrow:
        low, high = np.searchsorted(index, [i, i + 1]).tolist()
        if low < high:
            record = records[i]
            headers = (_ARROW, *_travelling(record.headers))
            for value in _packed(decisions.slice(low, high - low)):
                messages.append(Message(value, _key(record), headers, record.partition))
    return messages


def _packed(decisions: pa.Table) -> list[bytes]:
    """Return decisions as one Arrow stream, as several where one would be too large."""
    value = encode_arrow(decisions)
    if len(value) <= MAX_VALUE or decisions.num_rows < 2:
        return [value]
    half = decisions.num_rows // 2
    return _packed(decisions.slice(0, half)) + _packed(decisions.slice(half))


def _json(
    records: Sequence[Record], index: NDArray[np.int64], decisions: pa.Table
) -> list[Message]:
    asked = [records[i] for i in index.tolist()]
    headers: Iterable[Headers] = map(_travelling, map(attrgetter("headers"), asked))
    partitions = map(attrgetter("partition"), asked)
    return list(map(Message, encode_json(decisions), map(_key, asked), headers, partitions))


def _key(record: Record) -> bytes | None:
    return None if record.key is not None and len(record.key) > MAX_KEY else record.key


def _travelling(headers: Headers) -> Headers:
    """Headers of W3C Trace Context and CloudEvents, which belong to the decision as well."""
    if not headers:
        return ()
    chosen = tuple(
        h for h in headers if h[0] in ("traceparent", "tracestate") or h[0].startswith("ce_")
    )
    return chosen if _size(chosen) <= MAX_HEADERS else ()


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)


def dead_letter_messages(records: Sequence[Record], decoded: Decoded) -> list[Message]:
    """Return a message for each record, or row of an Arrow payload, that is no request."""
    return [_dead_letter(records[r.index], r) for r in decoded.rejections]


def _dead_letter(record: Record, rejection: Rejection) -> Message:
    """Return the bytes that were sent; where they are too many, the first ones and their number."""
    value = dead_letter_value(record, rejection)
    if _size(record.headers) > MAX_HEADERS:
        form = (_ARROW,) if is_arrow(record.headers) else ()  # without it nobody could read it
        record = structs.replace(record, headers=form)
    headers = dead_letter_headers(record, rejection)
    if value is not None and len(value) > MAX_VALUE:
        headers = (*headers, ("aurora-cut-from-bytes", str(len(value)).encode()))
        value = value[:MAX_VALUE]
    return Message(value, _key(record), headers, record.partition)
