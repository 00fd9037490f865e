"""The producer, a process of its own: a backlog as fast as it can, or requests at a rate.

    python -m benchmarks.stream.feed '{"bootstrap": ..., "topic": ..., "count": ..., ...}'

A block of requests is encoded once; number and time are put into its bytes as they are sent.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Producer
from numpy.typing import NDArray

from aurora_batch import schema, workload
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.settings import Settings

BLOCK = 50_000  # requests that are made and encoded once
ROWS = 1_000  # of an Arrow record
SLICE_S = 0.001  # between two pieces at a rate
STAMP_S = 0.001  # of event time; requests of a backlog in it say the same moment
QUEUED = 200_000  # requests, at most, that wait in the client when more are made
FLUSH_S = 60.0
# Producers' own defaults, for requests at a rate: without a key, some milliseconds long to one
# partition, then to another (sticky), and 5 ms for a batch. Four tiny batches each millisecond keep
# a core of the broker busy, and then its queue is what is measured.
ANY, LINGER_MS = -1, 5
ARROW_HEADERS: list[tuple[str, str | bytes | None]] = [
    ("content-type", schema.ARROW_CONTENT_TYPE.encode())
]


@dataclass(frozen=True)
class Spec:
    """What to send.

    Attributes
    ----------
    rate
        Requests per second: as they are sent, or of a backlog by event time.
    start_us
        Event time of a backlog's first request, microseconds since the epoch; 0: at the rate, now.
    window_s
        Of the requests, which ask for 1.2 times what a window has.
    sent
        File for when each request was sent, nanoseconds since the epoch (.npy).
    """

    bootstrap: str
    topic: str
    partitions: int
    payload: str
    count: int
    rate: float
    start_us: int = 0
    window_s: float = Settings().router.window_s
    sent: str = ""

    def requests(self, seed: int, count: int) -> pa.Table:
        """Return requests that ask for 1.2 times what a window has, at the rate."""
        per_window = max(1, round(self.rate * self.window_s))
        fleet = fleet_from_settings(Settings().providers)
        return workload.stress(
            fleet, count, seed=seed, per_window=per_window, window_s=self.window_s
        )


def moment(us: int) -> bytes:
    """Return a moment, microseconds since the epoch, as a request states it."""
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


class JsonBlock:
    """One request a record."""

    rows = 1

    def __init__(self, spec: Spec) -> None:
        values = schema.encode_requests_json(spec.requests(1, min(spec.count, BLOCK)))
        # Between the number, 9 digits, and the time, which is put last.
        self._middles = [_without_time(v)[len(b'{"request_id":"req-000000000') :] for v in values]

    def values(self, low: int, high: int, us: int) -> Iterator[bytes]:
        """Yield the requests low <= i < high, all at one moment."""
        tail = b',"requested_at":"%s"}' % moment(us)
        middles, size = self._middles, len(self._middles)
        for i in range(low, high):
            yield b'{"request_id":"req-%09d%b%b' % (i, middles[i % size], tail)


def _without_time(value: bytes) -> bytes:
    said = json.loads(value)
    del said["requested_at"]
    return json.dumps(said, separators=(",", ":")).encode()[:-1]


class ArrowBlock:
    """A record holds `ROWS` requests."""

    rows = ROWS

    def __init__(self, spec: Spec) -> None:
        self._table = spec.requests(1, BLOCK)

    def values(self, low: int, high: int, us: int) -> Iterator[bytes]:
        """Yield records with the requests low <= i < high, all at one moment."""
        for first in range(low, high, ROWS):
            piece = self._table.slice(first % BLOCK, min(ROWS, high - first))
            number = pa.array(np.arange(first, first + piece.num_rows)).cast(pa.string())
            ids = pc.binary_join_element_wise("req", pc.utf8_lpad(number, 9, "0"), "-")
            stamp = pa.repeat(us, piece.num_rows).cast(piece["requested_at"].type)
            columns = {"request_id": ids, "requested_at": stamp}
            arrays = [columns.get(f.name, piece[f.name]) for f in piece.schema]
            yield schema.encode_requests_arrow(pa.table(arrays, schema=piece.schema))


class Feed:
    """The client, and what went wrong in it."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._block = JsonBlock(spec) if spec.payload == "json" else ArrowBlock(spec)
        self._headers = None if spec.payload == "json" else ARROW_HEADERS
        at_a_rate = not spec.start_us
        self._producer = Producer(
            {
                "bootstrap.servers": spec.bootstrap, "log_level": 0, "acks": "all",
                "linger.ms": LINGER_MS if at_a_rate else 20, "batch.size": 1 << 19,
                "queue.buffering.max.messages": 2 * QUEUED,
                "queue.buffering.max.kbytes": 1 << 20, "message.max.bytes": 4_000_000,
            }
        )  # fmt: skip

    def send(self, low: int, high: int, us: int) -> None:
        """Send the requests low <= i < high, which say one moment."""
        spec, producer, rows = self.spec, self._producer, self._block.rows
        for at, value in enumerate(self._block.values(low, high, us), low // rows):
            where = at % spec.partitions if spec.start_us else ANY
            producer.produce(spec.topic, value, partition=where, headers=self._headers)

    def wait(self, most: int = 0) -> None:
        """Wait until at most so many records wait in the client."""
        deadline = time.monotonic() + FLUSH_S
        while len(self._producer) > most:
            self._producer.poll(0.01)
            if time.monotonic() > deadline:
                raise SystemExit("the broker takes no records")

    def poll(self) -> None:
        """Let the client do what it has to."""
        self._producer.poll(0)


def fill(feed: Feed) -> None:
    """Send a backlog, its event times at the rate from the start on."""
    spec, sent = feed.spec, 0
    rows = ROWS if spec.payload == "arrow" else 1
    step = max(rows, round(spec.rate * STAMP_S))
    while sent < spec.count:
        high = min(spec.count, sent + step)
        feed.send(sent, high, spec.start_us + round(sent / spec.rate * 1e6))
        sent = high
        if sent % (200 * step) == 0:
            feed.wait(QUEUED // rows)
            say(sent=sent)
    feed.wait()
    say(sent=sent)


def pace(feed: Feed) -> NDArray[np.int64]:
    """Send at the rate; return when each was sent, nanoseconds since the epoch."""
    spec, sent = feed.spec, 0
    rows = ROWS if spec.payload == "arrow" else 1
    times = np.zeros(spec.count, np.int64)
    say(encoded=spec.count)
    sys.stdin.readline()  # until the reader is there
    say(began=time.time())
    began = time.monotonic()
    worst = 0.0
    while sent < spec.count:
        due = int((time.monotonic() - began) * spec.rate) // rows * rows
        high = min(spec.count, due)
        if high > sent:
            now = time.time_ns()
            times[sent:high] = now
            feed.send(sent, high, now // 1000)
            worst = max(worst, time.monotonic() - began - sent / spec.rate)
            sent = high
        feed.poll()
        time.sleep(SLICE_S)
    took = time.monotonic() - began
    feed.wait()
    say(sent=sent, seconds=took, latest_s=worst)
    return times


def say(**what: float) -> None:
    """Tell the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(argument: str) -> None:
    """Send what the argument, `Spec` as JSON, asks for."""
    spec = Spec(**json.loads(argument))
    feed = Feed(spec)
    if spec.start_us:
        fill(feed)
    else:
        np.save(spec.sent, pace(feed))


if __name__ == "__main__":
    main(sys.argv[1])
