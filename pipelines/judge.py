"""How the last window went: what it asked for beside what was expected, and its regret.

Committed micro-batches are put together to windows, and a window that is over is judged in
hindsight. That is a solve of all its requests, so it is done in a thread of its own, beside the
stream: nothing waits for it, and what fails in it is logged. What waits there is bounded: where
judging takes longer than windows do, the windows that come meanwhile are passed over.
"""

import logging
from collections import deque
from collections.abc import Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.demand import Demand
from aurora_batch.engine import Decided
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import Hindsight, regret
from aurora_batch.ledger import NO_WINDOW
from aurora_batch.metrics import Metrics
from aurora_batch.router import BatchRecord
from aurora_batch.sample import SAMPLED
from aurora_batch.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What is kept of a committed micro-batch, n requests."""

    fleet: Fleet  # that it was decided with
    batches: Sequence[BatchRecord]  # one for each window it reached
    requests: pa.Table  # n rows: what a score depends on
    offer: NDArray[np.int32]  # (n,) that each decision gives, -1 for none
    window: pa.Array | None  # (n,) that it was decided in, where there are several
    demand: Demand  # after it
    missed: frozenset[int]  # windows of which batches before it may be missing

    @classmethod
    def of(cls, decided: Decided, fleet: Fleet, missed: frozenset[int]) -> "Seen":
        """Leave out the rest, so that it is free when the next batch comes."""
        return cls(
            fleet,
            decided.batches,
            decided.decoded.requests.select(SAMPLED),
            decided.offer,
            decided.decisions.column("window") if len(decided.batches) > 1 else None,
            decided.state.outlook.demand,
            missed,
        )


@dataclass
class Window:
    """A window that was seen from its start."""

    window_us: int
    fleet: Fleet  # of its first batch
    hindsight: Hindsight | None  # None where the window is not judged
    requests: int = 0
    asked: float = 0.0  # GPU-hours
    expected: float = 0.0  # GPU-hours, at its start; 0 where nothing was known then


class Judge:
    """Judges the windows of a worker, one after the other, and tells its metrics.

    Not judged are windows with more than `replay.chunk_requests` requests, those in which the fleet
    was reloaded, and those of which only a part was seen.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._waiting: deque[tuple[Future[None], int]] = deque()  # and the requests of each
        self._missed: set[int] = set()  # since what waits last
        self._last_us = NO_WINDOW  # the window of what waits last
        self._window: Window | None = None  # from here on only the thread's
        self._partial_us = NO_WINDOW  # the last window of which a part may be missing

    def begin(self, window_us: int) -> None:
        """Note that a session takes over in that window: it is not seen whole."""
        self._missed |= {self._last_us, window_us}

    def add(self, decided: Decided, fleet: Fleet) -> None:
        """Take a committed micro-batch and the fleet that it was decided with; returns at once."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        count = decided.offer.size
        waiting = sum(requests for _, requests in self._waiting)
        if waiting and waiting + count > self._settings.replay.chunk_requests:
            self._missed.update(batch.window_us for batch in decided.batches)
        elif count:
            seen = Seen.of(decided, fleet, frozenset(self._missed))
            self._missed.clear()
            self._last_us = seen.batches[-1].window_us
            self._waiting.append((self._thread.submit(self._guarded, seen), count))

    def close(self) -> None:
        """Forget what waits; a solve that is under way ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _guarded(self, seen: Seen) -> None:
        try:
            self._take(seen)
        except Exception:  # whatever it is, the stream goes on
            log.exception("a window is not judged")
            self._pass_over({batch.window_us for batch in seen.batches})

    def _pass_over(self, windows: Set[int]) -> None:
        self._partial_us = max(self._partial_us, *windows)
        if self._window is not None and self._window.window_us in windows:
            self._window = None

    def _take(self, seen: Seen) -> None:
        if seen.missed:
            self._pass_over(seen.missed)
        for batch in seen.batches:
            if self._window is None or batch.window_us > self._window.window_us:
                self._finish()
                if batch.window_us > self._partial_us:
                    hindsight = Hindsight(seen.fleet, self._settings)
                    self._window = Window(batch.window_us, seen.fleet, hindsight)
            if self._window is not None:
                self._count(self._window, batch, seen)
        if self._window is not None and self._window.window_us == seen.demand.window_us:
            self._window.expected = seen.demand.usual()  # of windows before: as at its start

    def _count(self, window: Window, batch: BatchRecord, seen: Seen) -> None:
        requests, offer = seen.requests, seen.offer
        if seen.window is not None:
            start = pa.scalar(batch.window_us, pa.timestamp("us", tz="UTC"))
            own = pc.equal(seen.window, start)
            requests, offer = requests.filter(own), offer[own.to_numpy(zero_copy_only=False)]
        window.requests += requests.num_rows
        window.asked += pc.sum(requests["gpu_hours"]).as_py()
        too_many = window.requests > self._settings.replay.chunk_requests
        if too_many or seen.fleet.version != window.fleet.version:
            window.hindsight = None
        if window.hindsight is not None:
            window.hindsight.add(window.window_us, requests, [offer])

    def _finish(self) -> None:
        window, self._window = self._window, None
        if window is None:
            return
        if window.expected > 0:
            self._metrics.foretold(window.expected, window.asked)
        judged = window.hindsight.finish() if window.hindsight is not None else None
        if judged is not None:
            self._metrics.judged(regret(judged.values[0], judged.bound))
