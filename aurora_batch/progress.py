"""How far the stream is: offsets, and the account consumed = decided + dead-lettered + in flight.

A batch that is aborted is polled and decoded again; the account counts each request once, by the
highest offset seen of its partition. A batch whose commit nobody knows the end of is settled when
the committed offsets are read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurora_batch.schema import Decoded, Records

Offsets = Mapping[int, int]  # partition -> next offset

RECORD_BYTES = 100  # of a record beside its value; or a flood of empty ones would have no size


def next_offsets(records: Records) -> dict[int, int]:
    """Return the offset to commit for each partition of a batch."""
    last = np.full(int(records.partition.max(initial=-1)) + 1, -1)
    np.maximum.at(last, records.partition, records.offset)
    known = np.flatnonzero(last >= 0)
    return dict(zip(known.tolist(), (last[known] + 1).tolist(), strict=True))


def size_of(records: Records) -> int:
    """Return about how many bytes records take: their values, and something for each."""
    return records.bytes + RECORD_BYTES * len(records)


def rows_of(decoded: Decoded, records: int) -> NDArray[np.int64]:
    """Return how many requests, valid or not, each record of a batch held, shape (records,)."""
    rejected = np.array([r.index for r in decoded.rejections], np.int64)
    counts = np.bincount(decoded.index, minlength=records)
    return counts + np.bincount(rejected, minlength=records)


@dataclass(frozen=True)
class Outcome:
    """What a micro-batch adds to the account when it is committed."""

    offsets: Offsets
    decided: int
    dead: int


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Return what micro-batches, in their order, add when one commit ends them all."""
    offsets = {p: end for outcome in outcomes for p, end in outcome.offsets.items()}
    return Outcome(offsets, sum(o.decided for o in outcomes), sum(o.dead for o in outcomes))


class Account:
    """Counts of requests since the start of the worker, and where it is in the topic."""

    def __init__(self) -> None:
        self.consumed = 0
        self.decided = 0
        self.dead = 0
        self.committed: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._doubtful: Outcome | None = None

    @property
    def in_flight(self) -> int:
        """Requests consumed whose end is not committed yet."""
        return self.consumed - self.decided - self.dead

    def rewound(self, committed: Offsets) -> None:
        """Begin at these offsets; tells whether a doubtful commit had happened."""
        doubtful, self._doubtful = self._doubtful, None
        self.committed.update(committed)
        if doubtful and all(committed.get(p, 0) >= end for p, end in doubtful.offsets.items()):
            self._add(doubtful)

    def decoded(self, records: Records, rows: NDArray[np.int64]) -> int:
        """Count requests (`rows_of` the records) and return how many were new."""
        ends = next_offsets(records)
        seen = np.zeros(max(ends, default=-1) + 1, np.int64)
        for partition, end in ends.items():
            seen[partition] = self._seen.get(partition, 0)
            self._seen[partition] = max(end, int(seen[partition]))
        new = int(rows[records.offset >= seen[records.partition]].sum())
        self.consumed += new
        return new

    def committing(self, outcome: Outcome) -> None:
        """Note that a commit begins."""
        self._doubtful = outcome

    def done(self, outcome: Outcome) -> None:
        """Note that the commit happened."""
        self._doubtful = None
        self.committed.update(outcome.offsets)
        self._add(outcome)

    def lag(self, ends: Offsets) -> dict[int, int]:
        """Return, by partition, how many offsets are not committed yet."""
        return {p: max(0, end - self.committed.get(p, 0)) for p, end in ends.items()}

    def _add(self, outcome: Outcome) -> None:
        self.decided += outcome.decided
        self.dead += outcome.dead
