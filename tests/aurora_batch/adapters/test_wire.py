"""Record batches as columns: what aiokafka wrote is read alike, and it reads what we wrote."""

import struct
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.adapters.kafka import wire
from aurora_batch.adapters.kafka.wire import Fetched, decode, encode
from aurora_batch.schema import Message, Messages, Record
from aurora_batch.schema.records import pack_headers, unpack_headers
from tests.naive_records import Cursor

SOME = st.none() | st.binary(max_size=60)
HEADERS = st.lists(st.tuples(st.text(max_size=9), SOME), max_size=3).map(tuple)
STAMPS = st.integers(0, 2**44)
RECORDS = st.lists(st.builds(Record, SOME, SOME, timestamp_us=STAMPS, headers=HEADERS), max_size=9)
CODECS = st.integers(0, 4)  # none, gzip, snappy, lz4, zstd
BIG = Record(b"v" * 3_000_000, b"k" * 70_000, headers=(("h", b"h" * 70_000),))
TP = TopicPartition("t", 0)


def batch_of(
    records: list[Record], codec: int = 0, *, base: int = 0, gap: int = 1,
    appended: int | None = None, producer: int = -1, flags: int = 0,
) -> bytes:  # fmt: skip
    """Return a batch that aiokafka built, then placed at an offset, as a broker would."""
    codec = codec if records else 0  # nobody compresses nothing
    builder = DefaultRecordBatchBuilder(2, codec, bool(flags & 16), producer, 0, 0, 2**30)
    for i, r in enumerate(records):
        headers = list(r.headers)
        assert builder.append(i * gap, r.timestamp_us, r.key, r.value, headers) is not None
    raw = builder.build()
    struct.pack_into(">q", raw, 0, base)
    if appended is not None:
        flags |= 8
        struct.pack_into(">q", raw, 35, appended)
    raw[22] |= flags
    return repaired(raw)


def repaired(raw: bytearray) -> bytes:
    """Return a batch with its checksum right."""
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


def marker(base: int, producer: int, *, abort: bool) -> bytes:
    """Return what a broker writes where a transaction ends."""
    end = Record(b"\0" * 6, struct.pack(">hh", 0, 0 if abort else 1))
    return batch_of([end], base=base, producer=producer, flags=48)


Seen = list[tuple[int, int, bytes | None, bytes | None, bytes]]


def by_aiokafka(f: Fetched) -> tuple[Seen, int]:
    """Return offset, time, key, value and packed headers as aiokafka's reader gives them."""
    level = READ_COMMITTED if f.committed else READ_UNCOMMITTED
    raw, tp = MemoryRecords(f.raw), TopicPartition(f.topic, f.partition)
    part = PartitionRecords(tp, raw, f.aborted, f.position, None, None, f.checked, level)
    seen = []
    for r in part:
        ms = -1 if r.timestamp is None else r.timestamp
        us = 1000 * ms if 0 <= ms <= (2**63 - 1) // 1000 else -1
        seen.append((r.offset, us, r.key, r.value, pack_headers(r.headers)))
    return seen, part.next_fetch_offset


def by_us(f: Fetched) -> tuple[Seen, int]:
    """Return the same as columns give it."""
    decoded = decode(f)
    assert decoded is not None
    records, position = decoded
    records.key.validate(full=True)
    records.value.validate(full=True)
    assert len(records) == 0 or set(records.partition.tolist()) == {f.partition}
    none = [b"\0"] * len(records)
    headers = none if records.headers is None else records.headers.to_pylist()
    columns = (records.offset.tolist(), records.timestamp_us.tolist(), records.key.to_pylist())
    return list(zip(*columns, records.value.to_pylist(), headers, strict=True)), position


def fetched(raw: bytes, position: int = 0, aborted: Any = (), *, committed: bool = True) -> Fetched:
    """Return bytes as fetched."""
    return Fetched("t", 3, raw, position, list(aborted), committed, checked=True)


@settings(deadline=None)
@given(
    st.lists(st.tuples(RECORDS, CODECS, st.integers(1, 3), st.none() | STAMPS), max_size=3),
    st.integers(0, 70),
    st.integers(0, 40),
)
def test_what_aiokafka_wrote_is_read_as_aiokafka_reads_it(
    parts: list[tuple[list[Record], int, int, int | None]], position: int, cut: int
) -> None:
    """Any codec, gaps, times of producer or log, headers, an end that is cut off."""
    said = b"".join(
        batch_of(records, codec, base=30 * b, gap=gap, appended=stamp)
        for b, (records, codec, gap, stamp) in enumerate(parts)
    )
    said = said[: max(0, len(said) - cut)]
    assert by_us(fetched(said, position)) == by_aiokafka(fetched(said, position))


@pytest.mark.parametrize("codec", range(5))
def test_large_records_are_read_as_aiokafka_reads_them(codec: int) -> None:
    """Lengths of three and four bytes; nothing but nulls."""
    said = batch_of([BIG, Record(None), BIG], codec)
    assert by_us(fetched(said)) == by_aiokafka(fetched(said))
    said = batch_of([Record(None)] * 3, codec)
    assert by_us(fetched(said)) == by_aiokafka(fetched(said))


@settings(deadline=None)
@given(RECORDS.filter(bool), st.sets(st.integers(0, 2)), st.integers(0, 75), st.booleans())
def test_aborted_transactions_and_markers_are_passed_over(
    records: list[Record], lost: set[int], position: int, committed: bool
) -> None:
    """As aiokafka does, whoever wants committed records; others see them, never the markers."""
    said, at, aborted = b"", 0, []
    for round_, producer in enumerate((7, 8, 7)):
        if round_ in lost:
            aborted.append((producer, at))
        said += batch_of(records, base=at, producer=producer, flags=16)
        said += batch_of(records, base=at + 10, producer=9)
        said += marker(at + 20, producer, abort=round_ in lost)
        at += 25
    asked = fetched(said, position, aborted[::-1], committed=committed)
    assert by_us(asked) == by_aiokafka(asked)
    assert by_us(asked)[1] == 71


def test_an_empty_marker_ends_nothing_and_stops_nobody() -> None:
    """Compaction may take the record of a marker and leave its batch."""
    hole = bytearray(marker(5, 7, abort=True)[:61])
    struct.pack_into(">i", hole, 8, 49)
    struct.pack_into(">i", hole, 57, 0)
    rest = batch_of([Record(b"v")], base=6)
    assert by_us(fetched(repaired(hole) + rest))[1] == 7


def test_timestamps_that_microseconds_cannot_hold_are_none() -> None:
    """What a client may say, and what does not fit."""
    stamps = [-5, -1, 0, 2**53, 2**62]
    said = batch_of([Record(b"", timestamp_us=stamp) for stamp in stamps])
    decoded = decode(fetched(said))
    assert decoded is not None
    assert decoded[0].timestamp_us.tolist() == [-1, -1, 0, 2**53 * 1000, -1]


def test_an_offset_beyond_all_others_is_refused() -> None:
    """The checksum does not cover it."""
    with pytest.raises(CorruptRecordException, match="beyond"):
        decode(fetched(batch_of([Record(b"v")], base=2**63 - 1)))


def test_older_formats_are_left_to_aiokafka() -> None:
    """Format v1, alone or before another batch."""
    old = LegacyRecordBatchBuilder(1, 0, 9999)
    old.append(0, 1, b"k", b"v")
    raw = bytes(old.build())
    assert decode(fetched(raw)) is None
    assert decode(fetched(batch_of([Record(b"v")]) + raw)) is None


@settings(deadline=None, max_examples=200)
@given(RECORDS.filter(bool), CODECS, st.data())
def test_hostile_bytes_are_refused_or_read_as_aiokafka_reads_them(
    records: list[Record], codec: int, data: st.DataObject
) -> None:
    """Bytes changed and the checksum repaired: an error, or what aiokafka makes of it."""
    raw = bytearray(batch_of(records, codec))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    asked = fetched(repaired(raw), committed=False)
    if raw[16] != 2:
        return  # not our format
    try:
        ours = by_us(asked)
    except CorruptRecordException:
        return
    if any(attributes > 127 for attributes in attributes_of(asked)):
        return  # a byte, as Kafka and we read it; aiokafka takes it for the first of a number
    try:
        theirs = by_aiokafka(asked)
    except UnicodeDecodeError:
        return  # a name of a header need not be text for us, nor for other clients
    assert meaning(ours) == meaning(theirs)


def meaning(seen: tuple[Seen, int]) -> object:
    """Return what was read without how the headers were said: null has many ways."""
    return [(*row[:4], unpack_headers(row[4])) for row in seen[0]], seen[1]


def attributes_of(f: Fetched) -> list[int]:
    """Return the attributes of all records."""
    found = wire._batches(f)
    assert found is not None
    data, batches = found
    attributes = []
    for start, stop in zip(batches.start, batches.stop, strict=True):
        rest = Cursor(data[start:stop].tobytes())
        while rest.data:
            attributes.append(rest.take(rest.number(32))[0])
    return attributes


@given(RECORDS.filter(bool), st.integers(21, 200), st.integers(0, 7))
def test_a_wrong_checksum_is_refused(records: list[Record], at: int, bit: int) -> None:
    """One bit, anywhere that the checksum covers."""
    raw = bytearray(batch_of(records))
    raw[min(at, len(raw) - 1)] ^= 1 << bit
    with pytest.raises(CorruptRecordException):
        decode(fetched(bytes(raw)))


def messages_of(records: list[Record]) -> Messages:
    """Return what is in records as messages."""
    return Messages.of(Message(r.value, r.key, r.headers) for r in records)


@settings(deadline=None)
@given(RECORDS, CODECS, st.integers(61, 400), st.booleans(), st.data())
def test_aiokafka_reads_what_we_wrote(
    records: list[Record], codec: int, limit: int, transactional: bool, data: st.DataObject
) -> None:
    """The same records in the same order; uncompressed, in batches that aiokafka would make.

    No batch of several is larger than it may be, compressed or not.
    """
    n = len(records)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=15)) if n else []
    stamps = np.array([r.timestamp_us for r in records], np.int64)
    (made,) = encode(
        messages_of(records), [np.array(rows, np.int64)], stamps, limit, codec,
        transactional=transactional,
    )  # fmt: skip

    left = [records[i] for i in rows]
    for batch in made:
        count = batch.record_count()
        most = 2**30 if codec else limit + 1  # aiokafka measures what is not compressed
        theirs = DefaultRecordBatchBuilder(2, codec, transactional, 5, 6, 7, most)
        for i, r in enumerate(left[:count]):
            assert theirs.append(i, r.timestamp_us, r.key, r.value, list(r.headers)) is not None
        del left[:count]
        if left and not codec:
            next_one = left[0].timestamp_us, left[0].key, left[0].value, list(left[0].headers)
            assert theirs.append(count, *next_one) is None
        batch._set_producer_state(5, 6, 7)
        ours = bytes(batch._build())
        if codec:  # gzip says when, and aiokafka compresses also what grows
            assert by_aiokafka(fetched(ours)) == by_aiokafka(fetched(bytes(theirs.build())))
        else:
            assert ours == bytes(theirs.build())
        assert batch.size() == len(ours)
        assert len(ours) <= limit or count == 1
    assert not left


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_what_packs_tightly_goes_in_larger_batches(codec: int) -> None:
    """Before compression they may be twice what is sent; what does not shrink is cut again."""
    rng = np.random.default_rng(7)
    tight = [Record(b"v" * 1000) for _ in range(40)]
    loose = [Record(rng.bytes(1000)) for _ in range(40)]

    def counts(records: list[Record]) -> list[int]:
        (made,) = encode(
            messages_of(records), [np.arange(40)], np.zeros(40, np.int64), 10_300, codec,
            transactional=False,
        )  # fmt: skip
        assert max(batch.size() for batch in made) <= 10_300
        return [batch.record_count() for batch in made]

    assert counts(tight) == [20, 20]
    assert counts(loose) == [10, 10, 10, 10]


Fetch = Callable[[Any, int], Awaitable[list[Record]]]
