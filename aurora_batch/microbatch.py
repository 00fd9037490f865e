"""Closes micro-batches on count, bytes and age; the window's end is seen after decoding.

A batch is as old as its first record, which has aged before it arrives: on its way, and while the
broker gathered others. So its own timestamp counts, for a half of the linger at most, because
clocks differ.

Pure but for the clock it is given: `add` records as they come, `due` says how long the open batch
may still wait, `take` closes it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aurora_batch.alignment import Merged
from aurora_batch.progress import RECORD_BYTES
from aurora_batch.schema import Records
from aurora_batch.settings import BatchSettings

AGED = 1 / 2  # of the linger


@dataclass(frozen=True, eq=False)
class Batch:
    """A closed micro-batch, in the order of its log, which makes its decisions reproducible."""

    pieces: tuple[Records, ...]  # by partition, and within it by offset
    arrived: NDArray[np.float64]  # (n,) seconds of the clock
    wait_s: float  # from the first arrival to the close
    bytes: int  # about, in memory

    def whole(self) -> "Batch":
        """Return it in one piece, copied: not what the thread that polls should do."""
        return replace(self, pieces=(Records.joined(self.pieces),))

    @property
    def records(self) -> Records:
        """All of them, copied where they are in several pieces."""
        return Records.joined(self.pieces)


class MicroBatch:
    """The batch that is open now.

    Parameters
    ----------
    settings
        `max_requests` (records; an Arrow payload counts once here, its rows are split later),
        `max_bytes` of payloads, `linger_ms` since the first record.
    clock
        Monotonic seconds.
    wall
        Seconds since the epoch.
    """

    def __init__(
        self,
        settings: BatchSettings,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._clock, self._wall = clock, wall
        self._began = 0.0  # when the first record of the open batch was made, on `clock`
        self._pieces: list[tuple[Records, float]] = []  # each of one partition; when it came
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def add(self, merged: Merged) -> list[Batch]:
        """Take records in; return the batches that this closed, oldest first.

        A batch closes before the record that would take it over `max_bytes`, so it exceeds that
        only where a single record does.
        """
        closed = []
        ends = np.cumsum(merged.sizes())
        taken = np.zeros(len(merged.parts), np.int64)
        now, low = self._clock(), 0
        while low < len(merged):
            high = self._reach(ends, low)
            upto = taken + np.bincount(merged.turn[low:high], minlength=len(taken))
            if not self._pieces and high > low:
                self._began = now - self._aged(merged, taken, upto)
            for part, begin, end in zip(merged.parts, taken.tolist(), upto.tolist(), strict=True):
                if begin < end:
                    self._pieces.append((part[begin:end], now))
            self._count += high - low
            self._bytes += int(ends[high - 1] - (ends[low - 1] if low else 0)) if high > low else 0
            if high < len(merged) or self._count >= self._settings.max_requests:
                closed += self.take()
            low, taken = high, upto
        return closed

    def _aged(self, merged: Merged, low: NDArray[np.int64], high: NDArray[np.int64]) -> float:
        """Return how old records are already, seconds, as far as that counts; (parts,) bounds."""
        said = [
            int(part.timestamp_us[begin])
            for part, begin, end in zip(merged.parts, low.tolist(), high.tolist(), strict=True)
            if begin < end and part.timestamp_us[begin] >= 0
        ]
        age = self._wall() - min(said) / 1e6 if said else 0.0
        return min(max(age, 0.0), AGED * self._settings.linger_ms / 1000)

    def _reach(self, ends: NDArray[np.int64], low: int) -> int:
        """Return up to which record those from `low` on join the open batch."""
        before = int(ends[low - 1]) if low else 0
        room = int(self._settings.max_bytes) - self._bytes
        fitting = int(np.searchsorted(ends, before + room, side="right"))
        least = low if self._count else low + 1  # one that is too large for all is a batch alone
        return min(max(fitting, least), low + self._settings.max_requests - self._count)

    def due(self) -> float | None:
        """Seconds until the open batch is of age, 0 when it is; None while nothing is open."""
        if not self._pieces:
            return None
        age = self._clock() - self._began
        return max(0.0, self._settings.linger_ms / 1000 - age)

    def take(self) -> list[Batch]:
        """Close the open batch; return it, or nothing where nothing was open."""
        if not self._pieces:
            return []
        wait_s = self._clock() - self._pieces[0][1]
        size = self._bytes + RECORD_BYTES * self._count
        pieces = sorted(self._pieces, key=lambda piece: int(piece[0].partition[0]))
        self._pieces, self._count, self._bytes = [], 0, 0
        arrived = np.repeat([at for _, at in pieces], [len(part) for part, _ in pieces])
        return [Batch(tuple(part for part, _ in pieces), arrived, wait_s, size)]
