"""Exactly once, against a real broker: crashes, zombies, and what is missing."""

import asyncio
import random
import signal
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from aurora_batch.adapters.kafka import Fenced, create_topics
from aurora_batch.errors import BrokerError
from aurora_batch.settings import Settings
from pipelines.worker import Worker
from tests.broker import Broker
from tests.crashing import POINTS
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
    stream_process,
    until,
    worker_for,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


async def check_once(settings: Settings, count: int) -> None:
    """Every request of `count` has one committed decision; no pool is over in any window."""
    decisions = await decisions_of(settings)
    assert Counter(d["request_id"] for d in decisions) == {f"r{i}": 1 for i in range(count)}
    spent: dict[tuple[str, str], float] = defaultdict(float)
    for d in decisions:
        if d["provider"]:
            spent[d["window"], d["provider"]] += d["cost_usd"] / d["price_usd_per_hour"]
    for (_, provider), hours in spent.items():
        capacity = settings.providers[provider].capacity_gpu_hours_per_step
        assert isinstance(capacity, float | int)
        assert hours <= capacity * (1 + 1e-9)


def test_one_transaction_a_batch(kafka_broker: Broker) -> None:
    """Decisions, dead letters, ledger and offsets are committed together, each request once."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "whole")
        bad = [request(5000 + i, gpu_hours=-1) for i in range(20)]
        await send(settings, [*map(request, range(2000)), *bad])

        worker = await drained(settings)
        again = await drained(settings)

        await check_once(settings, 2000)
        assert (worker.account.decided, worker.account.dead) == (2000, 20)
        assert again.account.consumed == 0
        assert len(await records_of(settings, settings.kafka.topics.dead_letters)) == 20
        ledger = await ledger_of(settings)
        identity = f"aurora-aurora-{settings.kafka.topics.requests}-shard-0-of-1"
        assert {r.key for r in ledger} == {identity.encode()}

    run(go())


def test_kills_in_mid_run_lose_and_double_nothing(kafka_broker: Broker, tmp_path: Path) -> None:
    """SIGKILL at five random moments: every request once, no pool over, to a live reader too."""
    count, rng = 20_000, random.Random(3)

    async def go() -> None:
        settings = await prepared(kafka_broker, "kills", batch=100)
        # Scarce: 220 + 180 + ... GPU-hours of each window are asked for twice over.
        asked = (request(i, gpu_hours=0.1 + i % 5 / 10) for i in range(count))
        await send(settings, asked)
        for _ in range(5):
            async with stream_process(settings, tmp_path) as process:
                await process.line_with("begins at")
                await asyncio.sleep(rng.uniform(0.05, 0.6))
                await process.kill()
                seen = [d["request_id"] for d in await decisions_of(settings)]
                assert len(seen) == len(set(seen))
        assert len(seen) < count, "the kills came too late to prove anything"
        async with stream_process(settings, tmp_path, "--until-end") as process:
            assert await process.ended() == 0, process.output

        await check_once(settings, count)

    asyncio.run(asyncio.wait_for(go(), 200))


async def crashed_once(settings: Settings, folder: Path, point: str) -> None:
    """Decide 2,000 scarce requests, with one death at a point in the third batch."""
    await send(settings, (request(i, gpu_hours=0.1 + i % 5) for i in range(2000)))
    crashing = ("tests.crashing", point, "3")
    async with stream_process(settings, folder, "--until-end", module=crashing) as process:
        assert await process.ended() == -signal.SIGKILL, process.output
    async with stream_process(settings, folder, "--until-end") as process:
        assert await process.ended() == 0, process.output


@pytest.mark.parametrize("point", [p for p in POINTS if p != "before offsets alone"])
def test_death_at_each_point_of_the_protocol(
    kafka_broker: Broker, tmp_path: Path, point: str
) -> None:
    """Wherever it dies, its successor decides the rest, each request once, no pool over."""

    async def go() -> None:
        settings = await prepared(kafka_broker, point.replace(" ", "-"), batch=100)
        await crashed_once(settings, tmp_path, point)
        await check_once(settings, 2000)

    run(go())


def test_without_transactions_a_death_doubles(kafka_broker: Broker, tmp_path: Path) -> None:
    """The control: at least once, dying before the offsets are committed, decides twice."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "control", batch=100)
        settings = msgspec.structs.replace(
            settings, kafka=msgspec.structs.replace(settings.kafka, transactional="off")
        )
        await crashed_once(settings, tmp_path, "before offsets alone")
        counts = Counter(d["request_id"] for d in await decisions_of(settings))
        assert len(counts) == 2000
        assert max(counts.values()) == 2

    run(go())


def test_a_second_worker_of_a_shard_fences_the_first(kafka_broker: Broker) -> None:
    """The first one stops with a line that says why; nothing is decided twice."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "fence")
        await send(settings, map(request, range(100)))
        first = worker_for(settings)
        running = asyncio.create_task(first.run(asyncio.Event()))
        await until(lambda: _decided(first, 100))
        second = worker_for(settings)
        stop = asyncio.Event()
        successor = asyncio.create_task(second.run(stop))
        await until(lambda: _ready(second))
        await send(settings, map(request, range(100, 200)))
        with pytest.raises(Fenced, match="another worker has taken this shard over"):
            await running
        await until(lambda: _decided(second, 100))
        stop.set()
        await successor

        await check_once(settings, 200)

    run(go())


async def _ready(worker: Worker) -> bool:
    return worker.ready


async def _decided(worker: Worker, count: int) -> bool:
    return worker.account.decided == count


def test_a_takeover_sees_its_ledger_behind_an_open_transaction(kafka_broker: Broker) -> None:
    """Another shard's open transaction hides the snapshot from readers; it is waited for."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "covered")
        topic = settings.kafka.topics.ledger
        first, stop = worker_for(settings), asyncio.Event()
        running = asyncio.create_task(first.run(stop))
        await until(lambda: _ready(first))
        other = AIOKafkaProducer(
            bootstrap_servers=kafka_broker.bootstrap, transactional_id="covered-other"
        )
        await other.start()
        await other.begin_transaction()
        for partition in range(4):
            await other.send_and_wait(topic, b"?", b"another shard", partition)
        whole = [request(i, gpu_type="a100", gpu_hours=100.0) for i in range(20)]
        await send(settings, whole[:10])
        await until(lambda: _decided(first, 10))
        stop.set()
        await running
        await send(settings, whole[10:])

        second = asyncio.create_task(drained(settings))
        await asyncio.wait([second], timeout=1.0)
        assert not second.done()
        await other.abort_transaction()
        await second
        await other.stop()

        await check_once(settings, 20)

    run(go())


def test_a_missing_topic_is_one_line(kafka_broker: Broker) -> None:
    """Where a topic is missing, the worker says which and how to create it."""
    settings = settings_for(kafka_broker.bootstrap, prefix="missing", transactional="auto")
    with pytest.raises(
        BrokerError, match=r"topic missing\S*\.requests does not exist at .*create it"
    ):
        run(drained(settings))


def test_topics_are_created_once(kafka_broker: Broker) -> None:
    """Creating them again says that they exist; too many copies is one line."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "made")
        cluster = cluster_of(settings)
        made = settings.kafka.topics.requests
        again = await create_topics(cluster, {made: {}, f"{made}.new": {}}, 2, 1)
        assert {c.topic: c.existed for c in again} == {made: True, f"{made}.new": False}
        with pytest.raises(BrokerError, match=r"topic made\S*\.copies cannot be created"):
            await create_topics(cluster, {f"{made}.copies": {}}, 1, 100)

    run(go())


@pytest.mark.usefixtures("kafka_tools")
def test_it_survives_the_broker(tmp_path: Path) -> None:
    """A broker killed and started again: the worker begins again by itself, each request once."""

    async def go(broker: Broker) -> None:
        settings = await prepared(broker, "crash", batch=50)
        await send(settings, map(request, range(5000)))
        worker = worker_for(settings)
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))

        async def begun() -> bool:
            return worker.account.decided > 500

        await until(begun)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await until(lambda: _decided(worker, 5000))
        stop.set()
        await running
        assert worker.account.in_flight == 0
        await check_once(settings, 5000)

    # Of its own: the session's broker is not to die under other tests.
    with Broker(tmp_path / "broker") as broker:
        asyncio.run(asyncio.wait_for(go(broker), 120))
