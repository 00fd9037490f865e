"""Canonical requests and decisions to payloads: JSON lines in bulk, or one Arrow IPC stream."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from aurora_batch.model import ANY_OF
from aurora_batch.schema.coded import Decisions
from aurora_batch.schema.columns import REQUEST_SCHEMA
from aurora_batch.schema.json_reading import WireRequest, WireWeights
from aurora_batch.schema.json_writing import json_lines

_RFC3339 = "%Y-%m-%dT%H:%M:%S%.fZ"
_BESIDE_VALUES = 32_768  # bytes, at most, of a stream of decisions: schema, lengths, padding
_OWN = frozenset({"cost_usd"})  # of which nearly every decision has another


def encode_json(decisions: Decisions) -> pa.BinaryArray:
    """Return each decision as a JSON object, (n,): every field, null where there is none.

    One line each, without a newline; all of them together are less than 2 GiB.
    """
    return json_lines(decisions.columns, _OWN)


def encode_requests_json(requests: pa.Table) -> list[bytes]:
    """Return each canonical request as the JSON object a person would write: no nulls."""
    frame = pl.DataFrame(requests)
    columns = {name: frame[name].to_list() for name in frame.columns if name not in _BUILT}
    columns["gpu_type"] = list(map(_names, columns["gpu_type"]))
    columns["requested_at"] = frame["requested_at"].dt.to_string(_RFC3339).to_list()
    columns["weights"] = _weights(requests["weights"].combine_chunks())
    encode = msgspec.json.Encoder().encode
    fields = (columns[name] for name in WireRequest.__struct_fields__)
    return list(map(encode, map(WireRequest, *fields)))


_BUILT = ("weights", "requested_at")


def _names(gpu: str) -> str | list[str]:
    return gpu.split(ANY_OF) if ANY_OF in gpu else gpu


def _weights(weights: pa.StructArray) -> list[WireWeights | None]:
    if weights.null_count == len(weights):
        return [None] * len(weights)
    parts = [part.to_pylist() for part in weights.flatten()]
    said = weights.is_valid().to_pylist()
    return [w if v else None for w, v in zip(map(WireWeights, *parts), said, strict=True)]


def encode_arrow(decisions: pa.Table) -> bytes:
    """Return decisions as one Arrow IPC stream."""
    return stream_of(decisions)


def encode_arrow_each(decisions: pa.Table, bounds: Sequence[int]) -> pa.BinaryArray:
    """Return the decisions from each bound to the next as one Arrow IPC stream, (bounds - 1,).

    All of them together are less than 2 GiB.
    """
    # Space for all of them at once: what grows is copied again and again, into fresh memory.
    batches = len(bounds) + max((c.num_chunks for c in decisions.columns), default=0)
    data = pa.allocate_buffer(decisions.nbytes + _BESIDE_VALUES * batches)
    ends = np.zeros(len(bounds), np.int32)
    with pa.FixedSizeBufferWriter(data) as sink:
        for i, (low, high) in enumerate(pairwise(bounds), 1):
            _write(sink, decisions.slice(low, high - low))
            ends[i] = sink.tell()
    return pa.BinaryArray.from_buffers(pa.binary(), len(ends) - 1, [None, pa.py_buffer(ends), data])


def encode_requests_arrow(requests: pa.Table) -> bytes:
    """Return canonical requests as one Arrow IPC stream."""
    return stream_of(requests.select(REQUEST_SCHEMA.names))


def stream_of(table: pa.Table) -> bytes:
    """Return any table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    _write(sink, table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _write(sink: pa.NativeFile, table: pa.Table) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
