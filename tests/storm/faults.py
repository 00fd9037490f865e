"""Nodes that die under a worker: the only one, again and again, or one of three in a commit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from confluent_kafka.admin import AdminClient

from pipelines.shards import WHOLE
from tests.broker import Broker, Brokers
from tests.storm.checker import Checker, Found
from tests.storm.load import PARTITIONS, Load, feeder, prepare
from tests.storm.reader import LiveReader
from tests.streaming import CLI, StreamProcess, stream_process, until

MOVE_S = 60.0  # without any progress
STOP_S = 30.0  # from SIGTERM to the end


@dataclass
class Outage:
    """What the death of a node did."""

    what: str
    recovered_s: float  # from the kill to the next committed decision that was read
    restarted: bool  # whether the node was back by then


class Faults:
    """A load, its worker process and its reader, while nodes die.

    Parameters
    ----------
    replication
        Of the topics.
    """

    def __init__(self, load: Load, folder: Path, replication: int = 1) -> None:
        self.load = load
        self.outages: list[Outage] = []
        self.stops_s: list[float] = []  # from SIGTERM to the end
        self._folder = folder
        self._replication = replication
        self._written = 0.0  # wall clock of the newest decision read
        kafka = load.settings.kafka
        self.checker = Checker(load, 1)
        self.reader = LiveReader(
            kafka.bootstrap, kafka.topics.decisions, PARTITIONS, self.checker, self._seen
        )

    def _seen(self, shard: str, written: float, at: float) -> None:
        self._written = max(written, self._written)

    async def prepared(self) -> None:
        """Create the topics."""
        await prepare(self.load, self._replication)

    async def filled(self, low: float = 0.0, high: float = 1.0) -> None:
        """Send the requests between two shares of all."""
        count = self.load.requests.num_rows
        async with feeder(self.load) as send:
            await send(round(low * count), round(high * count))

    def worker(
        self, *module: str, options: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[StreamProcess]:
        """Return the worker's process, to be entered."""
        return stream_process(self.load.settings, self._folder, *options, module=module or CLI)

    async def moved(self, since: float) -> None:
        """Wait until a decision was read that was written after that wall clock."""

        async def later() -> bool:
            return self._written > since and self.reader.decided > 0

        await asyncio.wait_for(until(later), MOVE_S)

    async def decided(self, count: int) -> None:
        """Wait until so many distinct requests were read."""

        async def enough() -> bool:
            return self.reader.decided >= count

        before = -1
        while self.reader.decided > before:
            before = self.reader.decided
            try:
                await asyncio.wait_for(until(enough), MOVE_S)
            except TimeoutError:
                continue
            return

    async def stopped(self, process: StreamProcess) -> None:
        """Send SIGTERM, and wait for its good end."""
        began = time.monotonic()
        process.signal(15)
        code = await asyncio.wait_for(process.ended(), STOP_S)
        assert code == 0, process.output[-2000:]
        self.stops_s.append(time.monotonic() - began)

    def found(self) -> Found:
        """Return what is wrong with everything read."""
        return self.checker.finish()


async def broker_storm(
    broker: Broker, load: Load, folder: Path, rounds: int, seed: int,
    progress: Callable[[int], object] = lambda _: None,
) -> Faults:  # fmt: skip
    """Kill the only node `rounds` times under a worker, and start it again each time."""
    rng = np.random.default_rng(seed)
    faults = Faults(load, folder)
    await faults.prepared()
    await faults.filled()
    count = load.requests.num_rows
    with faults.reader:
        async with faults.worker() as process:
            for number in range(rounds):
                # Some work is left for each round, whatever the machine's speed.
                await faults.decided(count * number // (2 * rounds) + 1)
                await asyncio.sleep(rng.uniform(0.0, 0.3))
                killed, at = time.time(), time.monotonic()
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(rng.uniform(0.0, 2.0))
                await asyncio.to_thread(broker.start)
                await faults.moved(killed)
                faults.outages.append(Outage("only node", time.monotonic() - at, True))
                progress(number + 1)
            await faults.decided(count)
            await faults.stopped(process)
    return faults


async def failover(brokers: Brokers, load: Load, folder: Path) -> Faults:
    """Let two nodes die in mid-transaction: the coordinator's, then a partition leader's.

    The worker is stopped while a node is away; the node comes back after that.
    """
    faults = Faults(load, folder, replication=3)
    await faults.prepared()
    kafka = load.settings.kafka
    identity = WHOLE.identity(kafka.group, kafka.topics.requests)
    victims: dict[str, Callable[[], Awaitable[int]]] = {
        "transaction coordinator": lambda: coordinator(kafka.bootstrap, identity),
        "leader of a partition": lambda: leader(kafka.bootstrap, kafka.topics.decisions, 0),
    }
    with faults.reader:
        for number, (what, find) in enumerate(victims.items()):
            await faults.filled(number / 2, (number + 1) / 2)
            node = brokers.node(await find())
            armed = "tests.crashing", "after acknowledgement", f"5:{node.pid}"
            async with faults.worker(*armed) as process:
                await asyncio.wait_for(_dead(node), MOVE_S)
                killed, at = time.time(), time.monotonic()
                await faults.moved(killed)
                faults.outages.append(Outage(what, time.monotonic() - at, False))
                await faults.stopped(process)
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(node.wait_until_ready, len(brokers.nodes))
        async with faults.worker() as process:
            await process.line_with("begins at")
            await faults.decided(load.requests.num_rows)
            await faults.stopped(process)
    return faults


async def _dead(node: Broker) -> None:
    async def ended() -> bool:
        return not node.running

    await until(ended, 0.01)


async def coordinator(bootstrap: str, identity: str) -> int:
    """Return the id of the node that coordinates the transactions of an identity."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    found: list[int] = []

    async def known() -> bool:
        # The first to ask makes the broker create the topic in which transactions are kept.
        with suppress(GroupCoordinatorNotAvailableError):
            found.append(await client.coordinator_lookup(CoordinationType.TRANSACTION, identity))
        return bool(found)

    try:
        await asyncio.wait_for(until(known), MOVE_S)
    finally:
        await client.close()
    return found[0]


async def leader(bootstrap: str, topic: str, partition: int) -> int:
    """Return the id of the node that leads a partition."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    metadata = await asyncio.to_thread(client.list_topics, topic, 10)
    return int(metadata.topics[topic].partitions[partition].leader)
