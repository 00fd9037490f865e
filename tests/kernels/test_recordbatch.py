"""Reading and writing of record batches against slow twins."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels import recordbatch
from kernels.recordbatch import Batches, Column, octets
from tests.naive_records import Damaged, Row, packed, read, written

SOME = st.none() | st.binary(max_size=300)
NUMBERS = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
HEADERS = st.lists(st.tuples(st.binary(max_size=9), SOME), max_size=3)


ROWS = st.lists(st.builds(Row, LONG, NUMBERS, SOME, SOME, HEADERS), max_size=6)


def wrapped(number: int) -> int:
    """Return a number as 64 bits hold it."""
    return (number + 2**63) % 2**64 - 2**63


def expected(parts: list[tuple[bytes, int]], position: int, dated: bool) -> tuple[object, int]:
    """Return what is kept of batches of 1000 offsets each, and the position afterwards."""
    kept = []
    for b, (data, count) in enumerate(parts):
        for stamp, delta, key, value, headers in read(data, count):
            offset = 1000 * b + delta
            if offset >= position:
                position = offset + 1
                ms = 5 if dated else wrapped(5 + stamp)
                us = ms * 1000 if 0 <= ms <= recordbatch.LAST_MS else -1
                kept.append((offset, us, key, value, headers))
        position = 1000 * (b + 1)
    return kept, position


def found(parts: list[tuple[bytes, int]], position: int, dated: bool) -> tuple[object, int]:
    """Return the same by the kernels."""
    b = len(parts)
    size = np.array([len(data) for data, _ in parts], np.int64)
    stop = np.cumsum(size)
    batches = Batches(
        stop - size,
        stop,
        np.array([count for _, count in parts], np.int64),
        1000 * np.arange(b),
        1000 * np.arange(1, b + 1),
        np.full(b, 5),
        np.full(b, dated),
    )
    data = octets(b"".join(data for data, _ in parts))
    status, kept, position, rows = recordbatch.index_records(data, batches, position)
    if status:
        assert rows.shape == (8, 0)
        assert 0 <= kept < b
        raise Damaged
    assert rows.shape == (8, kept)
    columns = []
    for at, size in ((2, 3), (4, 5), (6, 7)):
        ends, out = recordbatch.gather(data, rows[at], rows[size])
        columns.append(
            [
                None if rows[size, i] < 0 else out[ends[i] : ends[i + 1]].tobytes()
                for i in range(kept)
            ]
        )
    return list(zip(rows[0].tolist(), rows[1].tolist(), *columns, strict=True)), position


def outcome(how: object, *args: object) -> object:
    """Return what a reader returns, or that it refuses."""
    try:
        return how(*args)  # type: ignore[operator]
    except Damaged:
        return Damaged


@settings(deadline=None)
@given(st.lists(ROWS, max_size=3), st.integers(-5, 2500), st.booleans())
def test_records_are_read_as_by_the_twin(
    batches: list[list[Row]], position: int, dated: bool
) -> None:
    """Many batches, offsets that leap, dates of the batch, records below the position."""
    parts = [(written(rows), len(rows)) for rows in batches]
    assert found(parts, position, dated) == expected(parts, position, dated)


@settings(deadline=None, max_examples=300)
@given(ROWS.filter(bool), st.data())
def test_damage_is_refused_or_read_as_by_the_twin(rows: list[Row], data: st.DataObject) -> None:
    """Cut, changed, longer, with numbers of any length: what the twin refuses is refused."""
    said = bytearray(written(rows))
    for _ in range(data.draw(st.integers(0, 3))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    low = data.draw(st.integers(0, len(said)))
    said[low:low] = data.draw(st.binary(max_size=11))
    parts = [(bytes(said[: data.draw(st.integers(0, len(said)))]), data.draw(st.integers(-1, 7)))]
    assert outcome(found, parts, 0, False) == outcome(expected, parts, 0, False)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 255) | st.sampled_from([0, 1, 2, 14, 128, 255]), max_size=40))
@example([12, 0, 0, 0, 1, 1, 0])
@example([14, 0, 0, 0, 1, 1, 128, 0])
@example([16, 0, 0, 0, 1, 1, 255, 255, 255, 255, 15])
@example([24, 0, *[255] * 9, 1, 0, 1, 1, 0])
@example([24, 0, *[255] * 9, 2, 0, 1, 1, 0])
def test_any_bytes_are_refused_or_read_as_by_the_twin(said: list[int]) -> None:
    """Bytes that nobody wrote, and the longest numbers there are."""
    parts = [(bytes(said), 1)]
    assert outcome(found, parts, 0, False) == outcome(expected, parts, 0, False)


def test_a_count_beyond_the_bytes_is_refused_before_memory_is_taken() -> None:
    """Two thousand million records in seven bytes."""
    one = written([Row(0, 0, None, None, [])])
    for count in (2, 2**31 - 1, -1, -(2**31)):
        assert outcome(found, [(one, count)], 0, False) is Damaged


def test_batches_outside_of_the_data_are_a_mistake() -> None:
    """Nobody may ask for what is not there."""
    at, none = np.array([3]), np.array([0])
    batches = Batches(at - 3, at, none, none, none, none, none > 0)
    with pytest.raises(ValueError, match="within"):
        recordbatch.index_records(octets(b"ab"), batches, 0)


def column(parts: list[bytes | None]) -> Column:
    """Return parts as a column that begins behind something else."""
    ends = np.cumsum([3, *[len(p or b"") for p in parts]], dtype=np.int32)
    ends.setflags(write=False)
    present = np.array([p is not None for p in parts])
    data = octets(b"xxx" + b"".join(p or b"" for p in parts))
    return Column(data, ends, np.empty(0, np.bool_) if present.all() else present)


NONE = Column(octets(b"")[:0], column([])[1][:0], np.empty(0, np.bool_))


@settings(deadline=None)
@given(ROWS, st.integers(61, 900), st.booleans(), st.data())
def test_batches_are_cut_and_written_as_by_the_twin(
    rows: list[Row], limit: int, bare: bool, data: st.DataObject
) -> None:
    """Any rows in any order; as many to a batch as fit, and one where not even that one does."""
    n = len(rows)
    picked = data.draw(st.lists(st.integers(0, n - 1), max_size=20)) if n else []
    stamps = np.array([r.stamp // 4 for r in rows], np.int64)
    headers = [[] if bare else r.headers for r in rows]
    columns = (
        column([r.key for r in rows]),
        column([r.value for r in rows]),
        NONE if bare else column([packed(h) for h in headers]),
    )
    chosen = np.array(picked, np.int64)
    stop, size = np.empty(len(picked), np.int64), np.empty(len(picked), np.int64)
    made = recordbatch.cut_batches(chosen, stamps, *columns, limit, stop, size)
    got = []
    for low, high, room in zip([0, *stop[:made]], stop[:made], size[:made], strict=False):
        out = np.zeros(room, np.uint8)
        assert recordbatch.write_records(chosen[low:high], stamps, *columns, out) == room
        got.append(out.tobytes())

    wanted: list[list[Row]] = []
    for i in picked:
        for _ in range(2):
            first = stamps[picked[sum(map(len, wanted[:-1]))]] if wanted else 0
            delta = len(wanted[-1]) if wanted else 0
            row = Row(int(stamps[i] - first), delta, rows[i].key, rows[i].value, headers[i])
            if wanted and (not delta or 61 + len(written([*wanted[-1], row])) <= limit):
                wanted[-1].append(row)
                break
            wanted.append([])
    assert got == [written(batch) for batch in wanted]
