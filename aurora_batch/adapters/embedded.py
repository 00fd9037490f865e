"""A broker in this process, for the demo and for tests: librdkafka's mock cluster.

It speaks Kafka's protocol on a loopback port, so aiokafka works with it as with a real broker:
`assign`, fetch, idempotent produce, a group as the place of offsets. What it does not do:

* transactions: it accepts the calls, hides nothing from read_committed readers and throws offsets
  of transactions away; so `kafka.transactional: off` belongs with it;
* admin calls: a topic comes into being, with 4 partitions, when a client first asks for it;
* retention: it keeps 5 MiB and 100,000 record batches a partition, in memory, and drops the oldest
  without regard to readers; whoever produces more must wait for the readers;
* waking: a fetch that finds nothing is answered at the end of its wait, not when a record comes; so
  a small `kafka.fetch_max_wait_ms` belongs with it;
* compaction, authentication, quotas, persistence, offsets by time.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException, Producer

from aurora_batch.errors import BrokerError

_START_S = 10.0


class EmbeddedBroker:
    """A context manager; `bootstrap` is the address of the running broker.

    Parameters
    ----------
    topics
        Created at once, since only asking for a topic creates it.
    """

    def __init__(self, topics: Iterable[str] = ()) -> None:
        self._topics = tuple(topics)
        self._client: Any = None
        self.bootstrap = ""

    def __enter__(self) -> "EmbeddedBroker":
        # The mock cluster lives as long as the client that it was configured with.
        self._client = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        try:
            brokers = self._client.list_topics(timeout=_START_S).brokers.values()
            for topic in self._topics:
                self._client.list_topics(topic=topic, timeout=_START_S)
        except KafkaException as error:
            self._client = None
            raise BrokerError(f"the embedded broker does not start: {error}") from error
        self.bootstrap = ",".join(f"{b.host}:{b.port}" for b in brokers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client = None
