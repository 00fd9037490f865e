"""Where the broker is, how to sign in, and the deadlines that everything has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.helpers import create_ssl_context

from aurora_batch.adapters.kafka.errors import Doubtful, translated
from aurora_batch.configuration import kafka_credentials
from aurora_batch.errors import BrokerError
from aurora_batch.settings import KafkaSettings


@dataclass(frozen=True)
class Cluster:
    """A Kafka cluster as settings and environment describe it."""

    settings: KafkaSettings
    options: dict[str, Any] = field(repr=False)  # of every aiokafka client; may hold a password

    @classmethod
    def of(cls, settings: KafkaSettings, environ: Mapping[str, str]) -> "Cluster":
        """Return the cluster; raises `UsageError` where a password is missing."""
        options: dict[str, Any] = {
            "bootstrap_servers": settings.bootstrap,
            "request_timeout_ms": settings.request_timeout_ms,
            "security_protocol": settings.security_protocol,
        }
        if settings.security_protocol.endswith("SSL"):
            options["ssl_context"] = _ssl_context(settings.ssl_cafile)
        credentials = kafka_credentials(settings, environ)
        if credentials is not None:
            options["sasl_mechanism"] = settings.sasl_mechanism
            options["sasl_plain_username"] = credentials.username
            options["sasl_plain_password"] = credentials.password
        return cls(settings, options)

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT`, or several."""
        return self.settings.bootstrap

    @property
    def timeout_s(self) -> float:
        """Seconds that a request with its retries may take."""
        return 2 * self.settings.request_timeout_ms / 1000

    @property
    def transaction_s(self) -> float:
        """Seconds for a whole transaction: sooner than the broker would end it by itself."""
        return 2 / 3 * self.settings.transaction_timeout_ms / 1000

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions each topic has.

        Raises `BrokerError` where no broker answers or a topic does not exist. All clients are
        started after this one, so that theirs is never the first connection to fail.
        """
        client = AIOKafkaClient(**self.options)
        try:
            async with translated("asking for topics", self.bootstrap, self.timeout_s):
                await self._connect(client)
                metadata = await client.fetch_all_metadata()
                known = {t: metadata.partitions_for_topic(t) for t in topics}
        finally:
            await client.close()
        for topic, partitions in known.items():
            if not partitions:
                raise BrokerError(
                    f"topic {topic} does not exist at {self.bootstrap}; "
                    f"create it with: aurora topics create --kafka {self.bootstrap}"
                )
        return {topic: len(partitions) for topic, partitions in known.items()}

    async def _connect(self, client: AIOKafkaClient) -> None:
        try:
            await client.bootstrap()
        except kafka_errors.KafkaConnectionError as error:
            raise Doubtful(
                f"no broker answers at {self.bootstrap}; start one or pass --kafka HOST:PORT"
            ) from error


def _ssl_context(cafile: str | None) -> Any:
    try:
        return create_ssl_context(cafile=cafile)
    except OSError as error:
        raise BrokerError(f"kafka.ssl_cafile {cafile}: {error.strerror or error}") from error
