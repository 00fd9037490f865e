"""A stream in a test: settings for a broker, requests in, decisions out, a worker process."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aurora_batch.adapters.kafka import Cluster, Reader, Sink, create_topics
from aurora_batch.adapters.kafka.topics import COMPACTED
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.schema import Message, Record
from aurora_batch.settings import BatchSettings, KafkaSettings, RouterSettings, Settings, Topics
from aurora_batch.settings_types import to_plain
from pipelines import agreement
from pipelines.fleets import Fleets
from pipelines.shards import WHOLE, Shard
from pipelines.tail import decisions_in
from pipelines.worker import Observer, Worker
from tests.broker import EXTERNAL, Broker

T = TypeVar("T")
DEADLINE_S = 60.0
CLI = ("pipelines.cli",)
NOON = "2026-01-01T12:00:00Z"
# Somebody's broker keeps what earlier runs have left there.
RUN = f".{uuid.uuid4().hex[:8]}" if os.environ.get(EXTERNAL) else ""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run within the deadline of a test."""
    return asyncio.run(asyncio.wait_for(coroutine, DEADLINE_S))


def settings_for(
    bootstrap: str, *, prefix: str = "aurora", batch: int = 200, **kafka: Any
) -> Settings:
    """Return settings for a broker; batches are small, topics begin with `prefix`."""
    names = {
        "requests": "requests",
        "decisions": "decisions",
        "dead_letters": "requests.dlq",
        "outcomes": "outcomes",
        "ledger": "ledger",
    }
    topics = Topics(**{field: f"{prefix}{RUN}.{name}" for field, name in names.items()})
    kafka = {"transactional": "off", "request_timeout_ms": 5000, "fetch_max_wait_ms": 10, **kafka}
    return Settings(
        router=RouterSettings(batch=BatchSettings(max_requests=batch)),
        kafka=KafkaSettings(bootstrap=bootstrap, topics=topics, **kafka),
        tenants={},
    )


def cluster_of(settings: Settings) -> Cluster:
    """Return the cluster of settings, without credentials."""
    return Cluster.of(settings.kafka, {})


def worker_for(
    settings: Settings, *, shard: Shard = WHOLE, observers: Sequence[Observer] = ()
) -> Worker:
    """Return a worker with the fleet of the settings."""
    fleets = Fleets(fleet_from_settings(shard.share(settings).providers))
    return Worker(cluster_of(settings), settings, fleets, shard=shard, observers=observers)


def request(number: int, **said: Any) -> Message:
    """Return an ordinary request as a message, keyed by GPU type."""
    gpu = said.get("gpu_type", ("a100", "h100", "4090")[number % 3])
    body = {
        "request_id": f"r{number}",
        "workload_type": "general",
        "gpu_type": gpu,
        "gpu_hours": 0.01,
        "requested_at": NOON,
        **said,
    }
    return Message(json.dumps(body).encode(), gpu.encode())


async def send(settings: Settings, messages: Iterable[Message]) -> None:
    """Send messages to the topic of requests, and wait until the broker has them."""
    cluster, topic = cluster_of(settings), settings.kafka.topics.requests
    sink = Sink(cluster, await cluster.partitions([topic]))
    await sink.open()
    await sink.send(sink.stage({topic: messages}))
    await sink.close()


async def records_of(settings: Settings, topic: str) -> list[Record]:
    """Return all committed records of a topic.

    A commit is answered before the broker has marked it everywhere; that is waited for.
    """
    async with Reader(cluster_of(settings), topic, from_start=True) as reader:
        return [r async for part in reader.parts(settled=True) for r in part]


async def ledger_of(settings: Settings) -> list[Record]:
    """Return all committed snapshots of shards, without what workers agreed on beside them."""
    records = await records_of(settings, settings.kafka.topics.ledger)
    return [r for r in records if r.key != agreement.key_of(settings.kafka)]


async def decisions_of(settings: Settings) -> list[dict[str, Any]]:
    """Return all committed decisions."""
    return decisions_in(await records_of(settings, settings.kafka.topics.decisions))


async def drained(settings: Settings, **options: Any) -> Worker:
    """Run a worker to the end of what is there."""
    worker = worker_for(settings, **options)
    await worker.run(asyncio.Event(), until_end=True)
    return worker


async def until(condition: Any, every_s: float = 0.05) -> None:
    """Wait until an async condition holds; the test's deadline bounds it."""
    # What is waited for happens in another process or on the broker, which sets no event here.
    while not await condition():  # noqa: ASYNC110
        await asyncio.sleep(every_s)


def write_settings(settings: Settings, folder: Path) -> None:
    """Write settings as a folder for `--config`."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = to_plain(settings)
    for name, sections in (
        ("router", ("router", "replay", "kafka")),
        ("providers", ("providers",)),
        ("workloads", ("tenants", "workloads")),
    ):
        chosen = {section: plain[section] for section in sections}
        (folder / f"{name}.json").write_text(json.dumps(chosen))


def plain_environ() -> dict[str, str]:
    """Return the environment without settings of Aurora."""
    return {k: v for k, v in os.environ.items() if not k.startswith("AURORA_")}


async def prepared(broker: Broker, prefix: str, **options: Any) -> Settings:
    """Settings whose topics, of a test's own, exist."""
    settings = settings_for(broker.bootstrap, prefix=prefix, **{"transactional": "auto", **options})
    topics = settings.kafka.topics
    wanted = {getattr(topics, f): {} for f in topics.__struct_fields__}
    await create_topics(cluster_of(settings), {**wanted, topics.ledger: COMPACTED}, 4, 1)
    return settings


class StreamProcess:
    """`aurora stream` as a process, with the given settings; `module` is what runs it."""

    def __init__(
        self, settings: Settings, folder: Path, *arguments: str, module: Sequence[str] = CLI
    ) -> None:
        write_settings(settings, folder)
        self.providers = folder / "providers.json"
        command = [sys.executable, "-m", *module, "stream", "--config", str(folder)]
        self._process = subprocess.Popen(
            [*command, *arguments],
            cwd=Path(__file__).parents[1],
            env=plain_environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = ""
        self._rest: asyncio.Task[tuple[bytes, bytes]] | None = None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    async def line_with(self, text: str) -> str:
        """Return the first line from here that contains a text."""
        assert self._process.stdout is not None
        while line := await asyncio.to_thread(self._process.stdout.readline):
            self.output += line.decode()
            if text in line.decode():
                return line.decode()
        raise AssertionError(f"ended without saying {text!r}:\n{self.output}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Return the exit code, once it has ended; `output` is complete then."""
        if self._rest is None:
            self._rest = asyncio.create_task(asyncio.to_thread(self._process.communicate))
            rest, _ = await asyncio.shield(self._rest)
            self.output += rest.decode()
        await asyncio.shield(self._rest)
        return self._process.returncode

    async def kill(self) -> None:
        """End it as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        await self.ended()


@contextlib.asynccontextmanager
async def stream_process(
    settings: Settings, folder: Path, *arguments: str, module: Sequence[str] = CLI
) -> AsyncIterator[StreamProcess]:
    """Run `aurora stream`; whatever happens, it has ended afterwards."""
    process = StreamProcess(settings, folder, *arguments, module=module)
    try:
        yield process
    finally:
        if process.running:
            await process.kill()
