"""The topics, created as they should be."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import Doubtful, translated
from aurora_batch.errors import BrokerError

_LOOK_S = 0.05
# A takeover reads the ledger backwards from its end; small segments, cleaned early, keep it short.
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 2**20),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
}


@dataclass(frozen=True)
class Created:
    """What became of a topic."""

    topic: str
    existed: bool


async def create_topics(
    cluster: Cluster, topics: Mapping[str, Mapping[str, str]], partitions: int, replication: int
) -> list[Created]:
    """Create topics, given with their configuration; those that exist stay as they are.

    When it returns, the broker names them to whoever asks. Raises `BrokerError` where the
    broker is away or refuses.
    """
    await cluster.partitions([])  # says so where no broker answers
    admin = AIOKafkaAdminClient(**cluster.options)
    wanted = [
        NewTopic(name, partitions, replication, topic_configs=dict(config))
        for name, config in topics.items()
    ]
    try:
        async with translated("creating topics", cluster.bootstrap, cluster.timeout_s):
            await admin.start()
            response = await admin.create_topics(wanted)
    finally:
        await admin.close()
    created = [_created(cluster, *said) for said in response.topic_errors]
    await _known(cluster, [topic.topic for topic in created])
    return created


async def _known(cluster: Cluster, topics: Iterable[str]) -> None:
    """Wait until topics are known: the controller has them a moment before the brokers do."""
    async with translated("creating topics", cluster.bootstrap, cluster.timeout_s):
        while True:
            try:
                await cluster.partitions(topics)
                return
            except Doubtful:
                raise
            except BrokerError:
                await asyncio.sleep(_LOOK_S)


def _created(cluster: Cluster, topic: str, code: int, message: str | None = None) -> Created:
    error = kafka_errors.for_code(code)
    if error is kafka_errors.NoError:
        return Created(topic, existed=False)
    if error is kafka_errors.TopicAlreadyExistsError:
        return Created(topic, existed=True)
    why = message or error.__name__
    raise BrokerError(f"topic {topic} cannot be created at {cluster.bootstrap}: {why}")
