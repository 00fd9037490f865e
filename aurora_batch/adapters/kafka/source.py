"""Requests in: a fixed shard of a topic's partitions.

`assign()`, never a group subscription: the group is only where offsets are kept, so no rebalance
can take a partition away in mid-batch, and whoever owns the transactional id owns the partitions.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from aurora_batch.adapters.kafka import inside
from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import translated
from aurora_batch.adapters.kafka.stopping import stopped
from aurora_batch.alignment import Alignment, Merged
from aurora_batch.errors import BrokerError

Offsets = dict[int, int]  # partition -> next offset

# Seconds that a partition of which nothing is heard (its leader may be away) holds up the others.
SILENCE_S = 1.0


class Source:
    """A consumer of some partitions of one topic, from where the group's offsets say.

    Order of use: `open`, `rewind`, then `poll` as often as wanted, from one task; `close`.

    Parameters
    ----------
    partitions
        Those that this shard owns; at least one.
    gather_ms
        See `inside.watch`.
    """

    def __init__(
        self, cluster: Cluster, topic: str, partitions: Sequence[int], gather_ms: int = 0
    ) -> None:
        self._cluster = cluster
        self._gather_ms = gather_ms
        self._topic = topic
        self._assigned = [TopicPartition(topic, p) for p in partitions]
        self._alignment = Alignment(partitions)
        self._released = time.monotonic()
        # Records of a partition that is ahead wait here; half of what may be in flight, in all.
        self._most_held = cluster.settings.max_in_flight_bytes // (2 * len(self._assigned))
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
            inside.watch(self._consumer, self._gather_ms)

    async def rewind(self) -> Offsets:
        """Seek to the committed offsets, or to the earliest of a new group; return them.

        Ask only after the sink is open: until then a transaction of a predecessor may still be
        about to move them.
        """
        self._alignment = Alignment(tp.partition for tp in self._assigned)
        self._released = time.monotonic()
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

    async def poll(self, timeout_s: float) -> Merged:
        """Return what has arrived, or nothing after `timeout_s`.

        Partitions are merged by their timestamps, so that in a backlog none runs ahead of the
        others in event time.
        """
        async with self._bounded("polling", timeout_s):
            # Never an empty choice, which would mean all: the partition furthest behind holds none.
            wanted = [
                tp
                for tp in self._assigned
                if self._alignment.held_bytes(tp.partition) <= self._most_held
            ]
            # Always everything: while a part of a fetch is unread, its broker is not asked for
            # more.
            polled = await inside.fetch(self._consumer, wanted, round(timeout_s * 1000))
            for tp, records in polled.items():
                self._alignment.add(tp.partition, records)
            merged = self._alignment.release(await self._ended())
        if merged or not self._alignment.waiting:
            self._released = time.monotonic()
        return merged

    async def _ended(self) -> set[int]:
        """Return the partitions that need not be waited for: read to their end, or silent."""
        ended = set()
        patient = time.monotonic() - self._released < SILENCE_S
        for tp in self._assigned:
            end = self._consumer.last_stable_offset(tp)
            read = end is not None and await self._consumer.position(tp) >= end
            if read or not (patient or self._alignment.held_bytes(tp.partition)):
                ended.add(tp.partition)
        return ended

    async def end_offsets(self) -> Offsets:
        """Return the offset after the last committed record of each partition."""
        async with self._bounded("asking for end offsets"):
            ends = await self._consumer.end_offsets(self._assigned)
        return {tp.partition: int(end) for tp, end in ends.items()}

    async def positions(self) -> Offsets:
        """Return the next offset that `poll` will return; behind markers of transactions."""
        async with self._bounded("asking for positions"):
            positions = {tp.partition: await self._consumer.position(tp) for tp in self._assigned}
        for partition in positions:
            held = self._alignment.first_held(partition)
            positions[partition] = positions[partition] if held is None else held
        return positions

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
        await stopped(self._consumer, self._cluster.timeout_s)

    def _bounded(self, doing: str, extra_s: float = 0.0) -> Any:
        return translated(doing, self._cluster.bootstrap, self._cluster.timeout_s + extra_s)

    def _check(self, tp: Any, offset: int, first: int, last: int) -> None:
        if not first <= offset <= last:
            raise BrokerError(
                f"committed offset {offset} of {tp.topic}/{tp.partition} lies outside of what the "
                f"broker holds, {first} to {last}: records were deleted before they were decided, "
                "or the topic was made anew; choose another kafka.group to begin at the earliest"
            )
