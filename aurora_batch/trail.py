"""What a micro-batch was made of, sent with its decisions, so that anyone can decide it again.

The first message of each micro-batch that has room (a decision, or a dead letter where nothing else
came of it) carries it as a header: the offsets that it took from each partition, the certificate of
each batch (one for each window that it reached), and the unit of work at which a solve was ended by
the clock.
Everything else that decides is in the log, in the settings and in the fleet.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, repeat

import msgspec
import numpy as np
from msgspec import Struct, structs

from aurora_batch.policies import NO_SAFETY, Safety
from aurora_batch.replies import size_of
from aurora_batch.router import BatchRecord, RouterState
from aurora_batch.schema import Messages, Records
from aurora_batch.schema.records import Headers
from aurora_batch.settings import Settings

HEADER = "aurora-batch"
MOST_BATCHES = 100  # whose certificates a header holds; requests of many windows make many batches


class Certified(Struct, frozen=True):
    """The certificate of one batch, without its prices."""

    id: str
    requests: int
    served: int
    value: float
    bound: float | None  # None where none was computed
    status: str
    work: int  # units


class Trail(Struct, frozen=True, omit_defaults=True):
    """One micro-batch; `offsets` are first and last + 1 of each partition."""

    shard: str
    begins: tuple[int, int]  # window (us since the epoch) and batches of the ledger before it
    fleet: str  # version
    settings: str  # `version_of`
    offsets: dict[int, tuple[int, int]]
    batches: list[Certified]
    stops: dict[int, int] = {}  # which of its batches the clock ended, and at which unit of work

    def safeties(self) -> Iterator[Safety]:
        """Yield what ends the solve of each batch, so that it ends where it did."""
        last = max(self.stops, default=-1) + 1
        known = (Safety(stop_at=self.stops.get(i)) for i in range(last))
        return chain(known, repeat(NO_SAFETY))


def trail_of(
    records: Records,
    batches: Sequence[BatchRecord],
    before: RouterState,
    fleet_version: str,
    settings: Settings,
) -> Trail:
    """Return the trail of a micro-batch, given the batches that it became.

    Records are ordered by partition and offset.
    """
    partitions, low = np.unique(records.partition, return_index=True)
    high = np.append(low[1:], len(records)) - 1
    offsets = {
        int(p): (int(records.offset[first]), int(records.offset[last]) + 1)
        for p, first, last in zip(partitions, low, high, strict=True)
    }
    return Trail(
        before.shard,
        (before.ledger.window_us, before.ledger.batches),
        fleet_version,
        version_of(settings),
        offsets,
        [_certified(b) for b in batches[:MOST_BATCHES]],
        {i: b.work for i, b in enumerate(batches) if b.struck},
    )


def _certified(b: BatchRecord) -> Certified:
    bound = b.bound if b.bound == b.bound else None  # NaN
    return Certified(b.batch_id, b.requests, b.served, b.value, bound, b.status, b.work)


def version_of(settings: Settings) -> str:
    """Return a digest of the settings that decide, without those of the fleet."""
    decide = (settings.router, settings.tenants, settings.kafka.max_message_bytes)
    return blake2b(
        msgspec.json.encode(decide, order="sorted", enc_hook=str), digest_size=6
    ).hexdigest()


def marked(messages: Messages, trail: Trail, most: int) -> Messages:
    """Return messages with the trail in the headers of the first one that has room for it.

    Where none has, within `most` bytes, the certificates are left out; and where even that is too
    much, nothing is marked: a message that the broker refuses would stop the shard.
    """
    for said in (trail, structs.replace(trail, batches=[])):
        header = (HEADER, msgspec.json.encode(said))
        for i, message in enumerate(messages):
            with_it = (*message.headers, header)
            if size_of(structs.replace(message, headers=with_it)) <= most:
                return messages.with_headers(i, with_it)
    return messages


def trail_in(headers: Headers) -> Trail | None:
    """Return the trail that a message carries, if it does.

    Raises `msgspec.DecodeError` where it is damaged.
    """
    said: Mapping[str, bytes] = dict(headers)
    return msgspec.json.decode(said[HEADER], type=Trail) if HEADER in said else None
