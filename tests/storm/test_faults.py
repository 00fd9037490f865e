"""Nodes die under a worker that runs on."""

import asyncio
from pathlib import Path

import pytest

from tests.broker import Broker, Brokers
from tests.storm.faults import broker_storm, failover
from tests.storm.load import scarce

# Brokers of their own: the session's is not to die under other tests.
pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("kafka_tools"),
]


def test_it_survives_its_only_node_again_and_again(tmp_path: Path) -> None:
    """Three SIGKILLs of the only node: one worker process decides on, each request once."""
    with Broker(tmp_path / "broker") as broker:
        load = scarce(broker.bootstrap, "dying", 12_000, seed=5, batch=100, transactional="auto")

        faults = asyncio.run(broker_storm(broker, load, tmp_path / "worker", 3, seed=5))

    assert len(faults.outages) == 3
    assert faults.found().lines() == []


def test_three_nodes_lose_one_in_mid_transaction(tmp_path: Path) -> None:
    """Coordinator or leader gone: the worker goes on by itself, and can be stopped meanwhile."""
    with Brokers(tmp_path / "brokers", 3) as brokers:
        load = scarce(brokers.bootstrap, "three", 6_000, seed=6, batch=100, transactional="auto")

        faults = asyncio.run(failover(brokers, load, tmp_path / "worker"))

    assert [outage.what for outage in faults.outages] == [
        "transaction coordinator",
        "leader of a partition",
    ]
    assert faults.found().lines() == []
