"""What goes back to the broker for a batch: decisions in the form of their requests, dead letters.

One JSON request gets one JSON decision; an Arrow payload of many rows gets one Arrow payload with
the decisions of its valid rows, in their order. Each reply has the key of its request's record, and
its trace and event headers.

No reply is larger than brokers take (`kafka.max_message_bytes`): one that is refused would come
back, and stop the shard, for ever. A request whose decision would be is a dead letter.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs
from numpy.typing import NDArray

from aurora_batch.model import Fault
from aurora_batch.schema import (
    ARROW_CONTENT_TYPE,
    Decisions,
    Decoded,
    Message,
    Messages,
    Record,
    Records,
    Rejection,
    dead_letter_headers,
    dead_letter_value,
    encode_arrow_each,
    encode_json,
    pack_dead_letter_headers,
)
from aurora_batch.schema.arrow_reading import arrow_rows, is_arrow
from aurora_batch.schema.records import Headers, pack_headers, sizes_of

_ARROW = ("content-type", ARROW_CONTENT_TYPE.encode())
MAX_VALUE = 900_000  # bytes
MAX_KEY = MAX_HEADERS = 50_000
MAX_MESSAGE = 2**20  # what any broker takes, unless configured otherwise
CUT = "aurora-cut-from-bytes"
CUT_BYTES = 64  # of that header
OVERHEAD = 256  # of a record and its batch, beside key, value and headers


def decision_messages(
    records: Records,
    index: NDArray[np.int64],
    decisions: Decisions,
    most: int = MAX_MESSAGE,
) -> Messages:
    """Return the messages that carry decisions back.

    Parameters
    ----------
    records
        The batch.
    index
        Record of each decision, shape (n,), ascending.
    decisions
        n rows.
    most
        Bytes of a message beyond which the decisions of an Arrow payload are split.
    """
    arrow = arrow_rows(records)
    if not arrow.size:
        return _json(records, index, decisions)
    if arrow.size == len(records):
        return _arrow(records, index, decisions.to_table(), most)
    packed, table = np.isin(index, arrow), decisions.to_table()
    plain = Decisions.of(table.filter(pa.array(~packed)))
    json = _json(records, index[~packed], plain)
    tables = _arrow(records, index[packed], table.filter(pa.array(packed)), most)
    return Messages.joined([json, tables])


def _arrow(records: Records, index: NDArray[np.int64], decisions: pa.Table, most: int) -> Messages:
    """Return one Arrow stream a record, several where it would be too large."""
    starts = np.flatnonzero(np.diff(index, prepend=-1))  # no record is number -1
    of = index[starts]
    key, headers = _short_keys(records.key.take(pa.array(of))), _arrow_headers(records, of)
    room = np.minimum(MAX_VALUE, most - OVERHEAD - sizes_of(key) - sizes_of(headers))
    bounds, whose = np.append(starts, len(index)), np.arange(len(of))
    while True:
        value = encode_arrow_each(decisions, bounds.tolist())
        rows = np.diff(bounds)
        large = (sizes_of(value) > room[whose]) & (rows > 1)
        if not large.any():
            break
        halves = bounds[:-1][large] + rows[large] // 2
        bounds = np.sort(np.concatenate([bounds, halves]))
        whose = np.repeat(whose, 1 + large)
    at = pa.array(whose)
    return Messages(value, key.take(at), records.partition[of[whose]], headers.take(at))


def _arrow_headers(records: Records, rows: NDArray[np.int64]) -> pa.BinaryArray:
    kinds, which = records.kinds_of_headers()
    packed = [pack_headers((_ARROW, *_travelling(kind))) for kind in kinds]
    return pa.array(packed, pa.binary()).take(pa.array(which[rows]))


def _short_keys(key: pa.BinaryArray) -> pa.BinaryArray:
    """Return keys without those that are too long to send back."""
    if (pc.max(pc.binary_length(key)).as_py() or 0) > MAX_KEY:
        return pc.if_else(pc.less_equal(pc.binary_length(key), MAX_KEY), key, None)
    return key


def oversized(
    records: Records,
    index: NDArray[np.int64],
    decisions: Decisions,
    messages: Messages,
    most: int,
) -> list[int]:
    """Return the rows of the decisions that no message of at most `most` bytes can carry.

    The first arguments are those of `decision_messages`, `messages` what it returned.
    """
    if bool((messages.sizes() + OVERHEAD <= most).all()):
        return []
    alone, table = np.zeros(1, np.int64), decisions.to_table()
    each = (Decisions.of(table.slice(row, 1)) for row in range(len(index)))
    return [
        row
        for row, (i, one) in enumerate(zip(index.tolist(), each, strict=True))
        for m in decision_messages(records[i : i + 1], alone, one, most)
        if size_of(m) > most
    ]


def without(records: Records, decoded: Decoded, rows: Sequence[int], most: int) -> Decoded:
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


def _row_within(records: Records, decoded: Decoded, row: int) -> int | None:
    """Return which row of its record's Arrow payload a request was, None of JSON."""
    index = int(decoded.index[row])
    if not is_arrow(records[index].headers):
        return None
    place = row - int(np.searchsorted(decoded.index, index))  # among the valid rows
    for rejection in decoded.rejections:  # ascending
        if rejection.index == index and rejection.row is not None and rejection.row <= place:
            place += 1
    return place


def _json(records: Records, index: NDArray[np.int64], decisions: Decisions) -> Messages:
    rows = pa.array(index)
    key = _short_keys(records.key if len(index) == len(records) else records.key.take(rows))
    headers = _all_travelling(records)
    headers = None if headers is None else headers.take(rows)
    return Messages(encode_json(decisions), key, records.partition[index], headers)


def _all_travelling(records: Records) -> pa.BinaryArray | None:
    """Return what of each record's headers goes with its decision; None where nothing does."""
    if records.headers is None:
        return None
    kinds, which = records.kinds_of_headers()
    chosen = list(map(_travelling, kinds))
    if not any(chosen):
        return None
    return pa.array(map(pack_headers, chosen), pa.binary()).take(pa.array(which))


def _travelling(headers: Headers) -> Headers:
    """Headers of W3C Trace Context and CloudEvents, which belong to the decision as well."""
    if not headers:
        return ()
    chosen = tuple(
        h for h in headers if h[0] in ("traceparent", "tracestate") or h[0].startswith("ce_")
    )
    return chosen if _size(chosen) <= MAX_HEADERS else ()


def _size(headers: Headers) -> int:
    return len(pack_headers(headers))


def size_of(m: Message) -> int:
    """Return about how many bytes a message takes on the broker, never too few."""
    return len(m.value or b"") + len(m.key or b"") + _size(m.headers) + OVERHEAD


def dead_letter_messages(records: Records, decoded: Decoded, most: int = MAX_MESSAGE) -> Messages:
    """Return a message for each record, or row of an Arrow payload, that is no request.

    None is larger than `most` bytes, which are at least 4,096.
    """
    if not decoded.rejections:
        return Messages.of(())
    rejections = decoded.rejections
    place = np.array([r.index for r in rejections], np.int64)
    bad, which = np.unique(place, return_inverse=True)
    died = records.take(bad)
    at = pa.array(which)
    if all(r.row is None for r in rejections):
        value = died.value.take(at)
    else:
        listed = died.listed()  # each made once: a payload of many bad rows is opened once
        made = map(dead_letter_value, map(listed.__getitem__, which.tolist()), rejections)
        value = pa.array(made, pa.binary())
    headers = pack_dead_letter_headers(died, which.tolist(), rejections)
    letters = Messages(
        value, died.key.take(at), died.partition[which], pa.array(headers, pa.binary())
    )
    large = np.flatnonzero(letters.sizes() + OVERHEAD + CUT_BYTES > min(MAX_KEY, most // 4))
    if not large.size:
        return letters
    rest = np.delete(np.arange(len(letters)), large)
    cut = [_cut(died[int(which[i])], value[i].as_py(), rejections[i], most) for i in large.tolist()]
    order = np.argsort(np.concatenate([rest, large]))
    return Messages.joined([letters.take(rest), Messages.of(cut)]).take(order)


def _cut(record: Record, value: bytes | None, rejection: Rejection, most: int) -> Message:
    """Return a letter of the bytes that were sent; of too many, the first ones and their number."""
    if record.headers and _size(record.headers) > min(MAX_HEADERS, most // 4):
        form = (_ARROW,) if is_arrow(record.headers) else ()  # without it nobody could read it
        record = structs.replace(record, headers=form)
    if record.key is not None and len(record.key) > min(MAX_KEY, most // 4):
        record = structs.replace(record, key=None)
    headers = dead_letter_headers(record, rejection)
    taken = len(record.key or b"") + _size(headers) + OVERHEAD + CUT_BYTES
    room = min(MAX_VALUE, most - taken)
    if value is not None and len(value) > room:
        headers = (*headers, (CUT, str(len(value)).encode()))
        value = value[:room]
    return Message(value, record.key, headers, record.partition)
