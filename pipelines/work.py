"""Micro-batches on their way through a session, and which of them one transaction commits."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurora_batch import progress
from aurora_batch.adapters.kafka import Staged
from aurora_batch.engine import Decided, Read
from aurora_batch.fleet import Fleet
from aurora_batch.microbatch import Batch
from aurora_batch.progress import Outcome
from aurora_batch.schema import Message

# Of a backlog, so many micro-batches are committed together: a transaction costs the broker 7 ms of
# CPU, where 10,000 decisions cost it 10. What waits is no more than this part of what may be in
# flight, or nothing would be read; and the next one is awaited no longer than it should ever take.
TOGETHER, SHARE, WAIT_S = 3, 1 / 8, 1.0


@dataclass(frozen=True)
class Question:
    """A micro-batch that is decoded, or so small that who decides it does that."""

    batch: Batch
    read: Read | None = None
    decode_s: float = 0.0


@dataclass(frozen=True)
class Work:
    """A micro-batch that is decided."""

    batch: Batch
    decode_s: float
    fleet: Fleet
    decided: Decided
    snapshot: Message  # the ledger's
    rows: NDArray[np.int64]  # requests of each record
    staged: Staged | None = None

    @property
    def outcome(self) -> Outcome:
        """What it adds to the account."""
        return Outcome(
            progress.next_offsets(self.batch.records),
            self.decided.decisions.num_rows,
            len(self.decided.decoded.rejections),
        )


async def with_more(
    first: Work, staged: asyncio.Queue[Work | None], most: int, in_flight: float
) -> list[Work]:
    """Return a micro-batch and those of a backlog that are to be committed with it, in order.

    Parameters
    ----------
    staged
        What comes after it; the None that ends it stays there.
    most
        How many are known to be on their way, it included: 1 where there is no backlog.
    in_flight
        Bytes that may be.
    """
    works = [first]
    while (
        len(works) < min(TOGETHER, most)
        and sum(work.batch.bytes for work in works) <= SHARE * in_flight
    ):
        try:
            work = await asyncio.wait_for(staged.get(), WAIT_S)
        except TimeoutError:
            break
        if work is None:
            staged.put_nowait(None)
            break
        works.append(work)
    return works
