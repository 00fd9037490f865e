"""The rules of a request, a column at a time; the same for JSON, Arrow and files."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.model import ANYWHERE, Fault, normalize_gpus
from aurora_batch.schema.buffers import buffers_of
from aurora_batch.schema.fields import (
    CONTROL,
    GPU,
    NUMBERS,
    TEXTS,
    WEIGHT_NUMBERS,
    Number,
    Text,
    escaped,
    shown,
)
from aurora_batch.schema.times import Faults

Mask = NDArray[np.bool_]
Columns = dict[str, pa.Array]
Finding = tuple[Mask, Fault, str, pa.Array | None]  # rows, code, field and expectation, values

_CONTROL = re.compile(CONTROL)


def check(
    columns: Columns,
    records_us: NDArray[np.int64] | None,
    *,
    max_clock_skew_s: float,
    workloads: frozenset[str] | None,
    plain: bool = False,
) -> Faults:
    """Return the first fault of each row that has one.

    `columns` are those of `normalize`, all of one length n; `records_us` are the times of the
    records, shape (n,), -1 where there is none. Of `plain` ones, each value kept its own rule
    before.
    """
    faults: Faults = {}
    findings = chain(
        # What is no name of a GPU is seen once the names are in canonical form.
        _broken(columns, (GPU,) if plain else (*TEXTS, *NUMBERS)),
        () if plain else _weights(columns["weights"]),
        _misplaced(columns, records_us, max_clock_skew_s, workloads),
    )
    for mask, fault, expected, values in findings:
        rows = np.flatnonzero(mask)
        if not rows.size:
            continue
        if values is None:
            details = [expected] * rows.size
        else:
            said = values.take(pa.array(rows)).to_pylist()
            details = [f"{expected}, got {shown(value)}" for value in said]
        for row, detail in zip(rows.tolist(), details, strict=True):
            faults.setdefault(row, (fault, detail))
    return faults


def _broken(columns: Columns, fields: Iterable[Text | Number]) -> Iterator[Finding]:
    """Yield what breaks the rule of its field."""
    for field in fields:
        values = columns[field.name]
        if field.required and values.null_count:
            expected = f"{field.name}: expected {field.expected}, got nothing"
            yield _mask(values.is_null()), Fault.MISSING_FIELD, expected, None
        if isinstance(field, Text):
            broken = broken_text(values, field)
        else:
            broken = broken_number(values, field)
        expected = f"{field.name}: expected {field.expected}"
        yield broken, Fault.OUT_OF_RANGE, expected, values


def _misplaced(
    columns: Columns,
    records_us: NDArray[np.int64] | None,
    max_clock_skew_s: float,
    workloads: frozenset[str] | None,
) -> Iterator[Finding]:
    """Yield what is no workload that is known, or ahead of its record's time."""
    if workloads is not None:
        values = columns["workload_type"]
        unknown = pc.invert(pc.is_in(values, pa.array(sorted(workloads), pa.string())))
        expected = f"workload_type: expected one of {escaped(', '.join(sorted(workloads)))}"
        yield _mask(unknown), Fault.UNKNOWN_WORKLOAD, expected, values
    if records_us is not None:
        yield _skewed(columns["requested_at"], records_us, max_clock_skew_s)


def _mask(values: pa.Array) -> Mask:
    """Return a boolean column as an array, null as False."""
    if values.null_count:
        values = pc.fill_null(values, False)
    flags: Mask = values.to_numpy(zero_copy_only=False)
    return flags


def broken_text(values: pa.Array, field: Text) -> Mask:
    """True where a value is empty, too long or has control characters; null is none of these."""
    octets, bounds, valid = buffers_of(values)
    sizes = np.diff(bounds)
    broken: Mask = valid & (sizes == 0)
    long = np.flatnonzero(valid & (sizes > field.longest))
    if long.size:
        broken[long] = pc.utf8_length(values.take(pa.array(long))).to_numpy() > field.longest
    said = octets[bounds[0] : bounds[-1]]
    if said.size and (said.min() < 32 or said.max() >= 127):
        rows = np.searchsorted(bounds, _controls(said) + bounds[0], side="right") - 1
        broken[rows] = valid[rows]
    return broken


def _controls(octets: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return where the characters of `CONTROL` end in UTF-8."""
    last, before = octets[1:], octets[:-1]
    found = (octets < 32) | (octets == 127)
    found[1:] |= (before == 0xC2) & (last < 0xA0)
    found[2:] |= (octets[:-2] == 0xE2) & (before[1:] == 0x80) & ((last[1:] | 1) == 0xA9)
    return np.flatnonzero(found)


def broken_number(values: pa.Array, field: Number) -> Mask:
    """True where a value is out of bounds, NaN or infinite; null is none of these."""
    if values.null_count == len(values):
        return np.zeros(len(values), np.bool_)
    return _outside(_numbers(values), field)


def _outside(numbers: NDArray[np.float64], field: Number) -> Mask:
    above = numbers > field.low if field.open_low else numbers >= field.low
    good: Mask = above & (numbers <= field.high) & np.isfinite(numbers)
    return ~good


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    """Return the numbers, 1 for null: within everyone's bounds, and not zero."""
    if values.null_count:
        values = pc.fill_null(values, 1.0)
    numbers: NDArray[np.float64] = values.to_numpy()
    return numbers


def _weights(weights: pa.StructArray) -> Iterator[Finding]:
    if weights.null_count == len(weights):
        return
    parts = weights.flatten()
    numbers = list(map(_numbers, parts))
    for field, values, said in zip(WEIGHT_NUMBERS, parts, numbers, strict=True):
        expected = f"weights.{field.name}: expected {field.expected}"
        yield _outside(said, field), Fault.OUT_OF_RANGE, expected, values
    zero = np.logical_and.reduce([said == 0 for said in numbers])
    yield zero, Fault.OUT_OF_RANGE, "weights: expected one of them > 0, got all zero", None


def _skewed(times: pa.Array, records_us: NDArray[np.int64], max_clock_skew_s: float) -> Finding:
    said = pc.fill_null(times.view(pa.int64()), 0).to_numpy()
    mask = (records_us >= 0) & (said > records_us + round(max_clock_skew_s * 1e6))
    expected = (
        f"requested_at: expected at most {max_clock_skew_s:g} s ahead of the record's timestamp"
    )
    values = times.cast(pa.timestamp("us")) if mask.any() else None
    return mask, Fault.CLOCK_SKEW, expected, values


def normalize(columns: Columns, *, plain: bool = False) -> Columns:
    """Return the columns in canonical form, whatever their values; requested_at may be null.

    A GPU type that is a name of nothing becomes "", one that breaks its rule stays as it is. Where
    they are `plain`, weights of nothing are null already.
    """
    weights = columns["weights"]
    if not plain and weights.null_count < len(weights):
        parts = weights.flatten()
        nothing = np.logical_and.reduce([_mask(part.is_null()) for part in parts])
        weights = pa.StructArray.from_arrays(
            parts, fields=list(weights.type), mask=pa.array(nothing)
        )
    return {
        **columns,
        "gpu_type": _each_distinct(columns["gpu_type"], _gpu),
        "region": pc.fill_null(_each_distinct(columns["region"], _region), ANYWHERE),
        "priority": pc.fill_null(columns["priority"], 1.0),
        "weights": weights,
    }


def _each_distinct(values: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Return the values changed; Python sees each distinct one once."""
    encoded = values.dictionary_encode()
    before = encoded.dictionary.to_pylist()
    after = list(map(change, before))
    return values if after == before else pa.array(after, pa.string()).take(encoded.indices)


_normalize_gpus = lru_cache(maxsize=4096)(normalize_gpus)  # of 256 characters at most


def _gpu(names: str) -> str:
    return _normalize_gpus(names) if is_text(names, GPU) else names


def _region(name: str) -> str:
    trimmed = name.strip(" ")
    return ANYWHERE if trimmed.lower() == ANYWHERE else trimmed


def is_text(value: object, field: Text) -> TypeGuard[str]:
    """Whether a single value keeps the rule of `broken_text`."""
    good = isinstance(value, str) and 1 <= len(value) <= field.longest
    return good and not _CONTROL.search(str(value))
