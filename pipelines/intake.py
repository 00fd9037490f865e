"""Records in, closed micro-batches out, with when each record arrived."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurora_batch.microbatch import MicroBatch
from aurora_batch.progress import size_of
from aurora_batch.schema import Record
from aurora_batch.settings import BatchSettings


@dataclass(frozen=True)
class Batch:
    """A closed micro-batch."""

    records: list[Record]
    arrived: NDArray[np.float64]  # (n,) seconds of the intake's clock
    wait_s: float  # from the first arrival to the close
    bytes: int  # about, in memory

    def in_log_order(self) -> "Batch":
        """Return it ordered by partition and offset, which makes its decisions reproducible."""
        partitions = np.fromiter((r.partition for r in self.records), np.int64, len(self.records))
        order = np.argsort(partitions, kind="stable")  # within one, offsets ascend already
        records = [self.records[i] for i in order.tolist()]
        return Batch(records, self.arrived[order], self.wait_s, self.bytes)


class Intake:
    """The open micro-batch, and the times of arrival of what is in it.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, settings: BatchSettings, clock: Callable[[], float]) -> None:
        self._open = MicroBatch(settings, clock)
        self._clock = clock
        self._arrivals: deque[tuple[int, float]] = deque()  # records, time

    def add(self, records: Sequence[Record]) -> list[Batch]:
        """Take records in; return the batches that this closed, oldest first."""
        if records:
            self._arrivals.append((len(records), self._clock()))
        return [self._batch(closed) for closed in self._open.add(records)]

    def due(self) -> float | None:
        """Seconds until the open batch is of age, 0 when it is; None while nothing is open."""
        return self._open.due()

    def take(self) -> list[Batch]:
        """Close the open batch; return it, or nothing where nothing was open."""
        records = self._open.take()
        return [self._batch(records)] if records else []

    def _batch(self, records: list[Record]) -> Batch:
        arrived = self._arrived(len(records))
        return Batch(records, arrived, self._clock() - arrived[0], size_of(records))

    def _arrived(self, count: int) -> NDArray[np.float64]:
        """Take the times of arrival of the next `count` records."""
        sizes, times = [], []
        while count:
            size, at = self._arrivals.popleft()
            taken = min(size, count)
            if taken < size:
                self._arrivals.appendleft((size - taken, at))
            sizes.append(taken)
            times.append(at)
            count -= taken
        return np.repeat(np.array(times), sizes)
