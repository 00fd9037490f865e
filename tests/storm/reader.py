"""Committed decisions as a consumer of another make sees them: librdkafka, read_committed."""

import hashlib
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.storm.checker import Checker

POLL = 2_000  # records at once
WAIT_S = 0.05

# Shard, wall clock at which its worker wrote a decision, monotonic clock at which it was read.
Seen = Callable[[str, float, float], object]


class LiveReader:
    """Reads decisions from the first one on and checks each, in a thread, until it is left.

    Parameters
    ----------
    seen
        Told, in the reader's thread, of decisions as they come: the first and last of each poll
        and shard.
    """

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, checker: Checker,
        seen: Seen = lambda *_: None,
    ) -> None:  # fmt: skip
        self.checker = checker
        self._seen = seen
        self._digests = [hashlib.sha256() for _ in range(partitions)]
        self._bootstrap = bootstrap
        self._places = [TopicPartition(topic, p, 0) for p in range(partitions)]
        self._ended: set[int] = set()  # partitions of which nothing more is there
        self._stop = Event()
        self._thread = Thread(target=self._run, name="reader", daemon=True)
        self._failure: BaseException | None = None

    @property
    def decided(self) -> int:
        """Distinct requests whose decision was read; raises what ended the reader, if anything."""
        if self._failure is not None:
            raise self._failure
        return self.checker.decided

    @property
    def at_end(self) -> bool:
        """Whether everything that is committed now is read."""
        return len(self._ended) == len(self._places)

    @property
    def digest(self) -> str:
        """Of everything read, by partition; the same for whoever reads the same."""
        return hashlib.sha256(b"".join(d.digest() for d in self._digests)).hexdigest()[:16]

    def __enter__(self) -> "LiveReader":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # handed to whoever asks
            self._failure = error

    def _read(self) -> None:
        # A group is asked for, though nothing is committed under it.
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "storm-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        consumer.assign(self._places)
        try:
            while not self._stop.is_set():
                self._take(consumer.consume(POLL, WAIT_S))
        finally:
            consumer.close()

    def _take(self, messages: list[Any]) -> None:
        now = time.monotonic()
        for message in messages:
            if message.error() is not None:
                self._failed(message)
                continue
            self._ended.discard(message.partition())
            value: bytes = message.value()
            self._digests[message.partition()].update(value)
            shard = self.checker.add(value)
            self._seen(shard, message.timestamp()[1] / 1e3, now)

    def _failed(self, message: Any) -> None:
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(message.partition())
        # A broker that is away is one of the things that storms bring.
        elif error.fatal():
            raise AssertionError(str(error))


def read_again(
    bootstrap: str, topic: str, partitions: int, checker: Checker, timeout_s: float
) -> LiveReader:
    """Return a reader that has read the whole topic, to its present end."""
    reader = LiveReader(bootstrap, topic, partitions, checker)
    deadline = time.monotonic() + timeout_s
    with reader:
        while reader.decided >= 0 and not reader.at_end and time.monotonic() < deadline:
            time.sleep(WAIT_S)
    return reader
