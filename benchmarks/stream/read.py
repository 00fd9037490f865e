"""The reader, a process of its own: committed decisions, counted, or each with its time.

python -m benchmarks.stream.read '{"bootstrap": ..., "topic": ..., "count": ..., ...}'
"""

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, TopicPartition

from benchmarks.stream.feed import say

PIECE = 10_000  # messages that are taken together
SETTLE_S = 10.0  # of silence after which nothing more is expected
NUMBER = re.compile(rb"req-(\d+)")
FRONT = 64  # bytes of a JSON decision in which its request's id stands


@dataclass(frozen=True)
class Spec:
    """What to read.

    Attributes
    ----------
    count
        Requests that are expected; it ends when they and no more are there, or after silence.
    received
        File for numbers of requests and times of their decisions, nanoseconds (.npz); empty:
        count from the beginning.
    """

    bootstrap: str
    topic: str
    partitions: int
    payload: str
    count: int
    received: str = ""


def consumer_of(spec: Spec) -> Consumer:
    """Return a consumer of all partitions, from their end where times are wanted."""
    consumer = Consumer(
        {
            "bootstrap.servers": spec.bootstrap, "group.id": "bench-reader", "log_level": 0,
            "enable.auto.commit": False, "isolation.level": "read_committed",
            "enable.partition.eof": True, "fetch.wait.max.ms": 500,
            "queued.max.messages.kbytes": 1 << 17, "fetch.message.max.bytes": 4 << 20,
        }
    )  # fmt: skip
    begin = OFFSET_END if spec.received else OFFSET_BEGINNING
    consumer.assign([TopicPartition(spec.topic, p, begin) for p in range(spec.partitions)])
    return consumer


def rows_of(value: bytes, payload: str) -> int:
    """Return how many decisions a record holds."""
    return 1 if payload == "json" else int(pa.ipc.open_stream(value).read_all().num_rows)


def pieces(consumer: Consumer, silence_s: float) -> Iterator[tuple[int, list[bytes], set[int]]]:
    """Yield (when received, values, partitions whose end was met) until nothing comes."""
    quiet = time.monotonic()
    while time.monotonic() - quiet < silence_s:
        found = consumer.consume(PIECE, 0) or consumer.consume(1, 0.1)
        now = time.time_ns()
        values: list[bytes] = []
        ends: set[int] = set()
        for message in found:
            error = message.error()
            if error is None:
                values.append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001, its public name
                ends.add(message.partition() or 0)
            else:
                raise SystemExit(str(error))
        if values:
            quiet = time.monotonic()
        yield now, values, ends


def count(spec: Spec) -> None:
    """Count all committed decisions from the beginning."""
    consumer, found, records, at_end = consumer_of(spec), 0, 0, set[int]()
    for _, values, ends in pieces(consumer, SETTLE_S):
        records += len(values)
        found += len(values) if spec.payload == "json" else sum(rows_of(v, "arrow") for v in values)
        at_end |= ends
        if found >= spec.count and len(at_end) == spec.partitions:
            break
    consumer.close()
    say(decisions=found, records=records)


def receive(spec: Spec) -> None:
    """Note when the decision of each request is there."""
    consumer, found, began = consumer_of(spec), 0, False
    kept: list[tuple[int, list[bytes]]] = []
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    at_end: set[int] = set()
    for now, values, ends in pieces(consumer, 2 * SETTLE_S):
        at_end |= ends
        if not began and len(at_end) == spec.partitions:
            began = True
            say(ready=1)
        if values:
            fronts = values if spec.payload == "arrow" else [v[:FRONT] for v in values]
            kept.append((now, fronts))
            found += sum(rows_of(v, spec.payload) for v in values)
        if found >= spec.count or ended:
            break
    consumer.close()
    numbers: list[int] = []
    times: list[int] = []
    for now, values in kept:
        own = [n for v in values for n in numbers_of(v, spec.payload)]
        numbers += own
        times += [now] * len(own)
    np.savez(spec.received, number=np.array(numbers, np.int64), at=np.array(times, np.int64))
    say(decisions=found)


def numbers_of(value: bytes, payload: str) -> list[int]:
    """Return the numbers of the requests that a record of decisions answers."""
    if payload == "json":
        match = NUMBER.search(value)
        assert match is not None, value
        return [int(match[1])]
    ids = pa.ipc.open_stream(value).read_all()["request_id"].to_pylist()
    return [int(i.removeprefix("req-")) for i in ids]


def main(argument: str) -> None:
    """Read what the argument, `Spec` as JSON, asks for."""
    spec = Spec(**json.loads(argument))
    receive(spec) if spec.received else count(spec)


if __name__ == "__main__":
    main(sys.argv[1])
