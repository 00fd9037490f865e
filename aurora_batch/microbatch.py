"""Closes micro-batches on count, bytes and age; the window's end is seen after decoding.

Pure but for the clock it is given: `add` records as they come, `due` says how long the open batch
may still wait, `take` closes it.
"""

from collections.abc import Callable, Sequence

from aurora_batch.schema import Record
from aurora_batch.settings import BatchSettings


class MicroBatch:
    """The batch that is open now.

    Parameters
    ----------
    settings
        `max_requests` (records; an Arrow payload counts once here, its rows are split later),
        `max_bytes` of payloads, `linger_ms` since the first record.
    clock
        Monotonic seconds.
    """

    def __init__(self, settings: BatchSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._open: list[Record] = []
        self._bytes = 0
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, records: Sequence[Record]) -> list[list[Record]]:
        """Take records in; return the batches that this closed, oldest first.

        A batch closes before the record that would take it over `max_bytes`, so it exceeds that
        only where a single record does.
        """
        closed = []
        for record in records:
            size = len(record.value or b"")
            if self._open and self._bytes + size > self._settings.max_bytes:
                closed.append(self.take())
            if not self._open:
                self._since = self._clock()
            self._open.append(record)
            self._bytes += size
            if len(self._open) >= self._settings.max_requests:
                closed.append(self.take())
        return closed

    def due(self) -> float | None:
        """Seconds until the open batch is of age, 0 when it is; None while nothing is open."""
        if not self._open:
            return None
        age = self._clock() - self._since
        return max(0.0, self._settings.linger_ms / 1000 - age)

    def take(self) -> list[Record]:
        """Close the open batch and return it; empty where nothing was open."""
        closed, self._open, self._bytes = self._open, [], 0
        return closed
