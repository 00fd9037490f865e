"""Arrow tables and IPC payloads to columns of the types of requests.

A payload is a stranger's: its types, rows and decompressed size are looked at before anything is
allocated for them, and its buffers are validated in full.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.model import ANY_OF, WEIGHTS, Fault
from aurora_batch.schema.blocks import Block, Unreadable, count_unknown
from aurora_batch.schema.columns import REQUEST_SCHEMA, WEIGHTS_TYPE, Rejection
from aurora_batch.schema.fields import (
    MAX_ARROW_BYTES,
    MAX_ARROW_ROWS,
    MAX_ARROW_UNPACKED,
    REQUIRED,
)
from aurora_batch.schema.ipc_size import unpacked_bytes
from aurora_batch.schema.records import Records
from aurora_batch.schema.rules import Columns
from aurora_batch.schema.times import Faults, from_text, from_timestamps

ARROW_CONTENT_TYPE = "application/vnd.apache.arrow.stream"
_FIELDS = {field.name for field in REQUEST_SCHEMA}
_GPU_LIST = "gpu_type: expected a list of names, got one without a name"


def is_arrow(headers: tuple[tuple[str, bytes], ...]) -> bool:
    """Whether the headers say that the payload is an Arrow IPC stream."""
    for name, value in headers:
        if name.lower() == "content-type":
            kind = (value or b"").split(b";")[0].strip().lower()
            return kind == ARROW_CONTENT_TYPE.encode()
    return False


def arrow_rows(records: Records) -> NDArray[np.int64]:
    """Return which records have an Arrow IPC stream as their payload, ascending."""
    if records.headers is None:
        return np.zeros(0, np.int64)
    kinds, which = records.kinds_of_headers()
    return np.flatnonzero(np.array(list(map(is_arrow, kinds)), np.bool_)[which])


def read_streams(
    values: pa.BinaryArray, at: Sequence[int], unknown: Counter[str]
) -> tuple[list[Block], list[Rejection]]:
    """Return the rows of Arrow IPC streams, records `at` of `values`, and who is none.

    Neighbours of one layout are read together: a call into Arrow, and there are hundreds, takes as
    long for 1,000 rows as for 10,000.
    """
    blocks: list[Block] = []
    rejections: list[Rejection] = []
    opened: list[tuple[int, pa.Table]] = []
    for i in at:
        try:
            opened.append((i, _opened(values[i].as_py())))
        except Unreadable as error:
            rejections.append(error.at(i))
    for run in _alike(opened):
        counted = unknown.copy()
        try:
            blocks.append(_block(run, counted))
            unknown |= counted
            continue
        except (Unreadable, pa.ArrowException):
            pass  # it may be the fault of one alone
        for one in run:
            try:
                blocks.append(_block([one], unknown))
            except Unreadable as error:
                rejections.append(error.at(one[0]))
    return blocks, rejections


def _alike(opened: list[tuple[int, pa.Table]]) -> Iterator[list[tuple[int, pa.Table]]]:
    """Yield runs of tables of the same types, each of a bounded size."""
    run: list[tuple[int, pa.Table]] = []
    rows = size = 0
    for one in opened:
        more_rows, more = one[1].num_rows, one[1].get_total_buffer_size()
        rows, size = rows + more_rows, size + more
        fits = rows <= MAX_ARROW_ROWS and size <= MAX_ARROW_UNPACKED
        if run and not (fits and run[-1][1].schema.equals(one[1].schema)):
            yield run
            run, rows, size = [], more_rows, more
        run.append(one)
    if run:
        yield run


def _block(run: list[tuple[int, pa.Table]], unknown: Counter[str]) -> Block:
    tables = [table for _, table in run]
    columns, faults = columns_of(pa.concat_tables(tables), unknown, trusted=False)
    sizes = [table.num_rows for table in tables]
    index = np.repeat(np.array([i for i, _ in run], np.int64), sizes)
    row = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes])
    return Block(columns, index, row, faults)


# Dead letters of single rows come back to one payload, row after row.
@lru_cache(maxsize=2)
def open_ipc(payload: bytes | None) -> pa.Table:
    """Return an IPC stream as a table of one chunk, validated in full; raises `Unreadable`."""
    return _opened(payload).combine_chunks()


def _opened(payload: bytes | None) -> pa.Table:
    if payload is None:
        raise Unreadable(Fault.MALFORMED, "payload: expected an Arrow stream, got none (tombstone)")
    if len(payload) > MAX_ARROW_BYTES:
        detail = f"payload: expected at most {MAX_ARROW_BYTES} bytes, got {len(payload)}"
        raise Unreadable(Fault.TOO_LARGE, detail)
    try:
        rows, size = unpacked_bytes(payload)
        if rows > MAX_ARROW_ROWS or size > MAX_ARROW_UNPACKED:
            detail = (
                f"payload: expected at most {MAX_ARROW_ROWS} rows and {MAX_ARROW_UNPACKED} bytes "
                f"unpacked, got {rows} rows, {size} bytes"
            )
            raise Unreadable(Fault.TOO_LARGE, detail)
        with pa.ipc.open_stream(payload) as reader:
            table = reader.read_all()
        table.validate(full=True)
        # One of a single chunk is not copied here.
        return table if all(c.num_chunks == 1 for c in table.columns) else table.combine_chunks()
    except (pa.ArrowException, OSError, ValueError) as error:
        why = (str(error).splitlines() or ["?"])[0][:80]
        raise Unreadable(Fault.MALFORMED, f"payload: not an Arrow IPC stream: {why}") from None


def columns_of(table: pa.Table, unknown: Counter[str], *, trusted: bool) -> tuple[Columns, Faults]:
    """Return the request's columns of a table, each one array, and the faults of its values.

    `trusted` tables (files, notebooks) may have times without a zone, which are UTC, and views;
    others may not. Raises `Unreadable` where a column is missing or of a wrong type.
    """
    names = table.column_names
    _check_names(names)
    if table.num_rows:
        count_unknown(unknown, (n for n in names if n not in _FIELDS), table.num_rows)
    columns: Columns = {}
    faults: Faults = {}
    for field in REQUEST_SCHEMA:
        if field.name not in names:
            columns[field.name] = pa.nulls(table.num_rows, field.type)
            continue
        column = _one(table[field.name])
        try:
            columns[field.name] = _cast(field.name, column, unknown, faults, trusted)
        except pa.ArrowException:
            raise _wrong(field.name, field.type, column) from None
    return columns, faults


def _check_names(names: list[str]) -> None:
    for name in sorted(_FIELDS.intersection(names)):
        if names.count(name) > 1:
            raise Unreadable(Fault.WRONG_TYPE, f"{name}: expected one column, got several")
    for name in REQUIRED:
        if name not in names:
            detail = f"{name}: expected a column of that name, got {len(names)} others"
            raise Unreadable(Fault.MISSING_FIELD, detail)


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return column.combine_chunks()


def _cast(
    name: str, column: pa.Array, unknown: Counter[str], faults: Faults, trusted: bool
) -> pa.Array:
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), REQUEST_SCHEMA.field(name).type)
    if name == "gpu_type" and _is_list(column.type):
        return _listed(column, faults, trusted)
    if name == "weights":
        return _weights(column, unknown)
    if name == "requested_at":
        times, bad = _times(column, trusted)
        faults |= bad
        return times
    if REQUEST_SCHEMA.field(name).type == pa.float64():
        return _number(name, column)
    return _text(name, column, trusted)


def _wrong(name: str, expected: Any, column: pa.Array) -> Unreadable:
    return Unreadable(Fault.WRONG_TYPE, f"{name}: expected {expected}, got {column.type}"[:200])


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _text(name: str, column: pa.Array, trusted: bool) -> pa.Array:
    """Cast to string; a dictionary of a few huge values must not become a huge column."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = _text(name, column.dictionary, trusted)
        longest = pc.max(pc.binary_length(values)).as_py() or 0
        if not trusted and longest * len(column) > MAX_ARROW_UNPACKED:
            detail = f"{name}: expected at most {MAX_ARROW_UNPACKED} bytes unpacked"
            raise Unreadable(Fault.TOO_LARGE, detail)
        return values.take(column.indices)
    plain = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not plain and not (trusted and pa.types.is_string_view(kind)):
        raise _wrong(name, pa.string(), column)
    return column.cast(pa.string())


def _number(name: str, column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False)  # integers beyond 2**53 round, as in JSON
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.float64())
    raise _wrong(name, pa.float64(), column)


def _listed(column: pa.Array, faults: Faults, trusted: bool) -> pa.Array:
    """Join lists of names; an empty list is an empty name, null in a list a fault."""
    names = pa.nulls(0, pa.string())
    if not pa.types.is_null(column.values.type):
        names = _text("gpu_type", column.values, trusted)
    elif len(column.values):
        names = pa.nulls(len(column.values), pa.string())
    kind = pa.large_list if pa.types.is_large_list(column.type) else pa.list_
    array = pa.LargeListArray if kind is pa.large_list else pa.ListArray
    lists = array.from_arrays(column.offsets, names, mask=column.is_null())
    text = pc.binary_join(lists, ANY_OF)
    nameless = pc.and_(text.is_null(), lists.is_valid())
    for row in pc.indices_nonzero(nameless).to_pylist():
        faults[row] = (Fault.WRONG_TYPE, _GPU_LIST)
    return text


def _weights(column: pa.Array, unknown: Counter[str]) -> pa.Array:
    if not pa.types.is_struct(column.type):
        raise _wrong("weights", WEIGHTS_TYPE, column)
    names = [field.name for field in column.type]
    if len(set(names)) < len(names):
        raise _wrong("weights", WEIGHTS_TYPE, column)
    said = column.drop_null()
    others = [name for name in names if name not in WEIGHTS]
    if len(said):
        count_unknown(unknown, (f"weights.{name}" for name in others), len(said))
    parts = dict(zip(names, column.flatten(), strict=True))
    none = pa.nulls(len(column), pa.float64())
    columns = [_number(f"weights.{name}", parts.get(name, none)) for name in WEIGHTS]
    return pa.StructArray.from_arrays(columns, fields=list(WEIGHTS_TYPE))


def _times(column: pa.Array, trusted: bool) -> tuple[pa.Array, Faults]:
    if not pa.types.is_timestamp(column.type):
        return from_text(_text("requested_at", column, trusted), naive_utc=trusted)
    if column.type.tz is None and not trusted:
        raise _wrong("requested_at", "timestamp with a zone", column)
    return from_timestamps(column)
