"""A micro-batch of records becomes messages: `decode`, then `decide`; pure, so in any thread.

    records -> schema.decode -> router.decide -> replies, the first one with the trail

Nothing here waits, and nothing is kept: the state goes in and comes out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch import ledger, replies, router, sample, schema, trail
from aurora_batch.fleet import Fleet
from aurora_batch.policies import Safety
from aurora_batch.router import BatchRecord, RouterState, Step
from aurora_batch.schema import DECISION_SCHEMA, Decisions, Decoded, Messages, Records
from aurora_batch.settings import Settings
from aurora_batch.trail import Trail

# A solve does counted work, which takes the configured deadline on a slow server. Only one that
# takes this many times as long, on a machine that is stuck, is ended by the clock.
SAFETY = 40.0


@dataclass(frozen=True)
class Decided:
    """What became of a micro-batch."""

    decoded: Decoded
    decisions: Decisions  # row for row those of `decoded.requests`
    offer: NDArray[np.int32]  # the fleet's that each decision gives, -1 for none
    batches: tuple[BatchRecord, ...]  # one for each window it reached
    state: RouterState
    decision_messages: Messages
    dead_letters: Messages
    decide_s: float  # score and solve
    reply_s: float  # decisions and their messages


@dataclass(frozen=True)
class Read:
    """What is in a micro-batch."""

    decoded: Decoded
    dead_letters: Messages  # of what is no request


def decode(records: Records, settings: Settings) -> Read:
    """Return the requests that are in records, and the dead letters of the others."""
    decoded = _requests(records, settings)
    most = settings.kafka.max_message_bytes
    return Read(decoded, replies.dead_letter_messages(records, decoded, most))


def _requests(records: Records, settings: Settings) -> Decoded:
    return schema.decode(records, max_clock_skew_s=settings.router.max_clock_skew_s)


def decide(
    records: Records,
    read: Read,
    fleet: Fleet,
    state: RouterState,
    settings: Settings,
    again: Trail | None = None,
    prepare: Callable[[RouterState], None] | None = None,
) -> Decided:
    """Decide a micro-batch.

    Requests are decided in the order of their records; where they reach several windows, window by
    window, because those of the older window are not late while its batch is still open.

    Parameters
    ----------
    records
        Ordered by partition and offset, so that the decisions depend on the batch alone.
    read
        What `decode` made of them.
    again
        The trail of this micro-batch, where it was decided before: its solves end where they did.
    prepare
        Called with the state behind the batch before its decisions are written down: what the next
        batch needs can be found meanwhile, in another thread.
    """
    began = time.perf_counter()
    most = settings.kafka.max_message_bytes
    decoded, dead_letters = read.decoded, read.dead_letters
    while True:
        steps, order = _steps(records, decoded, fleet, state, settings, again)
        after = steps[-1].state if steps else state
        done = time.perf_counter()
        if prepare is not None:
            prepare(after)
        decisions, offer = _decisions(steps, order)
        messages = replies.decision_messages(records, decoded.index, decisions, most)
        large = replies.oversized(records, decoded.index, decisions, messages, most)
        if not large:
            break
        # Again without them: nobody would hear of the capacity that they were given.
        decoded = replies.without(records, decoded, large, most)
        dead_letters = replies.dead_letter_messages(records, decoded, most)
    batches = tuple(s.batch for s in steps)
    made_of = trail.trail_of(records, batches, state, fleet.version, settings)
    if messages:
        messages = trail.marked(messages, made_of, most)
    else:
        dead_letters = trail.marked(dead_letters, made_of, most)
    return Decided(
        decoded=decoded,
        decisions=decisions,
        offer=offer,
        batches=batches,
        state=after,
        decision_messages=messages,
        dead_letters=dead_letters,
        decide_s=done - began,
        reply_s=time.perf_counter() - done,
    )


def _steps(
    records: Records,
    decoded: Decoded,
    fleet: Fleet,
    state: RouterState,
    settings: Settings,
    again: Trail | None,
) -> tuple[list[Step], NDArray[np.int64] | None]:
    """Return the steps of a batch; and the order of its requests, where it is not theirs."""
    requests = with_origins(records, decoded)
    order = _by_window(requests, settings)
    if order is not None:
        requests = requests.take(pa.array(order))
    net = Safety(deadline_s=SAFETY * settings.router.solver.deadline_ms / 1e3)
    safeties = repeat(net) if again is None else again.safeties()
    return list(router.decide(requests, fleet, state, settings, safeties=safeties)), order


def _decisions(
    steps: list[Step], order: NDArray[np.int64] | None
) -> tuple[Decisions, NDArray[np.int32]]:
    """Return the decisions, and their offers, in the order of their requests."""
    if len(steps) == 1 and order is None:
        return steps[0].coded, steps[0].offer
    decisions = pa.concat_tables([DECISION_SCHEMA.empty_table(), *(s.decisions for s in steps)])
    offer = np.concatenate([np.zeros(0, np.int32), *(s.offer for s in steps)])
    if order is not None:
        place = np.argsort(order)
        decisions, offer = decisions.take(pa.array(place)), offer[place]
    return Decisions.of(decisions), offer


def requests_of(records: Records, settings: Settings) -> pa.Table:
    """Return the valid requests of records that were decided before."""
    return with_origins(records, _requests(records, settings))


def with_origins(records: Records, decoded: Decoded) -> pa.Table:
    """Return the requests, each with the partition and offset of its record (`sample.ORIGIN`)."""
    of_record = records.partition * sample.OFFSETS + records.offset
    origin = pa.array(of_record[decoded.index], pa.int64())
    return decoded.requests.append_column(sample.ORIGIN, origin)


def _by_window(requests: pa.Table, settings: Settings) -> NDArray[np.int64] | None:
    """Return the order of requests by window, None where they have it already."""
    event_us = schema.microseconds_of(requests["requested_at"])
    windows = ledger.window_of(event_us, max(1, round(settings.router.window_s * 1e6)))
    if bool((windows[1:] >= windows[:-1]).all()):
        return None
    return np.argsort(windows, kind="stable")
