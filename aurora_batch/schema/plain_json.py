"""Plain JSON requests to columns, by a kernel that leaves every other payload alone."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.model import WEIGHTS
from aurora_batch.schema.blocks import Block
from aurora_batch.schema.buffers import buffers_of
from aurora_batch.schema.columns import WEIGHTS_TYPE
from aurora_batch.schema.fields import (
    GPU,
    MAX_JSON_BYTES,
    NUMBERS,
    REQUIRED,
    TEXTS,
    TIME_TO_S,
    WEIGHT_NUMBERS,
)
from aurora_batch.schema.rules import Columns
from aurora_batch.schema.times import TIMESTAMP
from kernels import json_requests
from kernels.json_requests import Form, Plain

I64 = NDArray[np.int64]


def _form() -> Form:
    """Return the members of a request in the order in which `encoding` writes them."""
    own: list[tuple[str, int, int]] = [
        *((field.name, json_requests.TEXT, i) for i, field in enumerate(TEXTS)),
        *((field.name, json_requests.NUMBER, i) for i, field in enumerate(NUMBERS)),
        ("weights", json_requests.PARTS, 0),
        ("requested_at", json_requests.TIME, 0),
    ]
    own = [(n, json_requests.NAMES if n == GPU.name else kind, i) for n, kind, i in own]
    parts = [(name, json_requests.NUMBER, len(NUMBERS) + i) for i, name in enumerate(WEIGHTS)]
    names = [name.encode() for name, _, _ in (*own, *parts)]
    width = max(map(len, names))
    numbers = (*NUMBERS, *WEIGHT_NUMBERS)
    least = [np.nextafter(n.low, np.inf) if n.open_low else n.low for n in numbers]
    return Form(
        np.array([list(name.ljust(width, b"\0")) for name in names], np.uint8),
        np.array([len(name) for name in names], np.int64),
        np.array([kind for _, kind, _ in (*own, *parts)], np.int64),
        np.array([column for _, _, column in (*own, *parts)], np.int64),
        np.array([field.longest for field in TEXTS], np.int64),
        np.array(least, np.float64).view(np.uint64),
        np.array([n.high for n in numbers], np.float64).view(np.uint64),
        len(own),
        sum(1 << k for k, (name, _, _) in enumerate(own) if name in REQUIRED),
    )


_FORM = _form()


def read_plain(values: pa.BinaryArray, index: I64) -> tuple[Block, I64]:
    """Return the plain requests, and the rows of the other payloads, ascending.

    `index`, shape (n,), is the position that each payload is known by.
    """
    n = len(values)
    octets, ends, valid = buffers_of(values)
    out = _space_for(n, int(ends[-1] - ends[0]))
    m = json_requests.read_plain(octets, ends, valid, _FORM, MAX_JSON_BYTES, TIME_TO_S * 10**6, out)
    rows = out.row[:m]
    rest = np.delete(np.arange(n), rows) if m < n else np.zeros(0, np.int64)
    return Block(_columns(out, m), index[rows], np.full(m, -1), plain=True), rest


def _space_for(n: int, size: int) -> Plain:
    texts, numbers = len(TEXTS), len(NUMBERS) + len(WEIGHT_NUMBERS)
    ends = np.empty((texts, n + 1), np.int32)
    ends[:, 0] = 0
    return Plain(
        np.empty(n, np.int64),
        np.empty((texts, size), np.uint8),  # untouched pages cost nothing
        ends,
        np.empty((texts, n), np.bool_),
        np.empty((numbers, n), np.uint64),
        np.empty((numbers, n), np.bool_),
        np.empty(n, np.int64),
        np.empty(n, np.bool_),
    )


def _columns(out: Plain, m: int) -> Columns:
    columns: Columns = {}
    for k, field in enumerate(TEXTS):
        ends, has = out.ends[k, : m + 1], out.has_text[k, :m]
        data = out.data[k, : ends[-1]].copy()  # lets go of the rest
        buffers = _bitmap(has), pa.py_buffer(ends), pa.py_buffer(data)
        columns[field.name] = pa.Array.from_buffers(pa.string(), m, buffers)
    numbers = out.number.view(np.float64)[:, :m]
    missing = ~out.has_number[:, :m]
    parts = [pa.array(numbers[k], mask=missing[k]) for k in range(len(numbers))]
    columns |= {field.name: part for field, part in zip(NUMBERS, parts, strict=False)}
    said = out.has_number[len(NUMBERS) :, :m].any(axis=0)
    if said.any():
        columns["weights"] = pa.StructArray.from_arrays(
            parts[len(NUMBERS) :], fields=list(WEIGHTS_TYPE), mask=pa.array(~said)
        )
    else:
        columns["weights"] = pa.nulls(m, WEIGHTS_TYPE)
    columns["requested_at"] = pa.array(out.time[:m], mask=~out.has_time[:m]).view(TIMESTAMP)
    return columns


def _bitmap(has: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if has.all() else pa.py_buffer(np.packbits(has, bitorder="little"))
