"""Kafka: the only package that knows aiokafka's (untyped) names and its errors.

    Source      a fixed shard of a topic's partitions; the group is a place for offsets, no more
    Sink        record batches out; a micro-batch with its offsets in one transaction, or one by one
    Reader      a whole topic, without a group: `aurora tail`, the demo, the ledger at a takeover
    Cluster     where the broker is and how to sign in; which topics there are
    inside      whole record batches as columns, fetched and sent, without an object for a record
    create_topics
    inspect_cluster   what `aurora doctor` looks at
    warm_up     compiles what reads and writes record batches

What leaves here as an exception is a `BrokerError` of one line that says what to do. Two kinds of
it mean more to the worker: `Doubtful` (nobody knows how it ended: rewind and begin again) and
`Fenced` (another worker has this shard: stop).
"""

from aurora_batch.adapters.kafka.cluster import Cluster
from aurora_batch.adapters.kafka.errors import Doubtful, Fenced
from aurora_batch.adapters.kafka.inside import warm_up
from aurora_batch.adapters.kafka.inspection import inspect_cluster
from aurora_batch.adapters.kafka.reader import Reader
from aurora_batch.adapters.kafka.sink import Sink, Staged, partition_of_key
from aurora_batch.adapters.kafka.source import Source
from aurora_batch.adapters.kafka.topics import Created, create_topics

__all__ = [
    "Cluster",
    "Created",
    "Doubtful",
    "Fenced",
    "Reader",
    "Sink",
    "Source",
    "Staged",
    "create_topics",
    "inspect_cluster",
    "partition_of_key",
    "warm_up",
]
