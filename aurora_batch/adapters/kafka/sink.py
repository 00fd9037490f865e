"""Decisions out: record batches that we build and place ourselves, committed with their offsets.

One transaction a micro-batch, or for some of a backlog (decisions, dead letters, ledger, offsets),
fenced by its transactional id; or, where the broker has no transactions, every send awaited and
then the offsets committed: nothing is lost, and what was sent before a crash is sent again.

A sink that raised `Doubtful` or `Fenced` is to be closed, not used again: aiokafka never gives
sequence numbers back, and would commit a transaction of which a send failed.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from numpy.typing import NDArray

from aurora_batch.adapters.kafka import inside
from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import settled, translated
from aurora_batch.adapters.kafka.once import refused, sent_once
from aurora_batch.adapters.kafka.source import Source
from aurora_batch.errors import BrokerError
from aurora_batch.schema import Message, Messages

# Bytes of a record batch as it is sent. aiokafka sends one batch a partition and request, and its
# 16 KiB would mean hundreds of round trips for a micro-batch; brokers refuse more than 1 MiB.
BATCH_BYTES = 1_000_000
_STOP_S = 2.0
_COMPRESSION = {"none": None, **{name: name for name in ("gzip", "snappy", "lz4", "zstd")}}
_PARTITIONER = DefaultPartitioner()


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as every Kafka client places it (murmur2)."""
    every = list(range(partitions))
    return int(_PARTITIONER(key, every, every))


@dataclass(frozen=True)
class Staged:
    """Record batches ready to send, by topic and partition."""

    batches: list[tuple[str, int, Any]]
    messages: int


class Sink:
    """A producer; `open`, then `stage` and `commit` for each micro-batch, `close`.

    Parameters
    ----------
    transactional_id
        None: at least once.
    partitions
        Of each topic that is written to.
    """

    def __init__(
        self, cluster: Cluster, partitions: Mapping[str, int], transactional_id: str | None = None
    ) -> None:
        self._cluster = cluster
        self.transactional = transactional_id is not None
        self._partitions = {topic: list(range(n)) for topic, n in partitions.items()}
        self._placed: dict[tuple[str, bytes], int] = {}
        self._sent: list[Any] = []
        self._producer = AIOKafkaProducer(
            enable_idempotence=True,
            transactional_id=transactional_id,
            transaction_timeout_ms=cluster.settings.transaction_timeout_ms,
            compression_type=_COMPRESSION[cluster.settings.compression],
            max_batch_size=min(BATCH_BYTES, cluster.settings.max_message_bytes),
            **cluster.options,
        )
        self._producer.client.send = sent_once(self._producer.client.send)
        inside.hasten(self._producer)

    async def open(self) -> None:
        """Connect. With a transactional id this fences a predecessor and ends its transaction.

        When it returns, the committed offsets of the shard are final.
        """
        async with self._bounded("starting a producer", self._cluster.transaction_s):
            await self._producer.start()

    def partition_of(self, topic: str, key: bytes) -> int:
        """Return the partition of a key."""
        place = self._placed.get((topic, key))
        if place is None:
            if len(self._placed) > 100_000:
                self._placed.clear()
            place = partition_of_key(key, len(self._partitions[topic]))
            self._placed[topic, key] = place
        return place

    def stage(self, messages: Mapping[str, Iterable[Message]]) -> Staged:
        """Return messages, by topic, as record batches; sends nothing. May run in any thread.

        Messages of one topic and key keep their order.
        """
        full: list[tuple[str, int, Any]] = []
        count = 0
        for topic, sequence in messages.items():
            columns = Messages.of(sequence)
            if not columns:
                continue
            count += len(columns)
            places = self._places(topic, columns)
            used = np.flatnonzero(np.bincount(places)).tolist()
            lanes = [np.flatnonzero(places == place) for place in used]
            made = inside.batches(self._producer, columns, lanes)
            for place, batches in zip(used, made, strict=True):
                full += [(topic, place, batch) for batch in batches]
        return Staged(full, count)

    def _places(self, topic: str, messages: Messages) -> NDArray[np.int64]:
        """Return the partition that each message goes to."""
        own = messages.partition % len(self._partitions[topic])
        if messages.key.null_count == len(messages):
            return own
        # Hashing is slow, and there are few keys: those that producers key requests by.
        keys = messages.key.dictionary_encode()
        places = [self.partition_of(topic, key) for key in keys.dictionary.to_pylist()]
        of_key = pa.array(places, pa.int64()).take(keys.indices)
        chosen: NDArray[np.int64] = pc.coalesce(of_key, pa.array(own)).to_numpy()
        return chosen

    async def send(self, staged: Staged) -> None:
        """Send everything and wait until the broker has it."""
        async with self._bounded("sending", self._cluster.timeout_s):
            await self._send(staged)

    async def commit(
        self, staged: Sequence[Staged], offsets: Mapping[int, int], source: Source
    ) -> None:
        """Send everything, each partition in its order, and commit the offsets it came from.

        Raises
        ------
        Doubtful
            Nobody knows what of it happened (with a transaction: all or nothing).
        Fenced
            Another worker has this shard; nothing of it happened.
        """
        if not self.transactional:
            for part in staged:
                await self.send(part)
            await source.commit(offsets)
            return
        async with self._bounded("committing a batch", self._cluster.transaction_s):
            await self._producer.begin_transaction()
            # Awaited one and all: aiokafka commits even when a send has failed.
            await self._send(*staged)
            # Not beside it: while the coordinator writes one change of a transaction, the broker
            # refuses records of it for a while, and aiokafka sends them again after 100 ms.
            await self._producer.send_offsets_to_transaction(
                source.to_commit(offsets), self._cluster.settings.group
            )
            await self._producer.commit_transaction()

    async def commit_alone(self, *staged: Staged) -> None:
        """Send everything, one after the other, in one transaction, without offsets.

        Raises as `commit` does.
        """
        if not self.transactional:
            for part in staged:
                await self.send(part)
            return
        async with self._bounded("committing", self._cluster.transaction_s):
            await self._producer.begin_transaction()
            for part in staged:
                await self._send(part)
            await self._producer.commit_transaction()

    async def _send(self, *staged: Staged) -> None:
        lanes: dict[tuple[str, int], list[Any]] = {}
        for topic, partition, batch in chain.from_iterable(part.batches for part in staged):
            lanes.setdefault((topic, partition), []).append(batch)
        self._sent = []
        await settled([self._send_lane(*place, batches) for place, batches in lanes.items()])

    async def _send_lane(self, topic: str, partition: int, batches: list[Any]) -> None:
        """Send the batches of one partition, in their order."""
        futures = []
        for batch in batches:
            future = await self._producer.send_batch(batch, topic, partition=partition)
            self._sent.append(future)
            futures.append(future)
        await settled(futures)

    async def close(self) -> None:
        """Disconnect within seconds, whatever the state; never raises `BrokerError`.

        An open transaction stays open until a successor, or its timeout, ends it.
        """
        stopping = asyncio.ensure_future(self._producer.stop())
        await asyncio.wait([stopping], timeout=_STOP_S)
        # aiokafka's stop() waits for every batch, for ever while brokers are away.
        for future in self._sent:
            future.cancel()
        try:
            async with self._bounded("stopping a producer", self._cluster.timeout_s):
                await stopping
        except BrokerError:
            # What aiokafka goes on trying would connect again.
            self._producer.client.send = refused
            await self._producer.client.close()

    def _bounded(self, doing: str, seconds: float) -> Any:
        return translated(doing, self._cluster.bootstrap, seconds)
