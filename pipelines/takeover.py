"""Step 0 of a session: a shard is taken over from whoever had it, and its state is read back.

The order matters. The producer comes first: it fences a predecessor and ends its transaction. Only
then are the committed offsets final, and the ledger and the sample those that belong to them.
"""

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_batch import engine, router, snapshots
from aurora_batch.adapters.kafka import Reader, Sink, Source
from aurora_batch.router import RouterState
from pipelines import agreement

if TYPE_CHECKING:
    from pipelines.worker import Worker

log = logging.getLogger(__name__)

# Milliseconds that the broker may gather requests for: a part of what they wait for each other.
GATHER_PART, GATHER_MOST = 4 / 5, 5
SAMPLE_READ = 4  # sizes of the sample, in records, that are read again in a partition


@dataclass(frozen=True)
class Taken:
    """A shard that is this worker's; both ends are open, and at what is committed."""

    sink: Sink
    source: Source
    offsets: Mapping[int, int]  # next one, by partition
    state: RouterState  # after the last committed batch


async def take_over(worker: "Worker", stack: AsyncExitStack) -> Taken:
    """Return a shard's ends and state; `stack` closes them.

    Raises `Fenced`, `Doubtful` and `BrokerError` as the broker has it.
    """
    topics = worker.settings.kafka.topics
    names = (topics.requests, topics.decisions, topics.dead_letters, topics.ledger)
    counts = await worker.cluster.partitions(names)
    own = worker.shard.partitions(counts[topics.requests])
    name = agreement.transactional_id(worker.settings.kafka, worker.identity)
    sink = Sink(worker.cluster, counts, name)
    stack.push_async_callback(sink.close)
    await sink.open()
    await agreement.agree(worker.cluster, worker.shard, counts[topics.requests], sink)
    linger_ms = worker.settings.router.batch.linger_ms
    gather_ms = min(int(GATHER_PART * linger_ms), GATHER_MOST)
    source = Source(worker.cluster, topics.requests, own, gather_ms)
    stack.push_async_callback(source.close)
    await source.open()
    offsets = await source.rewind()
    state = await _restored(worker, sink, offsets)
    log.info(
        "shard %s begins at %s, %s", worker.shard, _shown(offsets),
        "at least once" if name is None else "exactly once",
    )  # fmt: skip
    return Taken(sink, source, offsets, state)


async def _restored(worker: "Worker", sink: Sink, offsets: Mapping[int, int]) -> RouterState:
    """Return the state of the shard's last committed batch, `offsets` being where it ended.

    The sample of recent requests is read again from their topic.
    """
    topics = worker.settings.kafka.topics
    key = worker.identity.encode()
    async with Reader(worker.cluster, topics.ledger, from_start=True) as reader:
        saved = await reader.last_value(key, sink.partition_of(topics.ledger, key))
    if saved is None:
        return router.initial_state(worker.fleets.current, worker.settings, worker.shard.label)
    most = SAMPLE_READ * worker.settings.router.lookahead.sample
    low = {
        p: max(offset, offsets[p] - most)
        for p, offset in snapshots.origins(saved).items()
        if p in offsets
    }
    sample = None
    if low:
        async with Reader(worker.cluster, topics.requests, from_start=False) as reader:
            sample = engine.requests_of(await reader.between(low, offsets), worker.settings)
    return snapshots.restore(saved, worker.settings, worker.shard.label, sample)


def _shown(offsets: Mapping[int, int]) -> str:
    return ", ".join(f"{p}:{offset}" for p, offset in sorted(offsets.items()))
