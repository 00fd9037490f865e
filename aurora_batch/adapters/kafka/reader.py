"""A topic read from a given place, without a group and without a trace."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from aurora_batch.adapters.kafka import inside
from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import translated
from aurora_batch.adapters.kafka.stopping import stopped
from aurora_batch.schema import Records
from aurora_batch.schema.records import NO_RECORDS

_LOOK_S = 0.05
# The broker waits so long for records before it says that there are none. A reader knows where the
# end is and seeks, and what it seeks comes after the answer that is waited for.
WAIT_MS = 20


class Reader:
    """Reads committed records of all partitions of a topic; `async with` opens and closes it.

    Parameters
    ----------
    from_start
        Begin at the earliest record; otherwise after the last one.
    """

    def __init__(self, cluster: Cluster, topic: str, *, from_start: bool) -> None:
        self._cluster = cluster
        self._topic = topic
        self._from_start = from_start
        self._assigned: list[Any] = []
        self._consumer: Any = None
        # By partition: from which offset on, what, and the position after it.
        self._held: dict[Any, tuple[int, Records, int]] = {}

    async def __aenter__(self) -> "Reader":
        count = (await self._cluster.partitions([self._topic]))[self._topic]
        self._assigned = [TopicPartition(self._topic, p) for p in range(count)]
        self._consumer = AIOKafkaConsumer(
            # A reader leaves no trace, and what the broker has dropped is no loss to it.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=min(self._cluster.settings.fetch_max_wait_ms, WAIT_MS),
            **self._cluster.options,
        )
        try:
            async with self._bounded("connecting"):
                await self._consumer.start()
                self._consumer.assign(self._assigned)
                where = (
                    self._consumer.beginning_offsets
                    if self._from_start
                    else self._consumer.end_offsets
                )
                for tp, offset in (await where(self._assigned)).items():
                    self._consumer.seek(tp, offset)
        except BaseException:
            await stopped(self._consumer, self._cluster.timeout_s)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stopped(self._consumer, self._cluster.timeout_s)

    async def poll(self, timeout_s: float) -> Records:
        """Return what has arrived, or nothing after `timeout_s`."""
        async with self._bounded("polling", timeout_s):
            polled = await inside.fetch(self._consumer, self._assigned, round(timeout_s * 1000))
        return Records.joined(list(polled.values()))

    async def parts(self, *, settled: bool = False) -> AsyncIterator[Records]:
        """Yield everything from the earliest to what is the end now, in parts of some records.

        Partition by partition, in the order of offsets; as much is held as one fetch brings.

        Parameters
        ----------
        settled
            Wait first until every transaction that wrote before now has ended, so that nothing
            which was committed before now is missed.
        """
        if settled:
            for tp in self._assigned:
                await self._uncovered(tp)
        async with self._bounded("asking for offsets"):
            low = await self._consumer.beginning_offsets(self._assigned)
            high = await self._consumer.end_offsets(self._assigned)
        for tp in self._assigned:
            self._consumer.seek(tp, low[tp])
            position = low[tp]
            while position < high[tp]:
                part, position = await self._next_part(tp, position)
                if records := _before(part, high[tp]):
                    yield records

    async def _next_part(self, tp: Any, position: int) -> tuple[Records, int]:
        """Return the next records of a partition and the position after them."""
        async with self._bounded("reading"):
            while True:
                part = (await inside.fetch(self._consumer, [tp], 500)).get(tp, NO_RECORDS)
                after = await self._consumer.position(tp)
                if after != position:
                    return part, after

    async def between(self, low: Mapping[int, int], high: Mapping[int, int]) -> Records:
        """Return the records of the offsets low <= offset < high of each partition of `low`.

        What the broker no longer has is left out.
        """
        records: list[Records] = []
        async with self._bounded("reading again"):
            for partition, start in low.items():
                tp = TopicPartition(self._topic, partition)
                first = (await self._consumer.beginning_offsets([tp]))[tp]
                begin, end = max(start, first), high.get(partition, 0)
                if begin < end:
                    records.append(await self._between(tp, begin, end))
        return Records.joined(records)

    async def last_value(self, key: bytes, partition: int, *, patient: bool = True) -> bytes | None:
        """Return the newest value under `key` in a partition, None where there is none.

        Reads backwards in steps that double, since what is asked for is mostly near the end. A
        value that is committed may lie behind the beginning of somebody else's open transaction,
        where committed records cannot be read yet; the end of that is waited for, where `patient`.
        """
        tp = TopicPartition(self._topic, partition)
        if patient:
            await self._uncovered(tp)
        async with self._bounded("reading back"):
            first = (await self._consumer.beginning_offsets([tp]))[tp]
            end = (await self._consumer.end_offsets([tp]))[tp]
            step, high = 256, end
            while high > first:
                low = max(first, high - step)
                found = [r.value for r in await self._between(tp, low, high) if r.key == key]
                if found:
                    value: bytes | None = found[-1]
                    return value
                high, step = low, 2 * step
        return None

    async def _uncovered(self, tp: Any) -> None:
        """Wait until every transaction that wrote to a partition before now has ended."""
        raw = AIOKafkaConsumer(isolation_level="read_uncommitted", **self._cluster.options)
        longest_s = self._cluster.settings.transaction_timeout_ms / 1000
        async with self._bounded(f"waiting for transactions on {self._topic}", longest_s):
            try:
                await raw.start()
                end = (await raw.end_offsets([tp]))[tp]
                # The broker sets no event when a transaction ends.
                while (await self._consumer.end_offsets([tp]))[tp] < end:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
            finally:
                await stopped(raw, self._cluster.timeout_s)

    async def _between(self, tp: Any, low: int, high: int) -> Records:
        """Return the records of the offsets low <= offset < high.

        What was fetched beyond is held, for who goes on there: a seek back would fetch it again.
        """
        begin, held, position = self._held.pop(tp, (-1, NO_RECORDS, -1))
        at = await self._consumer.position(tp)
        if (begin, position) != (low, at):
            held = NO_RECORDS
            if at != low:  # or what is fetched already were lost
                self._consumer.seek(tp, low)
        parts = [held]
        # The position also moves over markers of transactions and compacted offsets.
        while (at := await self._consumer.position(tp)) < high:
            got = await inside.fetch(self._consumer, [tp], 1000)
            parts += got.values()
        records = Records.joined(parts)
        asked = int(np.searchsorted(records.offset, high))
        self._held[tp] = high, records[asked:], at
        return records[:asked]

    def _bounded(self, doing: str, extra_s: float = 0.0) -> Any:
        return translated(doing, self._cluster.bootstrap, self._cluster.timeout_s + extra_s)


def _before(records: Records, end: int) -> Records:
    """Return those of one partition whose offset is lower."""
    return records[: int(np.searchsorted(records.offset, end))]
