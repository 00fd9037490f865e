"""RFC 3339 text and Arrow timestamps to UTC microseconds, a column at a time."""

import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.model import Fault
from aurora_batch.schema.buffers import buffers_of, whole
from aurora_batch.schema.fields import TIME_FROM, TIME_TO, TIME_TO_S, shown
from kernels.json_requests import read_times

TIMESTAMP = pa.timestamp("us", tz="UTC")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Faults = dict[int, tuple[Fault, str]]  # by row

# The ordinary form, and only dates that exist: out of range, such a time is not said again.
_DAY = (
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))|20(?:0[48]|[2468][048]|[13579][26])-02-29)"
)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_ORDINARY = re.compile(rf"{_DAY}[T ]{_CLOCK}(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_NAIVE = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?$"
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EXPECTED_TEXT = 'requested_at: expected RFC 3339 with offset ("2026-01-31T12:00:00Z")'
_EXPECTED_RANGE = f"requested_at: expected a time from {TIME_FROM} to {TIME_TO}"


def from_text(text: pa.StringArray, *, naive_utc: bool) -> tuple[pa.Array, Faults]:
    """Return the times (null where null or at fault) and what is wrong with the others.

    Fractions finer than a microsecond are cut. Text without an offset is UTC where `naive_utc`,
    else a fault. A leap second (`:60`) has no place in UTC microseconds: out of range.
    """
    if naive_utc:
        zoned = pc.binary_join_element_wise(text, "Z", "")
        text = pc.if_else(pc.match_substring_regex(text, _NAIVE), zoned, text)
    octets, bounds, valid = buffers_of(text)
    times = np.empty(len(text), np.int64)
    read_times(octets, bounds, valid, times)
    faults: Faults = {}
    # What is not of the usual form is rare, and read one value at a time.
    for row in np.flatnonzero(valid & ((times < 0) | (times >= TIME_TO_S * 10**6))).tolist():
        read = _read(text[row].as_py())
        if isinstance(read, int):
            times[row] = read
        else:
            faults[row], times[row] = read, -1
    return pa.array(times, mask=times < 0).view(TIMESTAMP), faults


def _read(text: str) -> int | tuple[Fault, str]:
    match = _RFC3339.fullmatch(text)
    if not match:
        return Fault.WRONG_TYPE, f"{_EXPECTED_TEXT}, got {shown(text)}"
    got = "" if _ORDINARY.fullmatch(text) else f", got {shown(text)}"
    day, clock, fraction, offset = match.groups()
    try:
        time = datetime.fromisoformat(f"{day}T{clock}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        return Fault.OUT_OF_RANGE, f"{_EXPECTED_RANGE}{got}"
    seconds = int(time.timestamp())
    if not 0 <= seconds < TIME_TO_S:
        return Fault.OUT_OF_RANGE, f"{_EXPECTED_RANGE}{got}"
    return seconds * 10**6 + int((fraction or "")[:6].ljust(6, "0"))


def from_timestamps(times: pa.Array) -> tuple[pa.Array, Faults]:
    """Return timestamps of any unit, naive ones as UTC, in microseconds; absurd ones are faults."""
    per_second = PER_SECOND[times.type.unit]
    ticks = times.cast(pa.timestamp(times.type.unit)).view(pa.int64())
    seen = pc.min_max(ticks)
    faults: Faults = {}
    if (seen["min"].as_py() or 0) < 0 or (seen["max"].as_py() or 0) >= TIME_TO_S * per_second:
        absurd = pc.or_(pc.less(ticks, 0), pc.greater_equal(ticks, TIME_TO_S * per_second))
        rows = pc.indices_nonzero(absurd).to_pylist()
        faults = dict.fromkeys(rows, (Fault.OUT_OF_RANGE, _EXPECTED_RANGE))
        ticks = pc.if_else(absurd, None, ticks)
    if per_second > 10**6:
        ticks = pc.divide(ticks, per_second // 10**6)
    else:
        ticks = pc.multiply(ticks, 10**6 // per_second)
    return ticks.view(pa.timestamp("us")).view(TIMESTAMP), faults


def microseconds_of(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a column of times without nulls as UTC microseconds, (n,), not to be written to."""
    said: NDArray[np.int64] = whole(times).view(pa.int64()).to_numpy()
    return said


def carried(times: pa.Array, records_us: NDArray[np.int64] | None) -> pa.Array:
    """Return the times without nulls: the record's, else the row before's, else the epoch."""
    if not times.null_count:
        return times
    if records_us is not None:
        said = pa.array(records_us, mask=records_us < 0).cast(TIMESTAMP)
        times = pc.coalesce(times, said)
    return pc.fill_null(pc.fill_null_forward(times), pa.scalar(0, TIMESTAMP))
