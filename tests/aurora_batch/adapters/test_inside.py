"""Fetching and batches as columns: aiokafka reads and writes the same, inside or by its names."""

import asyncio
import logging
import struct
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiokafka
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.producer import sender
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.adapters.kafka import Cluster, create_topics, inside, wire
from aurora_batch.adapters.kafka.wire import Fetched, decode, encode
from aurora_batch.schema import Message, Messages, Record, Records
from aurora_batch.schema.records import pack_headers, unpack_headers
from tests.broker import Broker
from tests.naive_records import Cursor
from tests.streaming import cluster_of, run, settings_for

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
    """The same records in the same order, in batches that aiokafka would have made."""
    n = len(records)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=15)) if n else []
    stamps = np.array([r.timestamp_us for r in records], np.int64)
    made = encode(
        messages_of(records), np.array(rows, np.int64), stamps, limit, codec,
        transactional=transactional,
    )  # fmt: skip

    left = [records[i] for i in rows]
    for batch in made:
        theirs = DefaultRecordBatchBuilder(2, codec, transactional, 5, 6, 7, limit + 1)
        count = 0
        while left and theirs.append(
            count, left[0].timestamp_us, left[0].key, left[0].value, list(left[0].headers)
        ):
            left.pop(0)
            count += 1
        batch._set_producer_state(5, 6, 7)
        ours = bytes(batch._build())
        if codec:  # gzip says when, and aiokafka compresses also what grows
            assert by_aiokafka(fetched(ours)) == by_aiokafka(fetched(bytes(theirs.build())))
        else:
            assert ours == bytes(theirs.build())
        assert (batch.record_count(), batch.size()) == (count, len(ours))
    assert not left


Fetch = Callable[[Any, int], Awaitable[list[Record]]]


@pytest.fixture(params=["inside", "public"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to the same records; the one inside makes no object for any."""
    if request.param == "public":
        monkeypatch.setattr(inside, "KNOWN", ("no version",))
    else:
        monkeypatch.setattr(inside, "_record_of", None)
    return str(request.param)


@pytest.fixture
def topic(embedded: str) -> tuple[Cluster, str]:
    """A topic at an embedded broker."""
    return cluster_of(settings_for(embedded)), "aurora.requests"


async def fetch_all(consumer: Any, tps: list[TopicPartition], count: int) -> list[Record]:
    """Fetch so many records, those of one partition in their order."""
    got: list[Record] = []
    while len(got) < count:
        for part in (await inside.fetch(consumer, tps, 200)).values():
            assert isinstance(part, Records)
            got += part
    return got


async def send_rows(
    producer: Any, topic: str, messages: Messages, rows: list[int], partition: int = 0
) -> None:
    """Send by our batches and wait until they are there."""
    for batch in inside.batches(producer, messages, np.array(rows), 1234):
        future = await producer.send_batch(batch, topic, partition=partition)
        await future


MESSAGES = Messages.of(
    Message(b"v%d" % i * (i % 50), b"k" if i % 3 else None, (("h", b"%d" % i),) if i % 4 else ())
    for i in range(3000)
)


def clients(cluster: Cluster, **said: Any) -> tuple[Any, Any]:
    """Return a producer and a consumer, not started."""
    return (
        AIOKafkaProducer(enable_idempotence=True, max_batch_size=20_000, **cluster.options, **said),
        AIOKafkaConsumer(
            auto_offset_reset="none", isolation_level="read_committed", fetch_max_wait_ms=10,
            enable_auto_commit=False, **cluster.options,
        ),
    )  # fmt: skip


def test_sent_and_fetched(way: str, topic: tuple[Cluster, str]) -> None:
    """Rows that are picked arrive in their order; positions follow; seeking goes back."""

    async def go() -> None:
        cluster, name = topic
        producer, consumer = clients(cluster)
        tps = [TopicPartition(name, p) for p in (0, 1)]
        async with producer, consumer:
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            assert await inside.fetch(consumer, tps, 20) == {}
            await send_rows(producer, name, MESSAGES, list(range(2999, -1, -2)), 0)
            await send_rows(producer, name, MESSAGES, [5, 5], 1)
            got = await fetch_all(consumer, tps, 1502)

            first = [r for r in got if r.partition == 0]
            assert [r.offset for r in first] == list(range(1500))
            assert {(r.topic, r.timestamp_us) for r in got} == {(name, 1_234_000)}
            assert [Message(r.value, r.key, r.headers) for r in first] == list(
                MESSAGES.take(np.arange(2999, -1, -2))
            )
            assert [r.value for r in got if r.partition == 1] == [MESSAGES[5].value] * 2
            assert [await consumer.position(tp) for tp in tps] == [1500, 2]

            consumer.seek(tps[0], 1400)
            again = await fetch_all(consumer, tps[:1], 100)
            assert again == first[1400:]

    run(go())


def test_what_was_fetched_before_anybody_watched_is_not_lost(topic: tuple[Cluster, str]) -> None:
    """It goes one by one; what is fetched afterwards goes at once, in the same order."""

    async def go() -> None:
        cluster, name = topic
        producer, consumer = clients(cluster)
        tp = TopicPartition(name, 0)
        async with producer, consumer:
            await send_rows(producer, name, MESSAGES, list(range(100)))
            consumer.assign([tp])
            consumer.seek(tp, 3)
            while tp not in consumer._fetcher._records:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            got = await fetch_all(consumer, [tp], 97)
            await send_rows(producer, name, MESSAGES, list(range(100, 200)))
            got += await fetch_all(consumer, [tp], 100)
            assert [r.offset for r in got] == list(range(3, 200))
            assert [r.value for r in got] == [MESSAGES[i].value for i in range(3, 200)]

    run(go())


def test_a_consumer_that_wants_few_at_a_time_gets_few(topic: tuple[Cluster, str]) -> None:
    """`max_poll_records` is aiokafka's affair."""

    async def go() -> None:
        cluster, name = topic
        producer, consumer = clients(cluster)
        consumer._max_poll_records = 7
        tp = TopicPartition(name, 0)
        async with producer, consumer:
            await send_rows(producer, name, MESSAGES, list(range(20)))
            consumer.assign([tp])
            consumer.seek(tp, 0)
            sizes: list[int] = []
            while sum(sizes) < 20:
                sizes += map(len, (await inside.fetch(consumer, [tp], 200)).values())
            assert sizes == [7, 7, 6]

    run(go())


def test_a_fetch_in_a_thread_gives_the_same(
    topic: tuple[Cluster, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little it is, the parts in one order."""
    monkeypatch.setattr(inside, "THREAD_FROM", 0)
    test_sent_and_fetched("inside", topic)


def test_a_seek_while_a_thread_reads_wins(
    topic: tuple[Cluster, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read meanwhile is dropped; the position is what was sought."""
    monkeypatch.setattr(inside, "THREAD_FROM", 0)

    async def go() -> None:
        cluster, name = topic
        producer, consumer = clients(cluster)
        tp = TopicPartition(name, 0)
        async with producer, consumer:
            await send_rows(producer, name, MESSAGES, list(range(100)))
            consumer.assign([tp])
            consumer.seek(tp, 0)
            await fetch_all(consumer, [tp], 100)
            consumer.seek(tp, 0)
            fetching = asyncio.ensure_future(inside.fetch(consumer, [tp], 5000))
            read = inside._read_all
            sought = []

            def seek_first(found: Any) -> Any:
                if not sought:
                    sought.append(asyncio.run_coroutine_threadsafe(seek(), loop).result())
                return read(found)

            async def seek() -> None:
                consumer.seek(tp, 60)

            loop = asyncio.get_running_loop()
            monkeypatch.setattr(inside, "_read_all", seek_first)
            got = (await fetching)[tp]
            assert sought
            assert got.offset.tolist() == list(range(60, 100))

    run(go())


def test_a_damaged_partition_is_an_error_and_keeps_its_position(
    topic: tuple[Cluster, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched again, and then read."""

    async def go() -> None:
        cluster, name = topic
        producer, consumer = clients(cluster)
        tp = TopicPartition(name, 0)
        async with producer, consumer:
            await send_rows(producer, name, MESSAGES, [0, 1, 2])
            consumer.assign([tp])
            consumer.seek(tp, 1)

            def damaged(fetched: Fetched) -> None:
                monkeypatch.setattr(inside, "decode", decode)
                raise CorruptRecordException

            monkeypatch.setattr(inside, "decode", damaged)
            with pytest.raises(CorruptRecordException):
                await fetch_all(consumer, [tp], 2)
            assert await consumer.position(tp) == 1
            got = await fetch_all(consumer, [tp], 2)
            assert [r.offset for r in got] == [1, 2]

    run(go())


def test_an_unknown_aiokafka_is_said_once(
    topic: tuple[Cluster, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for whatever is missing, however often it is."""
    monkeypatch.setattr(aiokafka, "__version__", "9.9")
    monkeypatch.setattr(inside, "_told", set())
    with caplog.at_level(logging.WARNING):
        test_sent_and_fetched("public", topic)
    assert [r.message.partition(" is")[0] for r in caplog.records] == ["aiokafka 9.9"]


LATER = """
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
del fetcher.PartitionRecords
from aurora_batch.adapters.kafka import inside
inside.warm_up()
assert not inside._is_known(object(), ())
assert not inside._is_known(object(), ())
"""


def test_an_aiokafka_that_has_lost_a_name_is_no_error() -> None:
    """Whatever the version says of itself."""
    done = subprocess.run(
        [sys.executable, "-c", LATER],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "PartitionRecords" in done.stderr


async def new_topic(bootstrap: str, **said: str) -> tuple[Cluster, list[TopicPartition]]:
    """Return a topic of two partitions that keeps what is dated long ago."""
    name = f"inside.{uuid.uuid4().hex[:8]}"
    cluster = cluster_of(settings_for(bootstrap))
    await create_topics(
        cluster, {name: {"retention.ms": "-1", **said}}, partitions=2, replication=1
    )
    return cluster, [TopicPartition(name, p) for p in (0, 1)]


def read_from_start(consumer: Any, tps: list[TopicPartition]) -> None:
    """Take partitions whole."""
    inside.watch(consumer)
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)


async def transactions(bootstrap: str, codec: str | None) -> None:
    """Commit and abort by our batches; read what is committed."""
    cluster, tps = await new_topic(bootstrap)
    name = tps[0].topic
    producer, consumer = clients(cluster, transactional_id=f"{name}-writer", compression_type=codec)
    async with producer, consumer:
        read_from_start(consumer, tps)
        kept: list[bytes | None] = []
        for round_ in range(6):
            rows = list(range(500 * round_, 500 * round_ + 500))
            await producer.begin_transaction()
            await send_rows(producer, name, MESSAGES, rows)
            await send_rows(producer, name, MESSAGES, rows[:3], 1)
            if round_ % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                kept += [MESSAGES[i].value for i in rows]
        got = await fetch_all(consumer, tps, 1509)
        assert [r.value for r in got if r.partition == 0] == kept
        # Six times the records and a marker; the last ones may take a moment.
        while [await consumer.position(tp) for tp in tps] != [6 * 501, 6 * 4]:
            assert await inside.fetch(consumer, tps, 50) == {}


@pytest.mark.kafka
@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_aborted_transactions_are_not_seen(
    way: str, codec: str | None, kafka_broker: Broker
) -> None:
    """At a real broker, which checks what we wrote; positions move over what was aborted."""
    run(transactions(kafka_broker.bootstrap, codec))


@pytest.mark.kafka
def test_the_time_of_the_log_counts_where_the_topic_says_so(way: str, kafka_broker: Broker) -> None:
    """The broker sets it in the head of a batch alone, whatever the records say."""

    async def go() -> None:
        cluster, tps = await new_topic(
            kafka_broker.bootstrap, **{"message.timestamp.type": "LogAppendTime"}
        )
        producer, consumer = clients(cluster)
        async with producer, consumer:
            read_from_start(consumer, tps)
            batches = inside.batches(producer, MESSAGES, np.arange(99), np.arange(3000) + 5)
            for batch in batches:
                await (await producer.send_batch(batch, tps[0].topic, partition=1))
            got = await fetch_all(consumer, tps, 99)
            assert len({r.timestamp_us for r in got}) <= len(batches)
            assert min(r.timestamp_us for r in got) > 10**15

    run(go())


@pytest.mark.kafka
def test_both_ways_give_the_same(kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of batches that aiokafka and we sent, with and without transactions."""

    async def go() -> None:
        cluster, tps = await new_topic(kafka_broker.bootstrap)
        name = tps[0].topic
        plain, consumer = clients(cluster)
        other, again = clients(cluster, transactional_id=f"{name}-writer", compression_type="lz4")
        async with plain, consumer, other, again:
            for known in (inside.KNOWN, ("no version",)):
                monkeypatch.setattr(inside, "KNOWN", known)
                await send_rows(plain, name, MESSAGES, list(range(0, 3000, 3)), 0)
                await other.begin_transaction()
                await send_rows(other, name, MESSAGES, list(range(1, 3000, 3)), 0)
                await other.commit_transaction()
            seen = []
            for reader, known in ((again, ("no version",)), (consumer, ("0.14.",))):
                monkeypatch.setattr(inside, "KNOWN", known)
                read_from_start(reader, tps)
                seen.append(await fetch_all(reader, tps, 4000))
            assert seen[0] == seen[1]
            half = seen[0][:2000]
            assert [r.value for r in half] == [r.value for r in seen[0][2000:]]
            assert [r.headers for r in half] == [r.headers for r in seen[0][2000:]]

    run(go())


async def answers(broker: Broker, gather_ms: int) -> int:
    """Return in how many pieces 200 records are fetched that are sent one after the other."""
    cluster, tps = await new_topic(broker.bootstrap)
    producer, other = clients(cluster)
    await other.stop()
    consumer: Any = AIOKafkaConsumer(auto_offset_reset="none", **cluster.options)
    async with producer, consumer:
        inside.watch(consumer, gather_ms)
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, 0)
        idle = consumer._fetcher._fetch_min_bytes, consumer._fetcher._fetch_max_wait_ms

        async def send() -> None:
            for i in range(200):
                await send_rows(producer, tps[0].topic, MESSAGES, [i])

        sending = asyncio.create_task(send())
        pieces = []
        while sum(pieces) < 200:
            got = await inside.fetch(consumer, tps, 1000)
            pieces += [len(part) for part in got.values()]
        await sending
        assert await inside.fetch(consumer, tps, 3 * gather_ms + 100) == {}
        waits = consumer._fetcher._fetch_min_bytes, consumer._fetcher._fetch_max_wait_ms
        assert waits == idle  # a lone record is given at once again
    return len(pieces)


@pytest.mark.kafka
def test_records_that_come_one_by_one_are_gathered(kafka_broker: Broker) -> None:
    """The broker answers once in a while, not for each of them, until there is a silence."""

    async def go() -> None:
        each = await answers(kafka_broker, 0)
        gathered = await answers(kafka_broker, 50)
        assert 3 * gathered < each

    run(go())


def test_transactions_follow_each_other_soon(topic: tuple[Cluster, str]) -> None:
    """The wait for the markers of the one before is ours, shorter than aiokafka's."""

    async def go() -> None:
        async with AIOKafkaProducer(**topic[0].options) as producer:
            inside.hasten(producer)
            assert sender.BACKOFF_OVERRIDE == inside.MARKERS_S

    run(go())
