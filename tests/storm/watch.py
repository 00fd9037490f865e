"""A worker process looked at from outside: `/proc`, `/metrics`, `/health`, and the broker."""

import json
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from aurora_batch.settings import KafkaSettings
from tests.streaming import StreamProcess

SCRAPE_S = 5.0


@dataclass(frozen=True)
class Process:
    """What the system says of a process."""

    rss_mib: float
    peak_mib: float  # largest `rss_mib` so far
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the figures of now."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        rss, peak = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return cls(rss, peak, descriptors, int(status["Threads"]))


@dataclass(frozen=True)
class Page:
    """What a worker says of itself at `/metrics`."""

    consumed: int
    decided: int
    dead: int
    in_flight: int
    lag: int  # offsets, over all partitions
    tasks: int
    loop_lag_s: float
    in_flight_mib: float

    @classmethod
    def of(cls, port: int) -> "Page":
        """Scrape it."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(fetched(port, "/metrics")):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return cls(
            int(sums["aurora_requests_consumed_total"]),
            int(sums["aurora_requests_decided_total"]),
            int(sums["aurora_requests_dead_lettered_total"]),
            int(sums["aurora_requests_in_flight"]),
            int(sums.get("aurora_consumer_lag", 0)),
            int(sums["aurora_event_loop_tasks"]),
            sums["aurora_event_loop_lag_seconds"],
            sums["aurora_bytes_in_flight"] / 2**20,
        )


@dataclass(frozen=True)
class Health:
    """One look at `/health`."""

    live: bool
    seconds: float  # until it answered

    @classmethod
    def of(cls, port: int) -> "Health":
        """Ask."""
        began = time.monotonic()
        said = json.loads(fetched(port, "/health"))
        return cls(bool(said["live"]), time.monotonic() - began)


def fetched(port: int, path: str) -> str:
    """Return the body of a page of the metrics port; an `OSError` where it says not well."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SCRAPE_S) as answer:
        body: bytes = answer.read()
        return body.decode()


async def port_of(process: StreamProcess) -> int:
    """Return the port that the process says it serves metrics at."""
    line = await process.line_with("metrics at")
    return int(json.loads(line)["message"].removesuffix("/metrics").rpartition(":")[2])


class Offsets:
    """What the broker says: end offsets of the requests, and what the group has committed."""

    def __init__(self, kafka: KafkaSettings, partitions: int) -> None:
        self._places = [TopicPartition(kafka.topics.requests, p) for p in range(partitions)]
        self._consumer = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": kafka.group, "log_level": 0}
        )

    def committed(self) -> int:
        """Sum of the committed offsets."""
        return sum(max(0, p.offset) for p in self._consumer.committed(self._places, SCRAPE_S))

    def ends(self) -> int:
        """Sum of the end offsets."""
        marks = [self._consumer.get_watermark_offsets(p, SCRAPE_S) for p in self._places]
        return sum(high for _, high in marks)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()
