"""How a topic is divided between shards: what all of its workers agree on.

Two workers that divided it differently would spend the same capacity twice, and decide requests
twice. So the first worker writes the division beside the ledgers, and every later one compares;
`aurora shards --to N` changes it.
"""

import asyncio
import logging
from contextlib import AsyncExitStack

import msgspec
from msgspec import Struct

from aurora_batch.adapters.kafka import Cluster, Doubtful, Fenced, Reader, Sink
from aurora_batch.errors import BrokerError
from aurora_batch.schema import Message
from aurora_batch.settings import KafkaSettings
from pipelines.shards import Shard

log = logging.getLogger(__name__)

ATTEMPTS = 20
PAUSE_S = 0.25


class Agreement(Struct, frozen=True):
    """The division of a topic."""

    shards: int
    partitions: int  # of the topic of requests
    split: str  # of pools: `kafka.split`

    def __str__(self) -> str:
        """For people."""
        how = "equal parts of each pool" if self.split == "equal" else "pools by GPU type"
        return f"{self.shards} shards of {self.partitions} partitions, {how}"


def key_of(kafka: KafkaSettings) -> bytes:
    """Return the ledger key of a topic's agreement; also the transactional id to write it."""
    return f"aurora-{kafka.group}-{kafka.topics.requests}-shards".encode()


def transactional_id(kafka: KafkaSettings, name: str) -> str | None:
    """Return a transactional id, None where the broker has no transactions."""
    return None if kafka.transactional == "off" else name


def division(kafka: KafkaSettings, shards: int, partitions: int) -> Agreement:
    """Return the division by these settings, of a topic that has so many partitions.

    Raises `BrokerError` where the settings count them otherwise, and pools go by them.
    """
    if kafka.split == "gpu_type" and partitions != kafka.partitions:
        raise BrokerError(
            f"topic {kafka.topics.requests} has {partitions} partitions, kafka.partitions says "
            f"{kafka.partitions}; with kafka.split=gpu_type it must, or a pool had no shard"
        )
    return Agreement(shards, partitions, kafka.split)


async def read(cluster: Cluster, reader: Reader, partition: int) -> Agreement | None:
    """Return what was agreed on; `reader` is one of the ledger, `partition` that of the key."""
    saved = await reader.last_value(key_of(cluster.settings), partition)
    return None if saved is None else msgspec.json.decode(saved, type=Agreement)


async def agree(cluster: Cluster, shard: Shard, partitions: int, sink: Sink) -> None:
    """Write this worker's division down where none is yet, else compare.

    Raises
    ------
    BrokerError
        Another one is in force.
    """
    kafka = cluster.settings
    wanted = division(kafka, shard.count, partitions)
    partition = sink.partition_of(kafka.topics.ledger, key_of(kafka))
    async with Reader(cluster, kafka.topics.ledger, from_start=True) as reader:
        known = await read(cluster, reader, partition)
        if known is None:
            known = await _first(cluster, wanted, reader, partition)
    if known != wanted:
        raise BrokerError(
            f"the workers of {kafka.topics.requests} agreed on {known}; this one, shard {shard}, "
            f"would have {wanted}. Both would spend the same capacity: start it as agreed, or "
            f"change that for all: aurora shards --to {shard.count}"
        )


async def _first(cluster: Cluster, wanted: Agreement, reader: Reader, partition: int) -> Agreement:
    """Write the agreement unless another worker is first; return what is written."""
    for _ in range(ATTEMPTS):
        try:
            return await _written(cluster, wanted, reader, partition)
        except (Fenced, Doubtful) as error:  # by another one that is at it
            log.info("agreeing on the division of shards again: %s", error)
            await asyncio.sleep(PAUSE_S)
    raise BrokerError("workers that start at the same time do not come to an agreement")


async def _written(
    cluster: Cluster, wanted: Agreement, reader: Reader, partition: int
) -> Agreement:
    ledger, key = cluster.settings.topics.ledger, key_of(cluster.settings)
    async with AsyncExitStack() as stack:
        counts = await cluster.partitions([ledger])
        sink = Sink(cluster, counts, transactional_id(cluster.settings, key.decode()))
        stack.push_async_callback(sink.close)
        await sink.open()  # whoever else is at it is fenced
        known = await read(cluster, reader, partition)
        if known is None:
            record = Message(msgspec.json.encode(wanted), key)
            await sink.commit_alone(sink.stage({ledger: [record]}))
        return known or wanted
