"""Sends that fail inside a batch: replies that are too large, and a topic that goes away.

python -m pytest -m kafka tests/fire/test_failed_sends.py
"""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from aurora_batch.adapters.kafka import create_topics
from aurora_batch.errors import BrokerError
from aurora_batch.schema import Message, Record
from aurora_batch.settings import Bytes, Settings
from tests.broker import Broker
from tests.streaming import (
    cluster_of,
    decisions_of,
    drained,
    ledger_of,
    prepared,
    records_of,
    request,
    run,
    send,
    settings_for,
    until,
    worker_for,
)

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(120),
]

LEAST = 4096  # bytes: max.message.bytes of the topics that are written to


def with_kafka(settings: Settings, **kafka: Any) -> Settings:
    """Return settings with other keys of `kafka:`."""
    return msgspec.structs.replace(settings, kafka=msgspec.structs.replace(settings.kafka, **kafka))


async def narrow(broker: Broker, prefix: str) -> Settings:
    """Settings whose decisions and dead letters have topics for small messages only."""
    settings = settings_for(broker.bootstrap, prefix=prefix, transactional="auto", batch=100)
    topics = settings.kafka.topics
    small = {"max.message.bytes": str(LEAST)}
    wanted = {topics.decisions: small, topics.dead_letters: small}
    await create_topics(
        cluster_of(settings), {**wanted, topics.requests: {}, topics.ledger: {}}, 4, 1
    )
    return settings


def poisoned(number: int) -> Message:
    """A valid request whose reply is too large: its key, or what travels, comes back with it."""
    plain = request(number)
    if number % 2:
        return Message(plain.value, plain.key, (("ce_source", b"." * LEAST),))
    return Message(plain.value, b"k" * LEAST)


def place_of(letter: Record) -> tuple[int, int]:
    """Return partition and offset of the request that a dead letter names."""
    headers = dict(letter.headers)
    return int(headers["aurora-partition"]), int(headers["aurora-offset"])


def test_a_reply_that_is_too_large_is_a_dead_letter(kafka_broker: Broker) -> None:
    """Poison costs only itself: a dead letter with code and place; the rest is decided once."""

    async def go() -> None:
        settings = await narrow(kafka_broker, "poison")
        settings = with_kafka(settings, max_message_bytes=Bytes(LEAST))
        bad = set(range(50, 400, 60)) | set(range(51, 400, 120))
        await send(settings, (poisoned(i) if i in bad else request(i) for i in range(400)))
        sent = await records_of(settings, settings.kafka.topics.requests)

        worker = await drained(settings)
        again = await drained(settings)

        assert (worker.account.decided, worker.account.dead) == (400 - len(bad), len(bad))
        assert again.account.consumed == 0
        decided = Counter(d["request_id"] for d in await decisions_of(settings))
        assert decided == {f"r{i}": 1 for i in range(400) if i not in bad}
        letters = await records_of(settings, settings.kafka.topics.dead_letters)
        assert {dict(r.headers)["aurora-reason"] for r in letters} == {b"reply_too_large"}
        places = {(r.partition, r.offset): r.value for r in sent}
        values = {request(i).value for i in bad}
        assert Counter(places[place_of(r)] for r in letters) == dict.fromkeys(values, 1)
        assert {r.value for r in letters} == values

    run(go())


def test_a_topic_that_takes_less_is_one_line(kafka_broker: Broker) -> None:
    """Where a topic takes less than the settings say, nothing is committed until they agree."""

    async def go() -> None:
        # Compressed, a batch of them would still be small enough.
        settings = with_kafka(await narrow(kafka_broker, "refused"), compression="none")
        bad = [request(5000 + i, gpu_hours=-1) for i in range(20)]
        await send(settings, [*map(request, range(300)), *bad])

        with pytest.raises(BrokerError, match=r"too large; raise .* or lower kafka\.max_mess"):
            await drained(settings)
        topics = settings.kafka.topics
        for topic in (topics.decisions, topics.dead_letters):
            assert await records_of(settings, topic) == []
        assert await ledger_of(settings) == []
        worker = await drained(with_kafka(settings, max_message_bytes=Bytes(LEAST)))

        assert (worker.account.decided, worker.account.dead) == (300, 20)
        decided = Counter(d["request_id"] for d in await decisions_of(settings))
        assert decided == {f"r{i}": 1 for i in range(300)}
        assert len(await records_of(settings, topics.dead_letters)) == 20

    run(go())


async def deleted(settings: Settings, topic: str) -> None:
    """Delete a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


@pytest.mark.parametrize("made_anew", ["after it ended", "while it tries"])
def test_a_deleted_topic(kafka_broker: Broker, made_anew: str) -> None:
    """Decisions have nowhere to go: the worker says so and ends; made anew, it goes on, once."""

    async def go() -> None:
        settings = await prepared(
            kafka_broker,
            made_anew.replace(" ", "-"),
            batch=100,
            request_timeout_ms=1000,
            transaction_timeout_ms=6000,
        )
        topic = settings.kafka.topics.decisions
        worker, stop = worker_for(settings), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await send(settings, map(request, range(300)))
        await until(lambda: _decided(worker.account, 300))
        first = await decisions_of(settings)
        await deleted(settings, topic)
        await send(settings, map(request, range(300, 600)))
        if made_anew == "after it ended":
            with pytest.raises(BrokerError, match=rf"topic {topic} does not exist .* create it"):
                await running
            await create_topics(cluster_of(settings), {topic: {}}, 4, 1)
            await drained(settings)
        else:
            await until(lambda: _gone(settings, topic))
            await create_topics(cluster_of(settings), {topic: {}}, 4, 1)
            await until(lambda: _decided(worker.account, 600))
            stop.set()
            await running

        decided = Counter(d["request_id"] for d in [*first, *await decisions_of(settings)])
        assert decided == {f"r{i}": 1 for i in range(600)}

    run(go())


async def _decided(account: Any, count: int) -> bool:
    return bool(account.decided >= count)


async def _gone(settings: Settings, topic: str) -> bool:
    try:
        await cluster_of(settings).partitions([topic])
    except BrokerError:
        return True
    return False
