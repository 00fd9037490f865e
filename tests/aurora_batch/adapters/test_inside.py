"""Fetching and sending as columns: the same inside aiokafka or by its public names."""

import asyncio
import logging
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import aiokafka
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import CorruptRecordException
from aiokafka.producer import sender
from aiokafka.structs import TopicPartition

from aurora_batch.adapters.kafka import Cluster, create_topics, inside
from aurora_batch.adapters.kafka.wire import Fetched, decode
from aurora_batch.schema import Message, Messages, Record, Records
from tests.broker import Broker
from tests.streaming import cluster_of, run, settings_for


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
    for batch in inside.batches(producer, messages, [np.array(rows)], 1234)[0]:
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
            (batches,) = inside.batches(producer, MESSAGES, [np.arange(99)], np.arange(3000) + 5)
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
