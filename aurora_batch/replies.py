"""What goes back to the broker for a batch: decisions in the form of their requests, dead letters.

One JSON request gets one JSON decision; an Arrow payload of many rows gets one Arrow payload with
the decisions of its valid rows, in their order. Each reply has the key of its request's record, and
its trace and event headers.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from aurora_batch.schema import (
    ARROW_CONTENT_TYPE,
    Decoded,
    Record,
    dead_letter_headers,
    dead_letter_value,
    encode_arrow,
    encode_json,
)
from aurora_batch.schema.arrow_reading import is_arrow

Headers = tuple[tuple[str, bytes], ...]
_ARROW = ("content-type", ARROW_CONTENT_TYPE.encode())


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
            value = encode_arrow(decisions.slice(low, high - low))
            headers = (_ARROW, *_travelling(record.headers))
            messages.append(Message(value, record.key, headers, record.partition))
    return messages


def _json(
    records: Sequence[Record], index: NDArray[np.int64], decisions: pa.Table
) -> list[Message]:
    asked = [records[i] for i in index.tolist()]
    headers: Iterable[Headers] = map(_travelling, map(attrgetter("headers"), asked))
    keys, partitions = map(attrgetter("key"), asked), map(attrgetter("partition"), asked)
    return list(map(Message, encode_json(decisions), keys, headers, partitions))


def _travelling(headers: Headers) -> Headers:
    """Headers of W3C Trace Context and CloudEvents, which belong to the decision as well."""
    if not headers:
        return ()
    return tuple(
        h for h in headers if h[0] in ("traceparent", "tracestate") or h[0].startswith("ce_")
    )


def dead_letter_messages(records: Sequence[Record], decoded: Decoded) -> list[Message]:
    """Return a message for each record, or row of an Arrow payload, that is no request."""
    return [
        Message(
            dead_letter_value(records[r.index], r),
            records[r.index].key,
            dead_letter_headers(records[r.index], r),
            records[r.index].partition,
        )
        for r in decoded.rejections
    ]
