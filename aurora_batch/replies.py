"""What goes back to the broker for a batch: decisions in the form of their requests, dead letters.

One JSON request gets one JSON decision; an Arrow payload of many rows gets one Arrow payload with
the decisions of its valid rows, in their order. Each reply has the key of its request's record, and
its trace and event headers.

No reply is larger than brokers take (`kafka.max_message_bytes`): one that is refused would come
back, and stop the shard, for ever. A request whose decision would be is a dead letter.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa
from msgspec import structs
from numpy.typing import NDArray

from aurora_batch.model import Fault
from aurora_batch.schema import (
    ARROW_CONTENT_TYPE,
    Decoded,
    Message,
    Record,
    Rejection,
    dead_letter_headers,
    dead_letter_value,
    encode_arrow,
    encode_json,
)
from aurora_batch.schema.arrow_reading import is_arrow
from aurora_batch.schema.records import Headers

_ARROW = ("content-type", ARROW_CONTENT_TYPE.encode())
MAX_VALUE = 900_000  # bytes
MAX_KEY = MAX_HEADERS = 50_000
MAX_MESSAGE = 2**20  # what any broker takes, unless configured otherwise
CUT = "aurora-cut-from-bytes"
CUT_BYTES = 64  # of that header
OVERHEAD = 256  # of a record and its batch, beside key, value and headers


def decision_messages(
    records: Sequence[Record],
    index: NDArray[np.int64],
    decisions: pa.Table,
    most: int = MAX_MESSAGE,
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
    most
        Bytes of a message beyond which the decisions of an Arrow payload are split.
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
            bare = Message(None, _key(record), headers, record.partition)
            room = min(MAX_VALUE, most - size_of(bare))
            for value in _packed(decisions.slice(low, high - low), room):
                messages.append(structs.replace(bare, value=value))
    return messages


def _packed(decisions: pa.Table, room: int) -> list[bytes]:
    """Return decisions as one Arrow stream, as several where one would be too large."""
    value = encode_arrow(decisions)
    if len(value) <= room or decisions.num_rows < 2:
        return [value]
    half = decisions.num_rows // 2
    return _packed(decisions.slice(0, half), room) + _packed(decisions.slice(half), room)


def oversized(
    records: Sequence[Record],
    index: NDArray[np.int64],
    decisions: pa.Table,
    messages: Sequence[Message],
    most: int,
) -> list[int]:
    """Return the rows of the decisions that no message of at most `most` bytes can carry.

    The first arguments are those of `decision_messages`, `messages` what it returned.
    """
    room = most - OVERHEAD
    # Of ten thousand messages none may be worth a closer look.
    close = (m for m in messages if m.headers or len(m.value or b"") + len(m.key or b"") > room)
    if all(size_of(m) <= most for m in close):
        return []
    alone = np.zeros(1, np.int64)
    return [
        row
        for row, i in enumerate(index.tolist())
        for m in decision_messages([records[i]], alone, decisions.slice(row, 1), most)
        if size_of(m) > most
    ]


def without(records: Sequence[Record], decoded: Decoded, rows: Sequence[int], most: int) -> Decoded:
    """Return what was decoded with some of its requests rejected, as replies too large to send."""
    detail = f"reply: expected at most {most} bytes with its key and headers, got more"
    ids = decoded.requests["request_id"]
    rejections = [
        Rejection(
            int(decoded.index[row]),
            _row_within(records, decoded, row),
            Fault.REPLY_TOO_LARGE,
            detail,
            ids[row].as_py(),
        )
        for row in rows
    ]
    keep = np.ones(len(decoded.index), np.bool_)
    keep[rows] = False
    return Decoded(
        decoded.requests.filter(pa.array(keep)),
        decoded.index[keep],
        sorted(
            decoded.rejections + rejections, key=lambda r: (r.index, -1 if r.row is None else r.row)
        ),
        decoded.unknown_fields,
    )


def _row_within(records: Sequence[Record], decoded: Decoded, row: int) -> int | None:
    """Return which row of its record's Arrow payload a request was, None of JSON."""
    index = int(decoded.index[row])
    if not is_arrow(records[index].headers):
        return None
    place = row - int(np.searchsorted(decoded.index, index))  # among the valid rows
    for rejection in decoded.rejections:  # ascending
        if rejection.index == index and rejection.row is not None and rejection.row <= place:
            place += 1
    return place


def _json(
    records: Sequence[Record], index: NDArray[np.int64], decisions: pa.Table
) -> list[Message]:
    asked = [records[i] for i in index.tolist()]
    headers: Iterable[Headers] = map(_travelling, map(attrgetter("headers"), asked))
    partitions = map(attrgetter("partition"), asked)
    return list(
        map(Message, encode_json(decisions).to_pylist(), map(_key, asked), headers, partitions)
    )


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
    # Lengths of name and value are varints, of up to five bytes each; mostly of two.
    return sum(len(name) + len(value or b"") + 10 for name, value in headers)


def size_of(m: Message) -> int:
    """Return about how many bytes a message takes on the broker, never too few."""
    return len(m.value or b"") + len(m.key or b"") + _size(m.headers) + OVERHEAD


def dead_letter_messages(
    records: Sequence[Record], decoded: Decoded, most: int = MAX_MESSAGE
) -> list[Message]:
    """Return a message for each record, or row of an Arrow payload, that is no request.

    None is larger than `most` bytes, which are at least 4,096.
    """
    return [_dead_letter(records[r.index], r, most) for r in decoded.rejections]


def _dead_letter(record: Record, rejection: Rejection, most: int) -> Message:
    """Return the bytes that were sent; where they are too many, the first ones and their number."""
    value = dead_letter_value(record, rejection)
    if _size(record.headers) > min(MAX_HEADERS, most // 4):
        form = (_ARROW,) if is_arrow(record.headers) else ()  # without it nobody could read it
        record = structs.replace(record, headers=form)
    if record.key is not None and len(record.key) > min(MAX_KEY, most // 4):
        record = structs.replace(record, key=None)
    headers = dead_letter_headers(record, rejection)
    room = min(MAX_VALUE, most - size_of(Message(None, record.key, headers)) - CUT_BYTES)
    if value is not None and len(value) > room:
        headers = (*headers, (CUT, str(len(value)).encode()))
        value = value[:room]
    return Message(value, record.key, headers, record.partition)
