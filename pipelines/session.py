"""A session: one run of the commit protocol, from a takeover to a stop or a failure.

Every wait in it has a deadline; only that for kernels to be compiled, before the first poll, ends
by itself.

    0  take over   start the producer, which fences a predecessor and ends its transaction; only
                   then compare the division into shards with what all agreed on, read the
                   committed offsets and seek to them, the ledger, and again the recent requests
                   that its reserve prices come from
    1  poll        records into the open micro-batch, until too many bytes are in flight
    2  decode      in a thread, while the micro-batch before is decided
    3  decide      in another thread, while the next micro-batch fills
    4  stage       decisions, dead letters and the ledger as record batches, in the first thread,
                   while the next one is decided; of a small one, 2 to 4 are one step in the other
    5  commit      all of them and the offsets: one transaction, of a backlog for some micro-batches
                   at once; or sends awaited, then offsets
    6  advance     counts, observers; the batch leaves the account of what is in flight
    7  abort       whatever fails in 0 to 5 ends the session: the producer is thrown away,
                   everything in flight forgotten. The next session's step 0 is the rewind.

What is committed is thus the only memory that counts. State never comes from a session that
failed, so it does not matter whether a commit of which no answer came had happened: step 0 reads
how it ended.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from aurora_batch import engine, outlook, progress, snapshots
from aurora_batch.adapters.kafka import Doubtful, Sink, Source
from aurora_batch.errors import BrokerError
from aurora_batch.fleet import Fleet
from aurora_batch.metrics import Committed
from aurora_batch.microbatch import Batch, MicroBatch
from aurora_batch.outlook import Asked, Outlook
from aurora_batch.router import RouterState
from aurora_batch.sample import Cut
from aurora_batch.schema import Message
from pipelines import takeover
from pipelines.work import Question, Work, with_more

if TYPE_CHECKING:
    from pipelines.worker import Worker

log = logging.getLogger(__name__)

POLL_S = 0.2  # between looks at the stop event
# In flight, so small that it is sooner decoded than handed from thread to thread. Not records: one
# Arrow payload holds a thousand requests.
SMALL_BYTES = 512 * 1024
WATCH_S = 1.0  # between looks at the end offsets
# Of the time in which reserve prices are solved beside the batches: at once would slow those down,
# and with half as much one batch in some hundred waits for them.
AHEAD_SHARE = 0.5
RECOMMIT_S = 3600.0  # without a batch, after which the offsets are committed again


class Session:
    """See the module; `run` it once."""

    def __init__(self, worker: "Worker", stop: asyncio.Event, *, until_end: bool) -> None:
        self._worker = worker
        self._stop = stop
        self._until_end = until_end
        self._topics = worker.settings.kafka.topics
        self._closed: asyncio.Queue[Batch | None] = asyncio.Queue()  # bounded by its bytes
        self._decoded: asyncio.Queue[Question | None] = asyncio.Queue(1)
        self._decided: asyncio.Queue[Work | None] = asyncio.Queue(1)
        self._staged: asyncio.Queue[Work | None] = asyncio.Queue(1)
        self._intake = MicroBatch(worker.settings.router.batch, worker.clock)
        self._unsettled = 0  # batches that are closed and not yet committed
        self._bytes = 0
        self._room = asyncio.Event()
        self._sink: Sink
        self._source: Source
        self._state: RouterState  # after the last batch that is decided
        self._seen: Outlook  # after the last one that is committed
        self._asked: Asked | None = None  # reserve prices that the other thread is at
        self._cut: Cut | None = None  # a sample that it finds
        self.opened = False
        self.commits = 0

    async def run(self) -> None:
        """Run until a stop (then everything is committed) or a failure."""
        async with AsyncExitStack() as stack:
            await self._take_over(stack)
            if self._worker.warm is not None:
                await asyncio.shield(self._worker.warm)
            self.opened = self._worker.ready = True
            watch = asyncio.create_task(self._watch())
            stack.callback(watch.cancel)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._poll())
                    tasks.create_task(self._decode())
                    tasks.create_task(self._decide())
                    tasks.create_task(self._stage())
                    tasks.create_task(self._commit())
            except BaseExceptionGroup as group:
                raise _foremost(group) from None
            self._worker.metrics.looked_ahead(self._seen)  # once more, after the last commit

    async def _take_over(self, stack: AsyncExitStack) -> None:
        """Step 0: `pipelines.takeover`."""
        worker = self._worker
        taken = await takeover.take_over(worker, stack)
        self._sink, self._source, self._state = taken.sink, taken.source, taken.state
        self._seen = self._state.outlook
        worker.judge.begin(self._state.ledger.window_us)
        worker.account.rewound(taken.offsets)
        if self._until_end and worker.ends is None:
            worker.ends = await self._source.end_offsets()
        worker.metrics.took_over()

    async def _poll(self) -> None:
        """Step 1: fill micro-batches and close them; at the end, close the last one."""
        intake = self._intake
        while not await self._finished():
            while self._full() and not self._stop.is_set():
                if not self._unsettled:  # or it would wait for its own bytes to leave
                    self._close(intake.take())
                self._room.clear()
                await self._room.wait()
            self._close_aged()
            records = await self._source.poll(min(intake.due() or POLL_S, POLL_S))
            self._bytes += sum(map(progress.size_of, records.parts))
            self._close(intake.add(records))
        self._close(intake.take())
        self._closed.put_nowait(None)

    def _close_aged(self) -> None:
        """Close the open micro-batch if it is of age, unless another is on its way.

        Two small ones at a time cost more than one that is twice as large, and each waits longer.
        """
        if self._intake.due() == 0 and not self._unsettled:
            self._close(self._intake.take())

    def _full(self) -> bool:
        return self._bytes >= self._worker.settings.kafka.max_in_flight_bytes

    def _close(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._unsettled += 1
            self._closed.put_nowait(batch)

    async def _finished(self) -> bool:
        if self._stop.is_set():
            return True
        ends = self._worker.ends
        if ends is None:
            return False
        positions = await self._source.positions()
        return all(positions[p] >= end for p, end in ends.items())

    async def _decode(self) -> None:
        """Step 2, in its thread."""
        loop, worker = asyncio.get_running_loop(), self._worker
        # What a stop finds undecided is left to the successor: it may be more than a stop may take.
        while (batch := await self._closed.get()) and not self._stop.is_set():
            question = Question(batch)
            if batch.bytes > SMALL_BYTES:
                question = await loop.run_in_executor(worker.decoding, self._question, question)
            await self._decoded.put(question)
        await self._decoded.put(None)

    def _question(self, question: Question) -> Question:
        began = self._worker.clock()
        batch = question.batch.whole()
        read = engine.decode(batch.records, self._worker.settings)
        return Question(batch, read, self._worker.clock() - began)

    async def _decide(self) -> None:
        """Step 3, in its thread; the fleet is swapped here, between batches."""
        loop = asyncio.get_running_loop()
        while question := await self._decoded.get():
            if self._stop.is_set():
                continue
            fleet = self._worker.fleets.current
            work = await loop.run_in_executor(
                self._worker.deciding, self._work, question, fleet, self._state
            )
            self._state = work.decided.state
            self._worker.account.decoded(work.batch.records, work.rows)
            await self._decided.put(work)
        await self._decided.put(None)
        self._room.set()  # nothing will be committed any more that could make room

    def _look_ahead(self, fleet: Fleet, state: RouterState) -> None:
        """Do beside the batches what later ones need: reserve prices until they are charged."""
        asked, cut = state.outlook.asked, state.outlook.sample.cut
        if cut is not None and cut is not self._cut:
            self._worker.sampling.submit(cut.found)
        self._cut = cut
        if asked is not None and asked is not self._asked:
            self._worker.ahead.submit(
                outlook.look_ahead, asked, fleet, self._worker.settings, AHEAD_SHARE
            )
        self._asked = asked

    def _work(self, question: Question, fleet: Fleet, state: RouterState) -> Work:
        small = question.read is None
        if question.read is None:
            question = self._question(question)
        assert question.read is not None
        records = question.batch.records
        decided = engine.decide(
            records, question.read, fleet, state, self._worker.settings,
            prepare=partial(self._look_ahead, fleet),
        )  # fmt: skip
        snapshot = Message(
            snapshots.save(decided.state, sample=False), self._worker.identity.encode()
        )
        rows = progress.rows_of(decided.decoded, len(records))
        work = Work(question.batch, question.decode_s, fleet, decided, snapshot, rows)
        return self._with_batches(work) if small else work

    async def _stage(self) -> None:
        """Step 4, in the thread that decodes."""
        loop = asyncio.get_running_loop()
        while work := await self._decided.get():
            if work.staged is None:
                work = await loop.run_in_executor(self._worker.decoding, self._with_batches, work)
            await self._staged.put(work)
        await self._staged.put(None)

    def _with_batches(self, work: Work) -> Work:
        messages = {
            self._topics.decisions: work.decided.decision_messages,
            self._topics.dead_letters: work.decided.dead_letters,
            self._topics.ledger: [work.snapshot],
        }
        return replace(work, staged=self._sink.stage(messages))

    async def _commit(self) -> None:
        """Steps 5 and 6."""
        while works := await self._next():
            outcome = progress.together([work.outcome for work in works])
            began = self._worker.clock()
            self._worker.account.committing(outcome)
            # Those of quiet partitions as well: brokers forget what is not committed for a week.
            offsets = {**self._worker.account.committed, **outcome.offsets}
            staged = [work.staged for work in works if work.staged]
            await self._sink.commit(staged, offsets, self._source)
            self._worker.account.done(outcome)
            self.commits += 1
            self._bytes -= sum(work.batch.bytes for work in works)
            self._unsettled -= len(works)
            self._room.set()
            self._close_aged()
            for work in works:
                self._advance(work, began)

    async def _next(self) -> list[Work]:
        """Return what is to be committed next; while there is nothing, commit the same again."""
        while True:
            try:
                first = await asyncio.wait_for(self._staged.get(), RECOMMIT_S)
            except TimeoutError:
                await self._sink.commit([], self._worker.account.committed, self._source)
            else:
                most = self._unsettled if self._sink.transactional else 1
                in_flight = self._worker.settings.kafka.max_in_flight_bytes
                return await with_more(first, self._staged, most, in_flight) if first else []

    def _advance(self, work: Work, began: float) -> None:
        worker, decided = self._worker, work.decided
        now = worker.last_commit = worker.clock()
        done = Committed(
            decisions=decided.decisions,
            durations=now - work.batch.arrived[decided.decoded.index],
            rejections=decided.decoded.rejections,
            batches=decided.batches,
            unknown_fields=decided.decoded.unknown_fields.total(),
            wait_s=work.batch.wait_s,
            decode_s=work.decode_s,
            decide_s=decided.decide_s,
            reply_s=decided.reply_s,
            emit_s=now - began,
            at=time.time(),
        )
        self._seen = decided.state.outlook
        worker.metrics.committed(done, worker.account)
        worker.judge.add(decided, work.fleet)
        for observer in worker.observers:
            observer(done)

    async def _watch(self) -> None:
        """Keep the lag and the flow up to date, and memory down."""
        while True:
            with suppress(BrokerError):  # whoever commits will meet it too, and act
                self._worker.lag = self._worker.account.lag(await self._source.end_offsets())
            self._worker.metrics.flow(self._worker.account, self._bytes, self._worker.lag)
            self._worker.metrics.looked_ahead(self._seen)
            self._worker.release()
            await asyncio.sleep(WATCH_S)


def _foremost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what to act on: a bug before anything else, then a refusal, then a doubt."""
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_foremost(error) if isinstance(error, BaseExceptionGroup) else error)
    return min(leaves, key=lambda e: (isinstance(e, Doubtful), isinstance(e, BrokerError)))
