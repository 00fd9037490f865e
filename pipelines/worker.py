"""The worker of a shard: sessions, one after the other, until it is stopped.

What a session is, and the protocol by which it commits: `pipelines.session`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa

from aurora_batch.adapters import kafka
from aurora_batch.adapters.kafka import Cluster, Doubtful
from aurora_batch.adapters.kafka.errors import swallow_unretrieved
from aurora_batch.metrics import Committed, Metrics
from aurora_batch.progress import Account
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings
from aurora_batch.warm_up import warm_up
from pipelines.fleets import Fleets
from pipelines.judge import Judge
from pipelines.session import Session
from pipelines.shards import WHOLE, Shard

log = logging.getLogger(__name__)

BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)

Observer = Callable[[Committed], None]


class Worker:
    """One shard's worker; `run` it once.

    Parameters
    ----------
    settings
        Of the whole fleet; the shard's part is taken here.
    fleets
        The providers in force, already those of the shard's part.
    observers
        Called, on the event loop, with each committed micro-batch.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        fleets: Fleets,
        *,
        shard: Shard = WHOLE,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self.settings = shard.share(settings)
        self.fleets = fleets
        self.shard = shard
        self.identity = shard.identity(settings.kafka.group, settings.kafka.topics.requests)
        self.metrics = Metrics(Tenants.from_settings(self.settings).budget_ids)
        self.metrics.fleet(fleets.current)
        self.observers = observers
        self.clock = clock
        self.account = Account()
        self.ends: Mapping[int, int] | None = None  # where to stop, if anywhere
        self.warm: Awaitable[None] | None = None  # ends when kernels are compiled
        self.ready = False
        self.lag: dict[int, int] = {}
        self.last_commit: float | None = None  # on `clock`
        self.decoding = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self.deciding = ThreadPoolExecutor(1, thread_name_prefix="decide")
        self.ahead = ThreadPoolExecutor(1, thread_name_prefix="look-ahead")
        # Not in that thread: prices take their time there, and the next decision needs the sample.
        self.sampling = ThreadPoolExecutor(1, thread_name_prefix="sample")
        self._threads = self.decoding, self.deciding, self.ahead, self.sampling
        self.judge = Judge(self.settings, self.metrics)

    async def run(self, stop: asyncio.Event, *, until_end: bool = False) -> None:
        """Decide until `stop` is set, or the offsets that are the end now are decided.

        What is in flight then is finished and committed. Raises `Fenced` where another worker has
        the shard, `BrokerError` where the broker is away at the start or refuses.
        """
        swallow_unretrieved(asyncio.get_running_loop())
        failures, started = 0, False
        try:
            while True:
                session = Session(self, stop, until_end=until_end)
                try:
                    await session.run()
                    return
                except Doubtful as error:
                    started = started or session.opened
                    if not started or stop.is_set():
                        raise
                    failures = 0 if session.commits else failures + 1
                    log.warning("beginning again from what is committed: %s", error)
                finally:
                    self.ready = False
                pause = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
        finally:
            for pool in self._threads:
                pool.shutdown(wait=False, cancel_futures=True)
            self.judge.close()

    def release(self) -> None:
        """Give memory back that Arrow keeps for what comes next, which each thread does for itself.

        After a backlog there would be much of it, for hours.
        """
        unused = pa.default_memory_pool().release_unused
        for pool in self._threads:
            pool.submit(unused)
        unused()

    def warm_up(self) -> None:
        """Compile the kernels; takes seconds the first time on a machine."""
        warm_up(self.fleets.current, self.settings)
        kafka.warm_up()
