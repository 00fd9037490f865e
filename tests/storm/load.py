"""Requests of a storm: seeded, scarce in every window, known one by one.

A request id is `PARTITION-NUMBER`, numbered from 0 within its partition of the topic of requests,
so that a decision by itself says where its request stood in the log.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Producer
from msgspec.structs import replace
from numpy.typing import NDArray

from aurora_batch import schema, workload
from aurora_batch.adapters.kafka import create_topics
from aurora_batch.adapters.kafka.topics import COMPACTED
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.schema import Message
from aurora_batch.settings import Settings, TenantSettings
from tests.streaming import cluster_of, settings_for

PARTITIONS = 6
# Half of the demand is of tenants with budgets: these and the pools are both asked for more than
# they have.
BUDGETED = 0.5


@dataclass(frozen=True)
class Load:
    """What a storm sends, and what its checker has to know of it."""

    settings: Settings
    requests: pa.Table  # canonical, in the order in which they are sent
    partition: NDArray[np.int64]  # (n,) of each request
    tenants: tuple[tuple[str, ...], ...]  # by partition, of each of its requests
    windows: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Requests of each partition."""
        return tuple(map(len, self.tenants))

    def messages(self, low: int, high: int) -> Iterator[Message]:
        """Yield the requests low <= i < high as messages."""
        keys = keys_of_partitions(PARTITIONS)
        values = schema.encode_requests_json(self.requests.slice(low, high - low))
        for value, partition in zip(values, self.partition[low:high].tolist(), strict=True):
            yield Message(value, keys[partition])


def scarce(
    bootstrap: str, prefix: str, count: int, *, seed: int, windows: int = 8, load: float = 2.0,
    batch: int = 200, **kafka: object,
) -> Load:  # fmt: skip
    """Return `count` requests that ask for `load` times what each of `windows` windows has."""
    settings = settings_for(bootstrap, prefix=prefix, batch=batch, **kafka)
    budgets = {"acme": 600.0, "birch": 400.0}
    settings = replace(
        settings,
        tenants={t: TenantSettings(budget_usd_per_step=usd) for t, usd in budgets.items()},
    )
    requests = workload.stress(
        fleet_from_settings(settings.providers), count, seed=seed, load=load,
        per_window=count // windows, window_s=settings.router.window_s,
        known_tenants=tuple(budgets), recipe=workload.Recipe(known_tenants=BUDGETED),
    )  # fmt: skip
    partition = np.random.default_rng(seed).integers(PARTITIONS, size=count)
    number = np.zeros(count, np.int64)
    for p in range(PARTITIONS):
        own = partition == p
        number[own] = np.arange(own.sum())
    ids = [f"{p}-{i}" for p, i in zip(partition.tolist(), number.tolist(), strict=True)]
    at = requests.schema.get_field_index("request_id")
    field = requests.schema.field(at)
    requests = requests.set_column(at, field, pa.array(ids, field.type))
    names = np.array(requests["tenant_id"].to_pylist(), object)
    tenants = tuple(tuple(names[partition == p]) for p in range(PARTITIONS))
    return Load(settings, requests, partition, tenants, windows)


def keys_of_partitions(count: int) -> list[bytes]:
    """Return for each of `count` partitions the first key `k0`, `k1`, ... that is placed there."""
    place, every = DefaultPartitioner(), list(range(count))
    keys: dict[int, bytes] = {}
    number = 0
    while len(keys) < count:
        key = f"k{number}".encode()
        keys.setdefault(place(key, every, every), key)
        number += 1
    return [keys[p] for p in every]


async def prepare(load: Load, replication: int = 1) -> None:
    """Create the topics."""
    topics = load.settings.kafka.topics
    wanted: dict[str, dict[str, str]] = {getattr(topics, f): {} for f in topics.__struct_fields__}
    wanted[topics.ledger] = COMPACTED
    await create_topics(cluster_of(load.settings), wanted, PARTITIONS, replication)


@asynccontextmanager
async def feeder(load: Load) -> AsyncIterator[Callable[[int, int], Awaitable[None]]]:
    """Yield what sends the requests low <= i < high and waits until the broker has them.

    Each once and in order, however long a broker is away: by librdkafka, with idempotence.
    """
    kafka = load.settings.kafka
    options = {"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0}
    producer = Producer({**options, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    failures: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failures.append(str(error))

    def deliver(low: int, high: int) -> None:
        messages = zip(load.messages(low, high), load.partition[low:high].tolist(), strict=True)
        for message, partition in messages:
            producer.produce(
                kafka.topics.requests, message.value, message.key, partition, on_delivery=delivered
            )
            producer.poll(0)
        producer.flush()
        assert not failures, failures[0]

    async def send(low: int, high: int) -> None:
        await asyncio.to_thread(deliver, low, high)

    yield send
