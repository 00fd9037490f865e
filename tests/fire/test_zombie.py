"""Zombies: a worker that stands still inside a transaction while another one takes its shard over.

Each round freezes (SIGSTOP) the worker of the shard at a seeded point of a transaction, or a seeded
moment after its beginning, lets a successor take over and commit, and wakes the old one (SIGCONT).
The successor is the one that the next round freezes, so that all rounds are one long stream.

    python -m pytest -m kafka tests/fire/test_zombie.py                     6 rounds
    AURORA_ROUNDS=full python -m pytest -m kafka tests/fire/test_zombie.py  50 rounds (make storm)
"""

import asyncio
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_batch.settings import Settings
from pipelines.work import TOGETHER
from tests.broker import Broker
from tests.fire.rounds import rounds
from tests.fire.watching import Witness, check_order, witness_of
from tests.fire.workers import ForkedWorker, Frozen, Nursery, nursery
from tests.streaming import decisions_of, prepared, request, send, write_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ROUNDS = rounds(6, 50)
BATCH = 50
MOST = 3  # transactions, before it freezes
LONGEST_S = 0.012  # a transaction takes about this long
FENCED = "another worker has taken this shard over"


@pytest.fixture(scope="module")
def workers() -> Iterator[Nursery]:
    """A nursery for the tests of this module."""
    with nursery() as running:
        yield running


class Stream:
    """Numbered requests, sent bit by bit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sent = 0

    async def more(self, count: int) -> None:
        """Send `count` more."""
        await send(self._settings, map(request, range(self.sent, self.sent + count)))
        self.sent += count


def places(rng: random.Random) -> Frozen:
    """Choose where to freeze: a named point of a transaction, or a moment after its beginning."""
    point = rng.choice(
        ["in transaction", "after acknowledgement", "after offsets", "after commit", "moment"]
    )
    if point == "moment":
        return Frozen("in transaction", rng.randint(1, MOST), rng.uniform(0.0005, LONGEST_S))
    return Frozen(point, rng.randint(1, MOST))


async def frozen(victim: ForkedWorker, stream: Stream) -> None:
    """Give a worker enough to do that it comes to its place, and wait until it stands still.

    And more than that: what is left tells that the successor has begun.
    """
    victim.signal(signal.SIGUSR1)
    await stream.more((MOST * TOGETHER + 2) * BATCH)
    await victim.stopped()


async def one_round(
    workers: Nursery, stream: Stream, witness: Witness, victim: ForkedWorker, place: Frozen
) -> ForkedWorker:
    """Freeze, take over, commit, wake; return the successor, which freezes at `place` next."""
    await frozen(victim, stream)
    successor = await workers.start(victim.folder, place)
    await witness.saw(stream.sent)
    victim.signal(signal.SIGCONT)
    await stream.more(BATCH)

    assert await victim.ended() == 1, victim.output
    assert FENCED in victim.output
    assert "Traceback" not in victim.output

    await witness.saw(stream.sent)
    assert not witness.doubled
    return successor


def test_zombies_are_fenced(kafka_broker: Broker, workers: Nursery, tmp_path: Path) -> None:
    """The commit of a zombie is refused, it ends by itself and says why, each request is once."""
    rng = random.Random(11)

    async def go() -> None:
        settings = await prepared(kafka_broker, "zombie", batch=BATCH)
        write_settings(settings, tmp_path)
        stream = Stream(settings)
        async with witness_of(settings) as witness:
            worker = await workers.start(tmp_path, places(rng))
            await stream.more(BATCH)
            await witness.saw(stream.sent)
            for _ in range(ROUNDS):
                worker = await one_round(workers, stream, witness, worker, places(rng))
            worker.signal(signal.SIGTERM)
            assert await worker.ended() == 0, worker.output

            assert set(witness.ids.values()) == {1}
            assert len(witness.ids) == stream.sent
            check_order(witness.records)
        assert len(await decisions_of(settings)) == stream.sent

    asyncio.run(asyncio.wait_for(go(), 280))


def test_without_transactions_a_zombie_doubles(
    kafka_broker: Broker, workers: Nursery, tmp_path: Path
) -> None:
    """The control: where offsets are committed apart from what was sent, both workers decide."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "naive-zombie", batch=BATCH, transactional="off")
        write_settings(settings, tmp_path)
        stream = Stream(settings)
        async with witness_of(settings) as witness:
            victim = await workers.start(tmp_path, Frozen("before offsets alone", 2))
            await stream.more(BATCH)
            await witness.saw(stream.sent)
            await frozen(victim, stream)
            successor = await workers.start(tmp_path, Frozen("before offsets alone"))
            await witness.saw(stream.sent)
            assert len(witness.doubled) >= BATCH

            before = len(witness.doubled)
            victim.signal(signal.SIGCONT)
            await stream.more(BATCH)
            await witness.until(lambda: len(witness.doubled) >= before + BATCH)
            for worker in (victim, successor):
                await worker.kill()

    asyncio.run(asyncio.wait_for(go(), 60))
