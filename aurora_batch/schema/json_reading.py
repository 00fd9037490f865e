"""JSON payloads to columns.

What a payload says is what msgspec reads in it. Plain ones, nearly all, need no decoder for that
(`plain_json`); of the others msgspec makes structs, one loop in C, and columns are read off them.
One that does not fit is taken out and looked at alone.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.model import ANY_OF, WEIGHTS, Fault
from aurora_batch.schema.blocks import Block, count_unknown, empty_block
from aurora_batch.schema.columns import REQUEST_SCHEMA, WEIGHTS_TYPE, Rejection
from aurora_batch.schema.fields import MAX_JSON_BYTES, REQUEST_ID, REQUIRED, escaped
from aurora_batch.schema.plain_json import read_plain
from aurora_batch.schema.rules import Columns, is_text
from aurora_batch.schema.times import from_text
from aurora_batch.schema.verdicts import Why, recall, remember


# gc=False: nothing here can form a cycle, and the collector need not visit 10,000 of them.
class WireWeights(
    msgspec.Struct, gc=False, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Weights as JSON says them."""

    price: float | None = None
    latency: float | None = None
    reputation: float | None = None
    availability: float | None = None


class WireRequest(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A request as JSON says it; null is the same as nothing."""

    request_id: str
    workload_type: str
    gpu_type: str | list[str]
    gpu_hours: float
    tenant_id: str | None = None
    region: str | None = None
    max_price: float | None = None
    max_latency_ms: float | None = None
    min_reputation: float | None = None
    weights: WireWeights | None = None
    priority: float | None = None
    requested_at: str | None = None


class _AnyWeights(WireWeights, gc=False, frozen=True, forbid_unknown_fields=False):
    pass


class _AnyRequest(WireRequest, gc=False, forbid_unknown_fields=False):
    weights: _AnyWeights | None = None


_strict = msgspec.json.Decoder(WireRequest).decode
_lenient = msgspec.json.Decoder(_AnyRequest).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NO_WEIGHTS = WireWeights()
_UNKNOWN = "Object contains unknown field"
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_MISFIT = re.compile(r"(?:Expected `(.+?)`, got `(.+?)`|Number out of range).*? - at `\$\.(.+)`")


def read_json(
    values: pa.BinaryArray, index: NDArray[np.int64], unknown: Counter[str]
) -> tuple[list[Block], list[Rejection]]:
    """Return the payloads that are requests by their form, and the rejections of the others.

    `values` may be an array of chunks; `index`, shape (n,), is the position that each payload is
    known by.
    """
    blocks, rejections = [], []
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    for chunk in chunks:
        part, index = index[: len(chunk)], index[len(chunk) :]
        block, rest = read_plain(chunk, part)
        blocks.append(block)
        if len(rest):
            payloads = chunk.take(pa.array(rest)).to_pylist()
            other, unreadable = _read_new(payloads, part[rest], unknown)
            blocks.append(other)
            rejections += unreadable
    return blocks, rejections


def _read_new(
    payloads: list[bytes | None], index: NDArray[np.int64], unknown: Counter[str]
) -> tuple[Block, list[Rejection]]:
    """Return what `read_each` returns, which sees what is not known as no request."""
    known = recall(payloads)
    rejections = [
        Rejection(at, None, *why) for at, why in zip(index.tolist(), known, strict=True) if why
    ]
    if rejections:
        fresh = [row for row, why in enumerate(known) if why is None]
        payloads, index = [payloads[row] for row in fresh], index[fresh]
    before = unknown.total()
    block, unreadable = read_each(payloads, index, unknown)
    if unknown.total() == before:  # else they have to be counted the next time, too
        block = replace(block, payloads=dict(zip(index.tolist(), payloads, strict=True)))
    return block, rejections + unreadable


def read_each(
    payloads: Sequence[bytes | None], index: NDArray[np.int64], unknown: Counter[str]
) -> tuple[Block, list[Rejection]]:
    """Return what `read_json` returns, as one block, all of it as msgspec reads it."""
    wires, rejections = _decoded(payloads, index, unknown)
    if rejections:
        good = np.fromiter((wire is not None for wire in wires), np.bool_, len(wires))
        index, wires = index[good], [wire for wire in wires if wire is not None]
    if not wires:
        return empty_block(), rejections
    columns = {f.name: list(map(attrgetter(f.name), wires)) for f in REQUEST_SCHEMA}
    if list in set(map(type, columns["gpu_type"])):
        said = columns["gpu_type"]
        columns["gpu_type"] = [gpu if type(gpu) is str else ANY_OF.join(gpu) for gpu in said]
    times, faults = from_text(pa.array(columns["requested_at"], pa.string()), naive_utc=False)
    built: Columns = {
        f.name: pa.array(columns[f.name], f.type)
        for f in REQUEST_SCHEMA
        if f.name not in ("weights", "requested_at")
    }
    built |= {"weights": _weights(columns["weights"]), "requested_at": times}
    return Block(built, index, np.full(len(index), -1), faults), rejections


def _weights(said: list[WireWeights | None]) -> pa.Array:
    if not any(said):
        return pa.nulls(len(said), WEIGHTS_TYPE)
    full = [weights or _NO_WEIGHTS for weights in said]
    parts = [pa.array(list(map(attrgetter(name), full)), pa.float64()) for name in WEIGHTS]
    return pa.StructArray.from_arrays(parts, fields=list(WEIGHTS_TYPE))


def _decoded(
    payloads: Sequence[bytes | None], index: NDArray[np.int64], unknown: Counter[str]
) -> tuple[list[Any], list[Rejection]]:
    """Return a struct a payload, None where it is rejected."""
    wires: list[Any] = []
    rejections = []
    rest: Iterator[Any] = iter(payloads)  # None raises like any payload that is no request
    if max(map(len, filter(None, payloads)), default=0) > MAX_JSON_BYTES:
        rest = iter([p if p is None or len(p) <= MAX_JSON_BYTES else None for p in payloads])
    while len(wires) < len(payloads):
        try:
            # What was decoded before one raises stays in the list, and `rest` is past the bad one.
            wires.extend(map(_strict, rest))
        except (ValueError, TypeError, RecursionError) as error:
            at = len(wires)
            found: Any = _look_closer(payloads[at], error, unknown)
            if isinstance(found, Why):
                remember(payloads[at], found)
                rejections.append(Rejection(int(index[at]), None, *found))
                found = None
            wires.append(found)
    return wires, rejections


def _look_closer(
    payload: bytes | None, error: Exception, unknown: Counter[str]
) -> WireRequest | Why:
    """Decode a payload that the strict decoder refused with an error, or say why it is none."""
    if payload is None:
        return Why(Fault.MALFORMED, "payload: expected a JSON object, got none (tombstone)")
    if len(payload) > MAX_JSON_BYTES:
        detail = f"payload: expected at most {MAX_JSON_BYTES} bytes, got {len(payload)}"
        return Why(Fault.TOO_LARGE, detail)
    members = _members_of(payload)
    if isinstance(members, Why):
        return members
    if isinstance(error, msgspec.ValidationError) and not str(error).startswith(_UNKNOWN):
        # The lenient decoder would say the same: no unknown member came before.
        return _misfit(str(error), members)
    try:
        wire: WireRequest = _lenient(payload)
    except msgspec.ValidationError as misfit:
        return _misfit(str(misfit), members)
    except (ValueError, RecursionError) as broken:
        return Why(Fault.MALFORMED, f"payload: {escaped(str(broken))}")
    count_unknown(unknown, members.keys() - set(WireRequest.__struct_fields__))
    if wire.weights is not None:
        names = _members(members["weights"]).keys() - set(WEIGHTS)
        count_unknown(unknown, (f"weights.{name}" for name in sorted(names)))
    return wire


def _members_of(payload: bytes) -> dict[str, msgspec.Raw] | Why:
    try:
        payload.decode()  # msgspec does not read the text of members that nobody asked for
        return _members(payload)
    except UnicodeDecodeError as error:
        detail = f"payload: expected UTF-8, broken at byte {error.start}"
    except msgspec.ValidationError as error:
        detail = f"payload: expected a JSON object; {error}"
    except msgspec.DecodeError as error:
        detail = f"payload: {error}"
    except RecursionError:
        detail = "payload: nested too deeply"
    return Why(Fault.MALFORMED, detail)


def _misfit(message: str, members: dict[str, msgspec.Raw]) -> Why:
    """Return what msgspec's message says in our words, with the value that it leaves out."""
    request_id = _request_id(members)
    missing, misfit = _parsed(message)
    if missing is not None:
        return Why(Fault.MISSING_FIELD, f"{missing}: expected a value, got nothing", request_id)
    if misfit is None:
        return Why(Fault.WRONG_TYPE, escaped(message), request_id)
    expected, got, path = misfit
    raw = members.get(path)
    said = escaped(bytes(raw).decode()) if raw is not None else got
    if expected is None:
        detail = f"{path}: expected a finite number, got {said}"
        return Why(Fault.OUT_OF_RANGE, detail, request_id)
    if got == "null" and path in REQUIRED:
        detail = f"{path}: expected {expected}, got nothing"
        return Why(Fault.MISSING_FIELD, detail, request_id)
    return Why(Fault.WRONG_TYPE, f"{path}: expected {expected}, got {said}", request_id)


@lru_cache(1024)
def _parsed(message: str) -> tuple[str | None, tuple[str | None, str, str] | None]:
    """Return which member msgspec misses; else what it expected, what it got and where."""
    if missing := _MISSING.search(message):
        return missing[1], None
    misfit = _MISFIT.search(message)
    return None, misfit and (misfit[1], misfit[2], misfit[3])


def _request_id(members: dict[str, msgspec.Raw]) -> str | None:
    try:
        said = msgspec.json.decode(members.get("request_id", b"null"))
    except ValueError:
        return None
    return said if is_text(said, REQUEST_ID) else None
