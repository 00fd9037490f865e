"""Columns from and to aiokafka without an object for a record: all that leans on its insides.

aiokafka has no public way to whole record batches that it fetched, nor to send any that it has not
built record by record. What is used of its insides is checked, with its version, when it is first
needed; where it is not as expected, records go through its public names one by one, and a warning
says so, once. Both ways give and send the same (but that sent one by one, a header without a value
has an empty one).
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import aiokafka
import numpy as np
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition

from aurora_batch.schema.records import NO_RECORDS, Message, Messages, Record, Records
from kernels.recordbatch import I64, LAST_MS

try:
    from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
    from aiokafka.producer import sender
    from aiokafka.protocol.fetch import FetchRequest

    from aurora_batch.adapters.kafka.wire import Fetched, decode, encode
except ImportError as error:
    _ABSENT = [str(error)]
else:
    _ABSENT = []

KNOWN = ("0.14.",)  # how the versions begin whose insides are known
# Bytes as fetched that are read in a thread: fewer take less long than the way there and back.
THREAD_FROM = 512 * 1024
GATHERED = 64 * 1024  # bytes that are not waited with
# Between two questions whether the markers of the transaction before are written, which takes a few
# milliseconds: aiokafka asks again after 20.
MARKERS_S = 0.002
_log = logging.getLogger(__name__)
_told: set[str] = set()

Parts = dict[TopicPartition, Records]


def watch(consumer: Any, gather_ms: int = 0) -> None:
    """Keep from now on what a consumer that is started fetches, for `fetch` to read at once.

    `fetch` does so itself when it is first called; what was fetched before goes one by one.

    Parameters
    ----------
    gather_ms
        While records come, the broker gathers them for so long (or until they are many) before it
        answers: else there is an answer for every few of them, and both are busy with answers.
    """
    tap = _tap_of(consumer)
    if tap is not None:
        tap.gather_ms = gather_ms


async def fetch(consumer: Any, tps: Sequence[TopicPartition], timeout_ms: int) -> Parts:
    """Return what `consumer.getmany(*tps, timeout_ms=timeout_ms)` would, as columns.

    Positions move as with that, also over aborted records and markers. A consumer that is read by
    this is not to be read otherwise. Raises what that raises; of a partition that is damaged,
    `CorruptRecordException`, and then its position stays.

    Parameters
    ----------
    tps
        At least one.
    """
    tap = _tap_of(consumer)
    if tap is None:
        return _columns(await consumer.getmany(*tps, timeout_ms=timeout_ms))
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        await tap.read(tps)
        # Nothing can come between this line and the last: what is waiting is as columns.
        got = await consumer.getmany(*tps, timeout_ms=0)
        left = deadline - time.monotonic()
        if got or left <= 0 or not await tap.heard(left):
            return _columns(got)


def batches(
    producer: Any, messages: Messages, lanes: Sequence[I64], timestamp_ms: int | I64 | None = None
) -> list[list[Any]]:
    """Return messages as batches for `producer.send_batch`, of at most its `max_batch_size`.

    May run in any thread. A message that is larger than that has a batch of its own.

    Parameters
    ----------
    lanes
        Which messages go to one partition, in this order, and which to another.
    timestamp_ms
        Of all messages, or of each, (n,); None: now.
    """
    if timestamp_ms is None:
        timestamp_ms = time.time_ns() // 1_000_000
    stamps = np.empty(len(messages), np.int64)
    stamps[:] = timestamp_ms
    if not _is_known(producer, _PRODUCER):
        return [_appended(producer, messages.take(rows), stamps[rows]) for rows in lanes]
    waiting = producer._message_accumulator
    manager = producer._txn_manager
    return encode(
        messages, lanes, stamps, waiting._batch_size, waiting._compression_type,
        transactional=manager is not None and manager.transactional_id is not None,
    )  # fmt: skip


def hasten(producer: Any) -> None:
    """Let transactions begin soon after the one before, in this process."""
    if _is_known(producer, _PRODUCER) and hasattr(sender, "BACKOFF_OVERRIDE"):
        sender.BACKOFF_OVERRIDE = MARKERS_S


# What must be there, for there to be any use of it.
_CONSUMER = (
    "_client.send",
    "_fetcher._records",
    "_fetcher._create_fetch_waiter",
    "_fetcher._fetch_min_bytes",
    "_fetcher._fetch_max_wait_ms",
    "_max_poll_records",
)
_PRODUCER = (
    "_txn_manager",
    "_message_accumulator._batch_size",
    "_message_accumulator._compression_type",
)


def _is_known(client: Any, names: Iterable[str]) -> bool:
    """Return whether aiokafka is as expected; say once where it is not."""
    missing = [*_ABSENT, *(name for name in names if not _has(client, name))]
    if aiokafka.__version__.startswith(KNOWN) and not missing:
        return True
    reason = f"aiokafka {aiokafka.__version__}{''.join(f', missing {m}' for m in missing)}"
    if reason not in _told:
        _told.add(reason)
        _log.warning("%s is not known inside: its records go one by one, slower", reason)
    return False


def _has(thing: Any, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


def _tap_of(consumer: Any) -> "_Tap | None":
    """Return what looks at a consumer's answers; None where it is not to be looked into."""
    if not _is_known(consumer, _CONSUMER) or consumer._max_poll_records is not None:
        return None
    fetcher = consumer._fetcher
    if fetcher._key_deserializer or fetcher._value_deserializer:
        return None
    tap = getattr(consumer._client.send, "__self__", None)
    if isinstance(tap, _Tap) and tap.fetcher is fetcher:
        return tap
    return _Tap(consumer._client, fetcher)


class _Tap:
    """Keeps what a consumer fetches, as it came, until it is read.

    aiokafka never shows it again: it hands the bytes to a reader that gives records only. So the
    answers of its client are looked at as they pass, and what it then keeps in wait for `getmany`
    is replaced by an object that gives all records at once.
    """

    def __init__(self, client: Any, fetcher: Any) -> None:
        self.fetcher = fetcher
        self.gather_ms = 0
        self._waits = fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms  # while nothing comes
        self._raw: dict[TopicPartition, tuple[int, bytes]] = {}
        self._send = client.send
        client.send = self._answered

    async def _answered(self, node_id: int, request: Any, **options: Any) -> Any:
        response = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            asked = {
                TopicPartition(topic, partition): position
                for topic, partitions in request.topics
                for partition, position, *_ in partitions
            }
            came = False
            for topic, partitions in response.topics:
                for partition, *_, raw in partitions:
                    tp = TopicPartition(topic, partition)
                    if raw:
                        self._raw[tp] = (asked[tp], raw)
                        came = True
            self._pace(came)
        return response

    def _pace(self, came: bool) -> None:
        """Say how long the broker may wait before it answers the next request."""
        least, most_ms = self._waits
        if came and 0 < self.gather_ms < most_ms:
            least, most_ms = max(least, GATHERED), self.gather_ms
        self.fetcher._fetch_min_bytes, self.fetcher._fetch_max_wait_ms = least, most_ms

    async def read(self, tps: Iterable[TopicPartition]) -> None:
        """Read what is waiting for `getmany`, in a thread where it is much."""
        while found := {tp: f for tp in tps if (f := self._unread(tp)) is not None}:
            if sum(len(f.raw) for _, f in found.values()) < THREAD_FROM:
                read = _read_all(found)
            else:
                read = await asyncio.to_thread(_read_all, found)
            for tp, part in read.items():
                result, _ = found[tp]
                result._partition_records = part

    def _unread(self, tp: TopicPartition) -> "tuple[Any, Fetched] | None":
        result = self.fetcher._records.get(tp)
        part: Any = getattr(result, "_partition_records", None)
        if type(result) is not FetchResult or type(part) is not PartitionRecords:
            return None
        position, raw = self._raw.pop(tp, (-1, b""))
        # Of the last answer or of an earlier one: then aiokafka reads it.
        if (position, len(raw)) != (part.next_fetch_offset, part._records.size_in_bytes()):
            return None
        return result, Fetched(
            tp.topic,
            tp.partition,
            raw,
            position,
            part._aborted_transactions,
            part._isolation_level == READ_COMMITTED,
            part._check_crcs,
        )

    async def heard(self, seconds: float) -> bool:
        """Wait until something new is waiting for `getmany`; return whether it is."""
        waiter = self.fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=seconds)
        if not done:
            waiter.cancel()
            return False
        waiter.result()  # raises what ended the consumer
        return not self.fetcher._closed


class _Read:
    """What `getmany` drains in place of aiokafka's reader: one item, all records."""

    def __init__(self, fetched: "Fetched", found: tuple[Records, int] | Exception) -> None:
        self._found = found
        self.next_fetch_offset = fetched.position

    def __iter__(self) -> Iterator[Records]:
        found = self._found
        if isinstance(found, Exception):
            # Once: then nothing is left here, and it is fetched again.
            self._found = (NO_RECORDS, self.next_fetch_offset)
            raise found
        records, self.next_fetch_offset = found
        if len(records):
            yield records


def _read_all(found: "Mapping[TopicPartition, tuple[Any, Fetched]]") -> dict[TopicPartition, _Read]:
    read = {}
    for tp, (_, fetched) in found.items():
        try:
            decoded = decode(fetched)
        except CorruptRecordException as error:
            read[tp] = _Read(fetched, error)
        else:
            if decoded is not None:
                read[tp] = _Read(fetched, decoded)
    return read


def _columns(got: Mapping[TopicPartition, list[Any]]) -> Parts:
    """Return what `getmany` gave as columns, some of which may be columns."""
    return {tp: Records.joined(list(_parts(part))) for tp, part in got.items()}


def _parts(part: Iterable[Any]) -> Iterator[Records]:
    for columns, run in groupby(part, lambda item: isinstance(item, Records)):
        if columns:
            yield from run
        else:
            yield Records.of(map(_record_of, run))


def _record_of(r: Any) -> Record:
    ms = -1 if r.timestamp is None else r.timestamp
    stamp = ms * 1000 if 0 <= ms <= LAST_MS else -1
    return Record(r.value, r.key, r.topic, r.partition, r.offset, stamp, tuple(r.headers))


def _appended(producer: Any, messages: Messages, stamps: I64) -> list[Any]:
    """Return messages as batches that aiokafka builds, one by one."""
    made: list[Any] = []
    for message, stamp in zip(messages, stamps.tolist(), strict=True):
        said = {"timestamp": stamp, "key": message.key, "value": message.value}
        if not made or made[-1].append(**said, headers=list(message.headers)) is None:
            made.append(producer.create_batch())
            made[-1].append(**said, headers=list(message.headers))
    for batch in made:
        batch.close()
    return made


def warm_up() -> None:
    """Compile, or load from the cache, what reading and writing need."""
    if _ABSENT:
        return
    message = Messages.of([Message(b"value", b"key", (("name", b"value"),))])
    rows, stamps = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for batch in encode(message, [rows], stamps, 1024, 0, transactional=False)[0]:
        decode(Fetched("", 0, bytes(batch._build()), 0, [], committed=True, checked=True))
