"""Brokers for tests: one in the process for each test, one real one for the session."""

import os
from collections.abc import Iterator

import pytest

from aurora_batch.adapters.embedded import EmbeddedBroker
from aurora_batch.settings import Topics
from tests.broker import Broker, missing_tools


@pytest.fixture
def embedded() -> Iterator[str]:
    """Address of an embedded broker of this test's own, with the usual topics."""
    topics = Topics()
    with EmbeddedBroker(getattr(topics, f) for f in topics.__struct_fields__) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Kafka broker; without Java and Maven the test is skipped, in CI it fails."""
    if missing := missing_tools():
        reason = f"NO REAL BROKER: {' and '.join(missing)} not found (needs a JDK >= 17 and Maven)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
