"""Dead letters are sent again, each at most once, whatever dies in between.

    0  open   the one producer of this topic's redrives: fences a predecessor, ends its transaction
    1  scan   all dead letters and all marks, up to the end; waits for transactions that are open
    2  send   those that were chosen, some at a time: requests and their mark in one transaction

A mark is thus committed exactly when the request is, and whoever begins later reads it in step 1.
Without transactions (`kafka.transactional: off`) the requests are sent before the mark: a crash
between the two sends them again.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aurora_batch import dead_letters
from aurora_batch.adapters.kafka import Cluster, Reader, Sink
from aurora_batch.dead_letters import DeadLetter
from aurora_batch.schema import Record
from aurora_batch.settings import Settings

LETTERS = 500  # of one transaction
BYTES = 4 * 2**20

Choice = Callable[[DeadLetter], bool]


@dataclass
class Scan:
    """What lies on the topic of dead letters."""

    letters: list[DeadLetter] = field(default_factory=list)  # those chosen, without their bytes
    valid: list[bool] = field(default_factory=list)  # of each: would it be a request now
    redriven: set[str] = field(default_factory=set)  # identities, of all letters


@dataclass(frozen=True)
class Plan:
    """What is to be sent again, and what becomes of the rest."""

    identities: set[str]
    outcomes: Counter[tuple[str, str]]  # (outcome, code) -> letters; outcome "send" is the first


async def scan(
    cluster: Cluster,
    settings: Settings,
    chosen: Choice,
    *,
    settled: bool = False,
    keep_values: bool = False,
) -> Scan:
    """Return the dead letters that were chosen, by the time of their deaths.

    Parameters
    ----------
    settled
        Wait for transactions that are open, so that no mark is missed.
    keep_values
        With the bytes of the letters.
    """
    found = Scan()
    said: list[tuple[DeadLetter, bool]] = []
    async with Reader(cluster, settings.kafka.topics.dead_letters, from_start=True) as reader:
        async for records in reader.parts(settled=settled):
            for record in records:
                found.redriven.update(dead_letters.marked(record))
            letters = _letters(records, chosen)
            now_us = time.time_ns() // 1000
            valid = dead_letters.valid_now(letters, now_us, settings.router.max_clock_skew_s)
            kept = letters if keep_values else [letter.without_value() for letter in letters]
            said += zip(kept, valid, strict=True)
    said.sort(key=lambda pair: (pair[0].record.timestamp_us, pair[0].place))
    found.letters, found.valid = [s[0] for s in said], [s[1] for s in said]
    return found


def _letters(records: Sequence[Record], chosen: Choice) -> list[DeadLetter]:
    return [x for x in map(dead_letters.read, records) if x is not None and chosen(x)]


def planned(found: Scan, codes: Sequence[str], *, force: bool) -> Plan:
    """Return what is to be sent again.

    Parameters
    ----------
    codes
        Those that were asked for by name.
    force
        Also what would be a dead letter again.
    """
    identities: set[str] = set()
    outcomes: Counter[tuple[str, str]] = Counter()
    for letter, valid in zip(found.letters, found.valid, strict=True):
        obstacle = dead_letters.obstacle(letter, codes=codes)
        if letter.identity in found.redriven:
            outcome = "was sent again before"
        elif letter.identity in identities:
            outcome = "is there twice"
        elif obstacle is not None:
            outcome = obstacle
        elif not (valid or force):
            outcome = "would be a dead letter again"
        else:
            outcome = "send"
            identities.add(letter.identity)
        outcomes[outcome, letter.code] += 1
    return Plan(identities, outcomes)


async def redrive(
    cluster: Cluster, settings: Settings, chosen: Choice, codes: Sequence[str], *, force: bool
) -> Plan:
    """Send again what was chosen, may be, and was not before; return what that was.

    Raises `Fenced` where another redrive began meanwhile, `Doubtful` where nobody knows whether
    the last transaction happened; a next redrive reads how it ended.
    """
    topics = settings.kafka.topics
    counts = await cluster.partitions((topics.requests, topics.dead_letters))
    name = f"aurora-redrive-{topics.dead_letters}"
    sink = Sink(cluster, counts, name if settings.kafka.transactional != "off" else None)
    try:
        await sink.open()
        plan = planned(await scan(cluster, settings, chosen, settled=True), codes, force=force)
        await _send(cluster, settings, sink, set(plan.identities))
    finally:
        await sink.close()
    return plan


async def _send(cluster: Cluster, settings: Settings, sink: Sink, left: set[str]) -> None:
    """Send the letters of these identities, in transactions of some; empties `left`."""
    topic = settings.kafka.topics.dead_letters
    batch: list[DeadLetter] = []
    async with Reader(cluster, topic, from_start=True) as reader:
        async for records in reader.parts():
            for letter in _letters(records, lambda x: x.identity in left):
                if letter.identity not in left:  # it came twice in this part
                    continue
                left.remove(letter.identity)
                batch.append(letter)
                if len(batch) >= LETTERS or sum(x.size for x in batch) >= BYTES:
                    await _commit(settings, sink, batch)
                    batch = []
            if not left:
                break
    if batch:
        await _commit(settings, sink, batch)


async def _commit(settings: Settings, sink: Sink, letters: Sequence[DeadLetter]) -> None:
    topics = settings.kafka.topics
    requests = sink.stage({topics.requests: map(dead_letters.request_of, letters)})
    marks = sink.stage({topics.dead_letters: dead_letters.marks(letters)})
    await sink.commit_alone(requests, marks)
