"""Brokers for tests: one in the process for each test, one real one for the session."""

import os
from collections.abc import Iterator

import pytest

from aurora_batch.adapters.embedded import EmbeddedBroker
from aurora_batch.settings import Topics
from tests.broker import EXTERNAL, Broker, Elsewhere, missing_tools


@pytest.fixture
def embedded() -> Iterator[str]:
    """Address of an embedded broker of this test's own, with the usual topics."""
    topics = Topics()
    with EmbeddedBroker(getattr(topics, f) for f in topics.__struct_fields__) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def kafka_tools() -> None:
    """What a broker of our own needs; without it the test is skipped, in CI it fails."""
    if missing := missing_tools():
        reason = (
            f"NO REAL BROKER: {' and '.join(missing)} not found (needs a JDK >= 17 and Maven; "
            f"{EXTERNAL}=HOST:PORT runs what kills no broker at one of yours)"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def own_broker(kafka_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Kafka broker that a test may stop for a while, but has to leave running."""
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker(request: pytest.FixtureRequest) -> Broker:
    """A real Kafka broker, possibly somebody's (`AURORA_KAFKA`): nobody may stop or kill it."""
    if bootstrap := os.environ.get(EXTERNAL):
        return Elsewhere(bootstrap)
    own: Broker = request.getfixturevalue("own_broker")
    return own
