"""Source, sink and reader against an embedded broker."""

import socket
from typing import Any

import confluent_kafka
import pytest

from aurora_batch.adapters.kafka import Cluster, Reader, Sink, Source
from aurora_batch.alignment import Merged
from aurora_batch.errors import BrokerError, UsageError
from aurora_batch.schema import Message, Record
from aurora_batch.settings import KafkaSettings
from tests.streaming import run

TOPIC = "aurora.requests"


def cluster_at(bootstrap: str, **said: Any) -> Cluster:
    """Cluster with short deadlines."""
    return Cluster.of(KafkaSettings(bootstrap=bootstrap, request_timeout_ms=3000, **said), {})


async def send(cluster: Cluster, messages: list[Message]) -> None:
    """Send to the topic of requests."""
    sink = Sink(cluster, await cluster.partitions([TOPIC]))
    await sink.open()
    await sink.send(sink.stage({TOPIC: messages}))
    await sink.close()


async def poll_all(source: Source | Reader, count: int) -> list[Record]:
    """Poll until so many records are there."""
    records: list[Record] = []
    while len(records) < count:
        polled = await source.poll(0.2)
        records += polled.in_turn() if isinstance(polled, Merged) else polled
    return records


def test_a_new_group_begins_at_the_earliest_and_then_where_it_committed(embedded: str) -> None:
    """Never at the latest: that would lose what came before the first start."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        await send(cluster, [Message(b"%d" % i, partition=i % 2) for i in range(10)])
        first = Source(cluster, TOPIC, [0, 1])
        await first.open()
        assert await first.rewind() == {0: 0, 1: 0}
        assert len(await poll_all(first, 10)) == 10
        await first.commit({0: 5, 1: 2})
        await first.close()

        second = Source(cluster, TOPIC, [0, 1])
        await second.open()
        assert await second.rewind() == {0: 5, 1: 2}
        values = [r.value for r in await poll_all(second, 3)]
        assert (values, await second.positions()) == ([b"5", b"7", b"9"], {0: 5, 1: 5})
        await second.close()

    run(go())


def test_rewind_comes_back_to_what_is_committed(embedded: str) -> None:
    """What was polled and not committed is polled again."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        await send(cluster, [Message(b"a"), Message(b"b")])
        source = Source(cluster, TOPIC, [0])
        await source.open()
        await source.rewind()
        polled = await poll_all(source, 2)
        await source.rewind()
        assert await poll_all(source, 2) == polled
        await source.close()

    run(go())


def test_offsets_outside_of_the_topic_are_an_incident(embedded: str) -> None:
    """A committed offset that the broker no longer has is said, not silently jumped over."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        await send(cluster, [Message(b"a")])
        source = Source(cluster, TOPIC, [0])
        await source.open()
        await source.commit({0: 99})
        with pytest.raises(BrokerError, match=r"committed offset 99 of aurora\.requests/0 lies"):
            await source.rewind()
        await source.close()

    run(go())


def test_keys_are_placed_as_by_every_kafka_client(embedded: str) -> None:
    """A key goes to the partition that librdkafka's murmur2 chooses; no key, to its request's."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        keys = [f"gpu-{i}".encode() for i in range(50)]
        other = confluent_kafka.Producer(
            {"bootstrap.servers": embedded, "partitioner": "murmur2_random", "log_level": 0}
        )
        for key in keys:
            other.produce(TOPIC, b"other", key)
        other.flush(5)
        await send(cluster, [Message(b"ours", key) for key in keys])
        await send(cluster, [Message(b"none", None, (), 6)])

        async with Reader(cluster, TOPIC, from_start=True) as reader:
            records = [r async for part in reader.parts() for r in part]
        placed = {
            value: {r.key: r.partition for r in records if r.value == value}
            for value in (b"other", b"ours", b"none")
        }
        assert placed[b"ours"] == placed[b"other"]
        assert placed[b"none"] == {None: 6 % 4}

    run(go())


def test_more_than_a_batch_holds_arrives_whole_and_in_order(embedded: str) -> None:
    """Two MiB to one partition: many record batches, one order."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        values = [b"%06d" % i + b"." * 1000 for i in range(2000)]
        await send(cluster, [Message(v, b"k") for v in values])
        async with Reader(cluster, TOPIC, from_start=True) as reader:
            assert [r.value async for part in reader.parts() for r in part] == values

    run(go())


def test_the_last_value_of_a_key_is_found_far_back(embedded: str) -> None:
    """Reading backwards in doubling steps finds the newest value, or that there is none."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        mine = [Message(b"old", b"mine"), Message(b"new", b"mine")]
        rest = [Message(b"x", b"others") for _ in range(3000)]
        sink = Sink(cluster, await cluster.partitions([TOPIC]))
        place = sink.partition_of(TOPIC, b"mine")
        await sink.close()
        messages = [Message(m.value, None, (), place) for m in rest]
        await send(cluster, mine)
        await send(cluster, messages)
        async with Reader(cluster, TOPIC, from_start=True) as reader:
            assert await reader.last_value(b"mine", place) == b"new"
            assert await reader.last_value(b"nobody", place) is None

    run(go())


def test_passwords_never_show() -> None:
    """User and password come from the environment, and no `repr` has them."""
    settings = KafkaSettings(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN")
    environ = {"AURORA_KAFKA_USERNAME": "ann", "AURORA_KAFKA_PASSWORD": "secret"}

    cluster = Cluster.of(settings, environ)

    assert cluster.options["sasl_plain_password"] == "secret"
    assert "secret" not in repr(cluster)
    with pytest.raises(UsageError, match="AURORA_KAFKA_USERNAME is not set"):
        Cluster.of(settings, {})


def test_a_broker_that_stays_silent_meets_a_deadline() -> None:
    """Something that accepts connections and never answers is one line, in time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = KafkaSettings(
            bootstrap=f"127.0.0.1:{silent.getsockname()[1]}", request_timeout_ms=200
        )
        with pytest.raises(BrokerError, match=r"no broker answers|took more than"):
            run(Cluster.of(settings, {}).partitions([TOPIC]))


def test_offsets_are_read_in_any_steps(embedded: str) -> None:
    """On from where it was, back, and after everything else that a reader does: what was asked."""

    async def go() -> None:
        cluster = cluster_at(embedded)
        await send(cluster, [Message(b"%d" % i, partition=i % 2) for i in range(200)])
        async with Reader(cluster, TOPIC, from_start=True) as reader:

            async def steps(*bounds: tuple[int, int]) -> None:
                for low, high in bounds:
                    read = await reader.between({0: low, 1: low + 5}, {0: high, 1: high + 1})
                    wanted = [b"%d" % (2 * i) for i in range(low, high)]
                    wanted += [b"%d" % (2 * i + 1) for i in range(low + 5, high + 1)]
                    assert [r.value for r in read] == wanted

            await steps((0, 10), (10, 20), (20, 21), (21, 60), (5, 30), (30, 30), (30, 90))
            assert len([r async for part in reader.parts() for r in part]) == 200
            await steps((90, 95), (60, 70))
            assert [r.value for r in await reader.between({1: 70}, {1: 71})] == [b"141"]
            assert await reader.last_value(b"none", 0) is None
            await steps((70, 99))

    run(go())
