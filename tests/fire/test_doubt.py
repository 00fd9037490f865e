"""Commits in doubt: a worker behind a proxy that loses, cuts and holds up what is said.

Each round arms one fault at one API of the commit protocol, feeds requests until it has struck, and
waits until everything is decided: the worker recovers by itself. All rounds are one long stream.

    python -m pytest -m kafka tests/fire/test_doubt.py                      14 rounds
    AURORA_ROUNDS=full python -m pytest -m kafka tests/fire/test_doubt.py   200 rounds (make storm)
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from aurora_batch.adapters.kafka import Doubtful, Fenced, Sink
from aurora_batch.settings import Settings
from pipelines import takeover
from pipelines.worker import Worker
from tests.broker import Broker
from tests.fire.intents import Intents, RecordingAccount, check_whole, recording_sink
from tests.fire.naive import HopefulSink, InsistingSink
from tests.fire.proxy import Api, Fault, Kind, Proxy, proxy_at
from tests.fire.rounds import rounds
from tests.fire.watching import Witness, check_order, witness_of
from tests.streaming import (
    decisions_of,
    ledger_of,
    prepared,
    records_of,
    request,
    send,
    until,
    worker_for,
)

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(900),
]

ROUNDS = rounds(14, 200)
BATCH = 40
MOST_FEEDS = 5  # until a fault must have struck
STOPS = 10  # rounds, of which one also stops the worker in mid-fault
TIMEOUT_MS = 1000  # of a request; an answer that is swallowed costs a round this much
RECOVERY_S = 30.0
AT_TAKEOVER = (Api.FIND_COORDINATOR, Api.INIT_PRODUCER_ID)


class Shard:
    """A worker behind a proxy, started again when it is stopped; and the stream that it decides."""

    def __init__(self, settings: Settings, through: Settings, proxy: Proxy) -> None:
        self.settings = settings
        self.proxy = proxy
        self.sent = self.bad = 0
        self.intents = Intents()
        self._through = through
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the worker, as a supervisor would: a fault in its first takeover ends it."""
        while True:
            self._stop = asyncio.Event()
            worker = worker_for(self._through)
            worker.account = RecordingAccount(self.intents)
            self._running = asyncio.create_task(worker.run(self._stop))
            await until(_ready_or_ended(worker, self._running))
            if not self._running.done():
                return
            with suppress(Doubtful):
                await self._running

    async def crash(self) -> None:
        """End the worker in the middle of whatever it does."""
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running

    async def stop(self) -> None:
        """Stop it; it ends in bounded time, where the broker's answer is missing in doubt."""
        assert self._running is not None
        self._stop.set()
        with suppress(Doubtful):
            await asyncio.wait_for(self._running, RECOVERY_S)

    async def more(self, count: int) -> None:
        """Send `count` more requests, and one that is none."""
        numbers = range(self.sent, self.sent + count)
        bad = request(-1 - self.bad, gpu_hours=-1)
        await send(self.settings, [bad, *map(request, numbers)])
        self.sent += count
        self.bad += 1

    async def decided(self, witness: Witness) -> None:
        """Wait until everything that was sent is decided, or fail as the worker does."""
        assert self._running is not None
        async with asyncio.timeout(RECOVERY_S):
            seen = asyncio.create_task(witness.saw(self.sent))
            await asyncio.wait([seen, self._running], return_when=asyncio.FIRST_COMPLETED)
            if not seen.done():
                seen.cancel()
                await self._running
            await seen


def _ready_or_ended(
    worker: Worker, running: asyncio.Task[None]
) -> Callable[[], Coroutine[Any, Any, bool]]:
    async def condition() -> bool:
        return worker.ready or running.done()

    return condition


@asynccontextmanager
async def shard_behind_proxy(
    broker: Broker, prefix: str, patch: pytest.MonkeyPatch, sink: type[Sink] | None = None
) -> AsyncIterator[Shard]:
    """Run a worker behind a proxy, with topics of its own."""
    settings = await prepared(broker, prefix, batch=BATCH)
    kafka = msgspec.structs.replace(
        settings.kafka,
        bootstrap=broker.proxy,
        request_timeout_ms=TIMEOUT_MS,
        transaction_timeout_ms=6 * TIMEOUT_MS,
    )
    through = msgspec.structs.replace(settings, kafka=kafka)
    async with proxy_at(broker.proxy, broker.behind_proxy) as proxy:
        shard = Shard(settings, through, proxy)
        patch.setattr(
            takeover, "Sink", sink or recording_sink(shard.intents, settings.kafka.topics)
        )
        await shard.start()
        try:
            yield shard
        finally:
            await shard.stop()


def fault_of(rng: random.Random) -> list[Fault]:
    """Choose what happens; a fault of a takeover needs one that leads to it first."""
    api, kind = rng.choice(list(Api)), rng.choice(list(Kind))
    if api is Api.INIT_PRODUCER_ID and kind in (Kind.HELD, Kind.LATE):
        kind = Kind.RESET_AFTER  # a late one fences the worker itself: a test of its own, below
    longest_s = 2.5 * TIMEOUT_MS / 1000
    fault = Fault(kind, api, rng.randrange(3), rng.uniform(0.0, longest_s))
    if api in AT_TAKEOVER:
        fault.skip = 0
        return [Fault(Kind.RESET_AFTER, Api.END_TXN), fault]
    return [fault]


async def one_round(shard: Shard, witness: Witness, faults: list[Fault], *, stop: bool) -> None:
    """Let faults strike, and the worker recover from them."""
    shard.proxy.arm(*faults)
    for _ in range(MOST_FEEDS):
        await shard.more(2 * BATCH)
        if stop:
            await asyncio.wait_for(faults[0].fired.wait(), RECOVERY_S)
            await shard.stop()
            await shard.start()
            stop = False
        await shard.decided(witness)
        if faults[-1].fired.is_set():
            break

    assert faults[-1].fired.is_set(), faults
    assert not witness.doubled


def test_no_doubt_tears_or_doubles_a_batch(
    kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever answer is lost: each request once, in order, each batch whole; it goes on."""
    rng = random.Random(17)

    async def go() -> None:
        async with (
            shard_behind_proxy(kafka_broker, "doubt", monkeypatch) as shard,
            witness_of(shard.settings) as witness,
        ):
            await shard.more(BATCH)
            await shard.decided(witness)

            for number in range(ROUNDS):
                stop = number % STOPS == STOPS - 1
                faults = fault_of(rng)
                try:
                    await one_round(shard, witness, faults, stop=stop)
                except Exception as error:
                    error.add_note(f"round {number}: {faults}")
                    raise
            await shard.stop()

            topics = shard.settings.kafka.topics
            decisions = await records_of(shard.settings, topics.decisions)
            dead = await records_of(shard.settings, topics.dead_letters)
            ledger = await ledger_of(shard.settings)
            assert set(witness.ids.values()) == {1}
            assert len(decisions) == len(witness.records) == shard.sent
            assert len(dead) == shard.bad
            check_order(decisions)
            check_whole(shard.intents, decisions, dead, ledger)

    asyncio.run(asyncio.wait_for(go(), 880))


def test_a_late_commit_ends_no_later_transaction(
    kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EndTxn that arrives in the middle of the next transaction commits no part of that."""

    async def go() -> None:
        async with (
            shard_behind_proxy(kafka_broker, "late", monkeypatch) as shard,
            witness_of(shard.settings) as witness,
        ):
            late = Fault(Kind.LATE, Api.END_TXN, release=asyncio.Event())
            held = Fault(Kind.HELD, Api.TXN_OFFSET_COMMIT, release=asyncio.Event())
            shard.proxy.arm(late)
            await shard.more(BATCH)
            await shard.decided(witness)
            shard.proxy.arm(held)
            await shard.more(BATCH)
            await held.fired.wait()
            late.let_go()
            await late.done.wait()
            await shard.crash()
            held.let_go()
            await shard.start()
            await shard.decided(witness)
            await shard.stop()

            decisions = await records_of(shard.settings, shard.settings.kafka.topics.decisions)
            assert len(decisions) == shard.sent

    asyncio.run(asyncio.wait_for(go(), 60))


def test_late_offsets_set_nothing_back(
    kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TxnOffsetCommit that arrives before the EndTxn of the next transaction changes nothing."""

    async def go() -> None:
        async with (
            shard_behind_proxy(kafka_broker, "late-offsets", monkeypatch) as shard,
            witness_of(shard.settings) as witness,
        ):
            late = Fault(Kind.LATE, Api.TXN_OFFSET_COMMIT, release=asyncio.Event())
            held = Fault(Kind.HELD, Api.END_TXN, release=asyncio.Event())
            shard.proxy.arm(late)
            await shard.more(BATCH)
            await shard.decided(witness)
            shard.proxy.arm(held)
            await shard.more(BATCH)
            await held.fired.wait()
            late.let_go()
            await late.done.wait()
            held.let_go()
            await shard.decided(witness)
            await shard.crash()
            await shard.start()
            await shard.more(BATCH)
            await shard.decided(witness)
            await shard.stop()

            decisions = await records_of(shard.settings, shard.settings.kafka.topics.decisions)
            assert len(decisions) == shard.sent

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_late_takeover_does_no_harm(
    kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An InitProducerId that arrives after its repetition may fence its own worker, no more.

    It does not where the last transaction is still being completed: the broker then refuses it.
    """

    async def go() -> None:
        async with (
            shard_behind_proxy(kafka_broker, "late-takeover", monkeypatch) as shard,
            witness_of(shard.settings) as witness,
        ):
            late = Fault(Kind.LATE, Api.INIT_PRODUCER_ID, release=asyncio.Event())
            shard.proxy.arm(Fault(Kind.RESET_AFTER, Api.END_TXN), late)
            await shard.more(BATCH)
            await shard.decided(witness)
            await late.fired.wait()
            late.let_go()
            await late.done.wait()
            await shard.more(BATCH)
            try:
                await shard.decided(witness)
            except Fenced:
                await shard.start()
                await shard.decided(witness)

            assert not witness.doubled

    asyncio.run(asyncio.wait_for(go(), 60))


@pytest.mark.parametrize(
    ("sink", "kind", "doubled", "lost"),
    [(InsistingSink, Kind.RESET_AFTER, BATCH, 0), (HopefulSink, Kind.RESET_BEFORE, 0, BATCH)],
)
def test_a_naive_answer_to_doubt_doubles_or_loses(
    kafka_broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    sink: type[Sink],
    kind: Kind,
    doubled: int,
    lost: int,
) -> None:
    """The control: with a new producer alone, who commits again doubles, who goes on loses."""

    async def go() -> None:
        async with (
            shard_behind_proxy(kafka_broker, sink.__name__, monkeypatch, sink) as shard,
            witness_of(shard.settings) as witness,
        ):
            await shard.more(BATCH)
            await shard.decided(witness)
            fault = Fault(kind, Api.END_TXN)
            shard.proxy.arm(fault)
            await shard.more(BATCH)
            await asyncio.wait_for(fault.fired.wait(), RECOVERY_S)
            await shard.more(BATCH)
            await witness.saw(shard.sent - lost)
            await shard.stop()

            decided = Counter(d["request_id"] for d in await decisions_of(shard.settings))
            assert fault.fired.is_set()
            assert (decided.total() > len(decided)) == (doubled > 0)
            assert (len(decided) < shard.sent) == (lost > 0)

    asyncio.run(asyncio.wait_for(go(), 60))
