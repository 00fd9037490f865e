"""What a read_committed reader sees while it happens, and what must hold of it."""

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from aurora_batch.adapters.kafka import Reader
from aurora_batch.schema import Record
from aurora_batch.settings import Settings
from tests.streaming import cluster_of


class Witness:
    """Reads a topic of JSON all the time, committed records only."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ids: Counter[str] = Counter()
        self._news = asyncio.Event()

    async def watch(self, reader: Reader) -> None:
        """Read until cancelled."""
        while True:
            for record in await reader.poll(0.5):
                self.records.append(record)
                self.ids[said_by(record)["request_id"]] += 1
                self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds of what was seen; the test's deadline bounds it."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def saw(self, count: int) -> None:
        """Wait until `count` different requests are decided."""
        await self.until(lambda: len(self.ids) >= count)

    @property
    def doubled(self) -> list[str]:
        """Requests that were decided more than once."""
        return [name for name, times in self.ids.items() if times > 1]


@contextlib.asynccontextmanager
async def witness_of(settings: Settings) -> AsyncIterator[Witness]:
    """Watch the decisions."""
    witness = Witness()
    async with Reader(
        cluster_of(settings), settings.kafka.topics.decisions, from_start=True
    ) as reader:
        watching = asyncio.create_task(witness.watch(reader))
        try:
            yield witness
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


def said_by(record: Record) -> dict[str, Any]:
    """Return the JSON of a record."""
    assert record.value is not None
    said: dict[str, Any] = json.loads(record.value)
    return said


def check_order(records: list[Record]) -> None:
    """Decisions of one key, in the order of their offsets, are in the order of their requests.

    Requests are numbered (`tests.streaming.request`) in the order in which they were sent.
    """
    lanes: dict[tuple[int, bytes | None], list[tuple[int, int]]] = defaultdict(list)
    for r in records:
        number = int(said_by(r)["request_id"].removeprefix("r"))
        lanes[r.partition, r.key].append((r.offset, number))
    for lane in lanes.values():
        numbers = [number for _, number in sorted(lane)]

        assert numbers == sorted(numbers)
