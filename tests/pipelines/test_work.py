"""Which micro-batches of a backlog one transaction commits."""

import asyncio
from typing import cast

import numpy as np
import pytest

from aurora_batch.engine import Decided
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.microbatch import Batch
from aurora_batch.progress import Outcome, together
from aurora_batch.schema import Message, Record, Records
from aurora_batch.settings import Settings
from pipelines import takeover, work
from pipelines.work import SHARE, TOGETHER, Work, with_more
from tests.broker import Broker
from tests.fire.intents import Intents, check_whole, recording_sink
from tests.streaming import drained, ledger_of, prepared, records_of, request, run, send

IN_FLIGHT = 1 << 20
SMALL, LARGE = 1_000, int(SHARE * IN_FLIGHT) + 1


def decided(number: int, size: int = SMALL) -> Work:
    """A micro-batch that is decided; of its decisions nobody here asks."""
    records = Records.of([Record(b"{}", offset=number)])
    batch = Batch((records,), np.zeros(1), 0.0, size)
    fleet = fleet_from_settings(Settings().providers)
    nothing = cast(Decided, None)
    return Work(batch, 0.0, fleet, nothing, Message(b""), np.ones(1, np.int64))


def taken(sizes: list[int], most: int, *, ends: bool = True) -> tuple[list[int], bool]:
    """Offsets of what is committed with the first, and whether the end is still to be had."""

    async def go() -> tuple[list[int], bool]:
        first, *others = [decided(i, size) for i, size in enumerate(sizes)]
        staged: asyncio.Queue[Work | None] = asyncio.Queue()
        for other in [*others, *[None] * ends]:
            staged.put_nowait(other)
        works = await with_more(first, staged, most, IN_FLIGHT)
        rest = [staged.get_nowait() for _ in range(staged.qsize())]
        return [int(w.batch.records.offset[0]) for w in works], None in rest

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("sizes", "most", "committed"),
    [
        pytest.param([SMALL, SMALL], 1, [0], id="no backlog"),
        pytest.param([SMALL, SMALL, SMALL], 2, [0, 1], id="as many as are on their way"),
        pytest.param([SMALL] * (TOGETHER + 1), 9, [*range(TOGETHER)], id="at most so many"),
        pytest.param([LARGE, SMALL], 9, [0], id="a large one alone"),
        pytest.param([SMALL, LARGE, SMALL], 9, [0, 1], id="until they are large"),
        pytest.param([SMALL, SMALL], 9, [0, 1], id="up to the end"),
    ],
)
def test_micro_batches_of_a_backlog_are_committed_together(
    sizes: list[int], most: int, committed: list[int]
) -> None:
    """In their order, up to the limits; the end stays for whoever asks next."""
    assert taken(sizes, most) == (committed, True)


def test_what_does_not_come_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though another is said to be on its way."""
    monkeypatch.setattr(work, "WAIT_S", 0.01)
    assert taken([SMALL, SMALL], 9, ends=False) == ([0, 1], False)


def test_outcomes_add_up() -> None:
    """Counts are summed, and of each partition the last offset counts."""
    both = together([Outcome({0: 5, 1: 2}, 7, 1), Outcome({0: 9}, 3, 0)])
    assert both == Outcome({0: 9, 1: 2}, 10, 1)


@pytest.mark.kafka
def test_a_backlog_takes_fewer_transactions(
    kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request is decided once, each micro-batch has its snapshot, some are one commit."""

    async def go() -> None:
        settings = await prepared(kafka_broker, "together", batch=20)
        topics, intents = settings.kafka.topics, Intents(begun=[{}])
        monkeypatch.setattr(takeover, "Sink", recording_sink(intents, topics))
        await send(settings, map(request, range(400)))
        await drained(settings)

        decisions = await records_of(settings, topics.decisions)
        ledger = await ledger_of(settings)
        assert len(decisions) == 400
        assert max(len(intent.snapshots) for intent in intents.tried) > 1
        assert len(ledger) == sum(len(intent.snapshots) for intent in intents.tried)
        check_whole(intents, decisions, [], ledger)

    run(go())
