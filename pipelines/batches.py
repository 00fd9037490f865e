"""Cuts a log into batches by event time, as a stream would close them or a window at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.ledger import NO_WINDOW, window_of
from aurora_batch.schema import microseconds_of
from aurora_batch.settings import Settings

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Requests to be decided together, all in one window."""

    requests: pa.Table  # schema.REQUEST_SCHEMA
    position: I64  # (n,) row of each request in the log, ascending
    opens_window: bool  # the first of its window: capacity and budgets are whole


class Batches:
    """Collects requests in log order and hands over each batch when nothing more can join it.

    Time is the latest `requested_at` seen so far, so a late request joins the batch that is open.

    Parameters
    ----------
    settings
        Window, batch and chunk sizes.
    as_live
        Close a batch at `batch.max_requests`, `batch.linger_ms` after its first request, or the
        window's end. Otherwise at the window's end, or at `replay.chunk_requests`.
    """

    def __init__(self, settings: Settings, *, as_live: bool) -> None:
        batch = settings.router.batch
        self._window_us = max(1, round(settings.router.window_s * 1e6))
        self._linger_us = round(batch.linger_ms * 1000) if as_live else None
        self._most = batch.max_requests if as_live else settings.replay.chunk_requests
        self._requests: pa.Table | None = None
        self._position = np.zeros(0, np.int64)
        self._reached = np.zeros(0, np.int64)  # time when each open request came
        self._latest = NO_WINDOW
        self._window = NO_WINDOW  # of the batch that closed last

    def add(self, requests: pa.Table, position: I64) -> Iterator[Batch]:
        """Take requests and their rows in; yield the batches that this closed."""
        event = microseconds_of(requests["requested_at"])
        reached = np.maximum(np.maximum.accumulate(event), self._latest)
        self._latest = int(reached[-1]) if reached.size else self._latest
        if self._requests is not None:
            requests = pa.concat_tables([self._requests, requests])
        position = np.concatenate([self._position, position])
        reached = np.concatenate([self._reached, reached])
        low = 0
        for high in self._cuts(reached):
            yield self._batch(requests.slice(low, high - low), position[low:high], reached[low])
            low = high
        self._requests = requests.slice(low)
        self._position, self._reached = position[low:], reached[low:]

    def finish(self) -> Iterator[Batch]:
        """Yield the batch that is still open, if there is one."""
        if self._position.size:
            yield self._batch(self._requests, self._position, self._reached[0])

    def _batch(self, requests: pa.Table, position: I64, begun_us: int) -> Batch:
        window = int(begun_us - begun_us % self._window_us)
        opens, self._window = window != self._window, window
        return Batch(requests, position, opens)

    def _cuts(self, reached: I64) -> Iterator[int]:
        """Yield where each batch ends that no later request can join, ascending."""
        window = window_of(reached, self._window_us)
        low = 0
        while low < reached.size:
            high = min(low + self._most, int(np.searchsorted(window, window[low], side="right")))
            if self._linger_us is not None:
                due = int(np.searchsorted(reached, reached[low] + self._linger_us))
                high = min(high, max(due, low + 1))
            if high == reached.size and high - low < self._most:
                return
            yield high
            low = high
