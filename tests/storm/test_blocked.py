"""Backpressure at a real broker that stands still."""

import asyncio
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.storm.blocked import blocked
from tests.storm.load import scarce

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def test_a_broker_that_stands_still_costs_no_memory_and_no_request(
    own_broker: Broker, tmp_path: Path
) -> None:
    """With 40 MB to read and nothing to be sent: bounded memory, healthy, then all is decided."""
    load = scarce(
        own_broker.bootstrap, "blocked", 100_000, seed=7, batch=2_000, transactional="auto",
        max_in_flight_bytes=16 * 2**20,
    )  # fmt: skip

    seen = asyncio.run(blocked(own_broker, load, tmp_path, 15.0))

    assert seen.found.lines() == []
    assert seen.grown_mib <= 64
    assert seen.in_flight_mib <= seen.most_mib
    assert (seen.unwell, seen.asked > 20) == (0, True)
