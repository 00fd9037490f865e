"""A look at a cluster that leaves no trace: nothing is created, sent or committed."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from aurora_batch.adapters.kafka import protocol
from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import Doubtful, translated
from aurora_batch.adapters.kafka.reader import Reader
from aurora_batch.adapters.kafka.stopping import stopped
from aurora_batch.cluster_view import (
    Api,
    ClusterView,
    OpenTransaction,
    Place,
    TopicView,
    Transaction,
)
from aurora_batch.errors import BrokerError

OPEN_STATES = ("Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence")
T = TypeVar("T")
LAST = 20  # offsets of each partition in which the newest timestamp is looked for


async def inspect_cluster(cluster: Cluster, identities: Sequence[str]) -> ClusterView:
    """Return what can be seen of a cluster.

    Raises `BrokerError` where no broker answers.

    Parameters
    ----------
    identities
        Of the shards whose ledgers are looked for.
    """
    await cluster.partitions([])  # says so where no broker answers
    client = AIOKafkaClient(**cluster.options)
    try:
        async with translated("looking at the cluster", cluster.bootstrap, cluster.timeout_s):
            await client.bootstrap()
        return await _Look(cluster, client).taken(identities)
    finally:
        await client.close()


class _Look:
    """One look; what cannot be seen is noted in `unseen`."""

    def __init__(self, cluster: Cluster, client: Any) -> None:
        self._cluster = cluster
        self._client = client
        self._names = cluster.settings.topics
        self._unseen: list[str] = []
        self._leaders: dict[tuple[str, int], int] = {}

    async def taken(self, identities: Sequence[str]) -> ClusterView:
        """Return the view."""
        versions = await self._ask("versions", protocol.ApiVersions())
        topics = await self._topics()
        before = await self._open(topics)
        transactions, producers = await self._transactions()
        # Open before and after the coordinators were asked: they must have known of it.
        after = await self._open(topics) if before else before
        held_back = None
        if before is not None and after is not None and producers is not None:
            lasting = sorted(before & after)
            held_back = tuple(OpenTransaction(*o[:3], o[2] in producers) for o in lasting)
        places = await self._seen("offsets of the group", self._places(topics), {})
        nothing: frozenset[str] = frozenset()
        ledgers = await self._seen("ledger", self._ledgers(topics, identities), nothing)
        newest_us = await self._seen("times of requests", self._newest(topics, places), None)
        return ClusterView(
            brokers=len(self._client.cluster.brokers()),
            features=protocol.features_of(versions),
            apis=tuple(_apis(versions)),
            topics=topics,
            broker_config=await self._broker_config(),
            places=places,
            transactions=transactions,
            held_back=held_back,
            ledgers=ledgers,
            newest_us=newest_us,
            unseen=tuple(self._unseen),
        )

    async def _ask(self, what: str, request: Any, node: int | None = None) -> Any:
        """Return a broker's answer; None, noted, where it has none."""
        node = self._client.get_random_node() if node is None else node
        try:
            async with translated(f"asking for {what}", self._cluster.bootstrap, self._seconds):
                return await self._client.send(node, request)
        except (BrokerError, NotImplementedError) as error:
            self._note(what, error)
            return None

    async def _seen(self, what: str, looking: Awaitable[T], otherwise: T) -> T:
        """Return what a look found; `otherwise`, noted, where it is not allowed."""
        try:
            return await looking
        except BrokerError as error:
            self._note(what, error)
            return otherwise

    def _note(self, what: str, error: Exception) -> None:
        """Note why something cannot be seen; raise it where the broker went away meanwhile."""
        if isinstance(error, NotImplementedError):
            why = "the broker speaks other versions of the request"
        elif isinstance(error.__cause__, kafka_errors.IncompatibleBrokerVersion):
            why = "the broker has no such request"
        elif isinstance(error, Doubtful):
            raise error
        else:
            why = str(error)
        self._unseen.append(f"{what}: {why}")

    def _refused(self, what: str, code: int, message: str | None = None) -> bool:
        """Return whether an answer is an error, which is noted."""
        if code:
            self._unseen.append(f"{what}: {message or kafka_errors.for_code(code).__name__}")
        return bool(code)

    @property
    def _seconds(self) -> float:
        return self._cluster.timeout_s

    async def _topics(self) -> dict[str, TopicView]:
        """Return those of our topics that exist. Asks for all: naming one could create it."""
        answer = await self._ask("topics", MetadataRequest(None, allow_auto_topic_creation=False))
        if answer is None:
            raise BrokerError(f"{self._cluster.bootstrap} does not say which topics there are")
        wanted = {getattr(self._names, field) for field in self._names.__struct_fields__}
        found = {t[1]: t[3] for t in answer.topics if t[0] == 0 and t[1] in wanted}
        for topic, partitions in found.items():
            self._leaders.update({(topic, p[1]): p[2] for p in partitions if p[2] >= 0})
        said = {name: (ConfigResourceType.TOPIC, name) for name in found}
        configs = await self._configs("configuration of topics", said)
        return {
            name: TopicView(
                name,
                len(partitions),
                min((len(p[3]) for p in partitions), default=0),
                min((len(p[4]) for p in partitions), default=0),
                tuple(sorted(p[1] for p in partitions if p[2] < 0)),
                configs.get(name),
            )
            for name, partitions in found.items()
        }

    async def _broker_config(self) -> Mapping[str, str] | None:
        node = str(self._client.get_random_node())
        configs = await self._configs(
            "configuration of the broker", {node: (ConfigResourceType.BROKER, node)}
        )
        return configs.get(node)

    async def _configs(
        self, what: str, wanted: Mapping[str, tuple[Any, str]]
    ) -> dict[str, dict[str, str]]:
        """Return configurations by name; never values that are sensitive."""
        if not wanted:
            return {}
        admin = AIOKafkaAdminClient(**self._cluster.options)
        try:
            async with translated(f"asking for {what}", self._cluster.bootstrap, self._seconds):
                await admin.start()
                resources = [ConfigResource(kind, name) for kind, name in wanted.values()]
                answers = await admin.describe_configs(resources)
        except (BrokerError, NotImplementedError) as error:
            self._note(what, error)
            return {}
        finally:
            await admin.close()
        found: dict[str, dict[str, str]] = {}
        for code, message, _, name, entries in (r for a in answers for r in a.resources):
            if not self._refused(what, code, message):
                found[name] = {e[0]: e[1] for e in entries if e[1] is not None}
        return found

    async def _transactions(self) -> tuple[tuple[Transaction, ...] | None, set[int] | None]:
        """Return our transactional ids, and all producers that have a transaction open."""
        ours: list[Transaction] = []
        producers: set[int] = set()
        for broker in self._client.cluster.brokers():
            answer = await self._ask("transactions", protocol.ListTransactions(), broker.nodeId)
            if answer is None or self._refused("transactions", answer.error_code):
                return None, None
            producers |= {p for _, p, state, _ in answer.states if state in OPEN_STATES}
            mine = [name for name, *_ in answer.states if self._is_ours(name)]
            ours += await self._described(mine, broker.nodeId) if mine else []
        return tuple(sorted(ours, key=lambda t: t.name)), producers

    def _is_ours(self, name: str) -> bool:
        settings = self._cluster.settings
        shards = f"aurora-{settings.group}-{settings.topics.requests}-"
        return name.startswith(shards) or name == f"aurora-redrive-{settings.topics.dead_letters}"

    async def _described(self, names: list[str], node: int) -> list[Transaction]:
        answer = await self._ask(
            "states of transactions", protocol.DescribeTransactions(names), node
        )
        if answer is None:
            return []
        return [
            Transaction(name, state, timeout, began if state in OPEN_STATES else None)
            for error, name, state, timeout, began, *_ in answer.states
            if not error
        ]

    async def _places(self, topics: Mapping[str, TopicView]) -> dict[int, Place]:
        """Return where the group is in each partition of the requests."""
        topic = topics.get(self._names.requests)
        if topic is None or topic.leaderless:
            return {}
        tps = [TopicPartition(topic.name, p) for p in range(topic.partitions)]
        consumer = AIOKafkaConsumer(
            group_id=self._cluster.settings.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
            **self._cluster.options,
        )
        try:
            async with translated("asking for offsets", self._cluster.bootstrap, self._seconds):
                await consumer.start()
                consumer.assign(tps)
                first = await consumer.beginning_offsets(tps)
                stable = await consumer.end_offsets(tps)
                return {
                    tp.partition: Place(first[tp], stable[tp], await consumer.committed(tp))
                    for tp in tps
                }
        finally:
            await stopped(consumer, self._seconds)

    async def _open(self, topics: Mapping[str, TopicView]) -> set[tuple[str, int, int, int]] | None:
        """Return topic, partition, producer and first offset of what is open on our topics."""
        found = set()
        for (topic, partition), node in self._leaders.items():
            if topic not in topics:
                continue
            request = protocol.DescribeProducers(topic, partition)
            answer = await self._ask("producers of partitions", request, node)
            if answer is None:
                return None
            _, code, _, writers, _ = answer.topics[0][1][0]
            if self._refused(f"producers of {topic}/{partition}", code):
                return None
            found |= {(topic, partition, w[0], w[5]) for w in writers if w[5] >= 0}
        return found

    async def _ledgers(
        self, topics: Mapping[str, TopicView], identities: Sequence[str]
    ) -> frozenset[str]:
        """Return those identities that have a snapshot."""
        topic = topics.get(self._names.ledger)
        if topic is None or topic.leaderless:
            return frozenset()
        every, place_of = list(range(topic.partitions)), DefaultPartitioner()
        found = set()
        async with Reader(self._cluster, topic.name, from_start=True) as reader:
            for identity in identities:
                key = identity.encode()
                place = place_of(key, every, every)
                if await reader.last_value(key, place, patient=False) is not None:
                    found.add(identity)
        return frozenset(found)

    async def _newest(
        self, topics: Mapping[str, TopicView], places: Mapping[int, Place]
    ) -> int | None:
        """Return the latest timestamp among the last requests, None where there are none."""
        if not places:
            return None
        low = {p: max(place.first, place.stable - LAST) for p, place in places.items()}
        high = {p: place.stable for p, place in places.items()}
        name = topics[self._names.requests].name
        async with Reader(self._cluster, name, from_start=False) as reader:
            records = await reader.between(low, high)
        return max((r.timestamp_us for r in records if r.timestamp_us >= 0), default=None)


def _apis(versions: Any) -> Iterable[Api]:
    theirs = (
        {}
        if versions is None
        else {key: (low, high) for key, low, high, *_ in versions.api_versions}
    )
    ours = protocol.spoken()
    return (Api(name, ours[key], theirs.get(key)) for name, key in protocol.USED.items())
