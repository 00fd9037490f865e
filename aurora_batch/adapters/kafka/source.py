"""Requests in: a fixed shard of a topic's partitions.

`assign()`, never a group subscription: the group is only where offsets are kept, so no rebalance
can take a partition away in mid-batch, and whoever owns the transactional id owns the partitions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import translated
from aurora_batch.errors import BrokerError
from aurora_batch.schema import Record

Offsets = dict[int, int]  # partition -> next offset


class Source:
    """A consumer of some partitions of one topic, from where the group's offsets say.

    Order of use: `open`, `rewind`, then `poll` as often as wanted, `close`. Not for two tasks.

    Parameters
    ----------
    partitions
        Those that this shard owns; at least one.
    """

    def __init__(self, cluster: Cluster, topic: str, partitions: Sequence[int]) -> None:
        self._cluster = cluster
        self._topic = topic
        self._assigned = [TopicPartition(topic, p) for p in partitions]
        self._consumer = AIOKafkaConsumer(
            group_id=cluster.settings.group,
            enable_auto_commit=False,
            # An offset that is gone is an incident, never a silent jump to the newest record.
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=self._cluster.settings.fetch_max_wait_ms,
            **cluster.options,
        )

    async def open(self) -> None:
        """Connect and take the partitions."""
        async with self._bounded("connecting"):
            await self._consumer.start()
            self._consumer.assign(self._assigned)

    async def rewind(self) -> Offsets:
        """Seek to the committed offsets, or to the earliest of a new group; return them.

        Ask only after the sink is open: until then a transaction of a predecessor may still be
        about to move them.
        """
        async with self._bounded("asking for committed offsets"):
            first = await self._consumer.beginning_offsets(self._assigned)
            last = await self._consumer.end_offsets(self._assigned)
            start = {}
            for tp in self._assigned:
                committed = await self._consumer.committed(tp)
                start[tp.partition] = first[tp] if committed is None else committed
                self._check(tp, start[tp.partition], first[tp], last[tp])
                # Not seek_to_committed(): that skips partitions whose committed offset is 0.
                self._consumer.seek(tp, start[tp.partition])
        return start

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return what has arrived, or nothing after `timeout_s`.

        Within a partition in the order of offsets; between partitions in the order of their
        timestamps, so that after an outage no partition runs ahead of the others in event time.
        """
        async with self._bounded("polling", timeout_s):
            # Always everything: while a part of a fetch is unread, its broker is not asked for
            # more, and an empty selection of partitions would mean all of them.
            polled = await self._consumer.getmany(timeout_ms=round(timeout_s * 1000))
        return _merged([[_record(r) for r in polled[tp]] for tp in self._assigned if tp in polled])

    async def end_offsets(self) -> Offsets:
        """Return the offset after the last committed record of each partition."""
        async with self._bounded("asking for end offsets"):
            ends = await self._consumer.end_offsets(self._assigned)
        return {tp.partition: int(end) for tp, end in ends.items()}

    async def positions(self) -> Offsets:
        """Return the next offset that `poll` will look at; behind markers of transactions."""
        async with self._bounded("asking for positions"):
            return {tp.partition: await self._consumer.position(tp) for tp in self._assigned}

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of some partitions, outside of any transaction."""
        async with self._bounded("committing offsets"):
            await self._consumer.commit(self.to_commit(offsets))

    def to_commit(self, offsets: Mapping[int, int]) -> dict[Any, Any]:
        """Return offsets as aiokafka wants them."""
        return {
            TopicPartition(self._topic, p): OffsetAndMetadata(next_offset, "")
            for p, next_offset in offsets.items()
        }

    async def close(self) -> None:
        """Disconnect; never raises `BrokerError`."""
        try:
            async with self._bounded("disconnecting"):
                await self._consumer.stop()
        except BrokerError:
            pass

    def _bounded(self, doing: str, extra_s: float = 0.0) -> Any:
        return translated(doing, self._cluster.bootstrap, self._cluster.timeout_s + extra_s)

    def _check(self, tp: Any, offset: int, first: int, last: int) -> None:
        if not first <= offset <= last:
            raise BrokerError(
                f"committed offset {offset} of {tp.topic}/{tp.partition} lies outside of what the "
                f"broker holds, {first} to {last}: records were deleted before they were decided, "
                "or the topic was made anew; choose another kafka.group to begin at the earliest"
            )


def _record(r: Any) -> Record:
    timestamp = r.timestamp * 1000 if r.timestamp >= 0 else -1
    return Record(r.value, r.key, r.topic, r.partition, r.offset, timestamp, tuple(r.headers))


def _merged(parts: Sequence[list[Record]]) -> list[Record]:
    if len(parts) < 2:
        return parts[0] if parts else []
    # The running maximum, or a timestamp that goes back would swap records of a partition.
    reached = [
        np.maximum.accumulate(np.fromiter((r.timestamp_us for r in part), np.int64, len(part)))
        for part in parts
    ]
    records = [record for part in parts for record in part]
    order = np.argsort(np.concatenate(reached), kind="stable")
    return [records[i] for i in order.tolist()]
