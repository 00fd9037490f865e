"""Where a run happens: broker, topics of its own, and how a process is to run there."""

import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from aurora_batch.adapters.kafka import create_topics
from aurora_batch.adapters.kafka.topics import COMPACTED
from aurora_batch.settings import (
    BatchSettings,
    KafkaSettings,
    Lookahead,
    RouterSettings,
    Settings,
    Topics,
)
from aurora_batch.settings_types import to_plain
from benchmarks.stream.cells import BY_BARE, BY_LOOP, BY_QUIX, Cell
from benchmarks.stream.children import Child
from tests.streaming import cluster_of, write_settings

PARTITIONS = 4
ANSWER_S = 10.0
RETRY_S = 0.2
# The broker must neither drop a backlog by its age nor refuse an Arrow record of 1,000 requests.
KEPT = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "4000000"}


@dataclass(frozen=True)
class Place:
    """A broker, and a prefix that nobody else has."""

    bootstrap: str
    broker_pid: int | None
    folder: Path
    prefix: str

    @classmethod
    def at(cls, bootstrap: str, broker_pid: int | None, folder: Path) -> "Place":
        """Return a new one."""
        return cls(bootstrap, broker_pid, folder, f"bench-{uuid.uuid4().hex[:8]}")

    def settings(self, cell: Cell, requests: str, turn: int) -> Settings:
        """Return the settings of a worker for a cell: the built-in fleet, policy `global`."""
        own = f"{self.prefix}.{cell.name}.{turn}"
        topics = Topics(
            requests=requests, decisions=f"{own}.decisions", dead_letters=f"{own}.dlq",
            outcomes=f"{own}.outcomes", ledger=f"{own}.ledger",
        )  # fmt: skip
        return Settings(
            router=RouterSettings(
                batch=BatchSettings(linger_ms=cell.linger_ms), window_s=cell.window_s,
                lookahead=Lookahead(enabled=cell.lookahead),
            ),
            kafka=KafkaSettings(
                bootstrap=self.bootstrap, group=own, topics=topics,
                transactional="on" if cell.exactly_once else "off",
            ),
        )  # fmt: skip

    def create(self, settings: Settings) -> None:
        """Create the topics that are not there yet."""
        topics = settings.kafka.topics
        wanted = {getattr(topics, f): KEPT for f in topics.__struct_fields__}
        wanted[topics.ledger] = COMPACTED
        asyncio.run(create_topics(cluster_of(settings), wanted, PARTITIONS, 1))

    def drop(self, *topics: str) -> None:
        """Delete topics, which fill the disk otherwise."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for future in admin.delete_topics(list(topics)).values():
            future.result()

    def drop_outputs(self, settings: Settings) -> None:
        """Delete what a cell has made, its input aside."""
        topics = msgspec.structs.asdict(settings.kafka.topics)
        self.drop(*(name for field, name in topics.items() if field != "requests"))

    def worker(
        self, settings: Settings, shard: str, *arguments: str,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:  # fmt: skip
        """Start `aurora stream`."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        write_settings(settings, folder)
        options = ["--config", str(folder), "--shard", shard, *arguments]
        return Child("pipelines.cli", ["stream", *options], environ=environ)

    def peer(self, by: str, settings: Settings, python: Path | None = None) -> Child:
        """Start who does a worker's job; `python` is the interpreter that has Quix Streams."""
        kafka = settings.kafka
        spec = {
            "bootstrap": kafka.bootstrap, "group": kafka.group, "requests": kafka.topics.requests,
            "decisions": kafka.topics.decisions, "partitions": PARTITIONS,
            "router": to_plain(settings)["router"], "providers": to_plain(settings)["providers"],
        }  # fmt: skip
        module = {BY_LOOP: "loop", BY_QUIX: "quix_app", BY_BARE: "bare"}[by]
        path = self.folder / f"{kafka.group}.json"
        path.write_text(json.dumps(spec))
        own = python if by == BY_QUIX and python else sys.executable
        return Child(f"benchmarks.stream.peers.{module}", [str(path)], own)


class Committed:
    """Offsets that a group has committed."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._places = [TopicPartition(kafka.topics.requests, p) for p in range(PARTITIONS)]
        # A reader of committed offsets alone would wait while a transaction is open.
        self._client = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap, "group.id": kafka.group, "log_level": 0,
                "isolation.level": "read_uncommitted",
            }
        )  # fmt: skip

    def records(self) -> tuple[float, int]:
        """Return the time of asking, monotonic seconds, and the sum of the offsets."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            now = time.monotonic()
            try:
                offsets = self._client.committed(self._places, ANSWER_S)
                break
            except KafkaException:  # the first group of a broker has no coordinator yet
                if now > deadline:
                    raise
                time.sleep(RETRY_S)
        return now, sum(max(0, place.offset) for place in offsets)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
