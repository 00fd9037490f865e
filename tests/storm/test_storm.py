"""The storm, small enough for every day; `make storm` is the whole one."""

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from tests.broker import Broker
from tests.storm.load import scarce
from tests.storm.run import storm, weaknesses
from tests.storm.storm import Life, Storm

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def test_a_storm_loses_doubles_and_overspends_nothing(kafka_broker: Broker, tmp_path: Path) -> None:
    """Three workers, killed at every point and at random: each decision is right, all along.

    And it is, byte for byte, what a replay of the same batches decides that nobody killed.
    """
    load, result = storm(
        kafka_broker.bootstrap, tmp_path, requests=30_000, kills=4, seed=2, say=Console(quiet=True)
    )

    assert result.found.lines() == []
    assert result.decided == result.audited == load.requests.num_rows
    # How long readers waited is for `make storm`: a test has no say in what else the machine does.
    assert weaknesses(result, unblocked_s=float("inf")) == []


def test_without_transactions_the_checker_catches_doubles(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    """The control: the same storm over offsets that are committed apart is found out."""
    load = scarce(kafka_broker.bootstrap, "naive", 6_000, seed=3, windows=4, transactional="off")
    point = Life("point", point="before offsets alone", count=3)

    result = asyncio.run(Storm(load, tmp_path, [[point, point]], ()).run())

    assert result.decided == load.requests.num_rows
    assert result.found.counts["decided twice"] > 0
    assert set(result.found.counts) <= {"decided twice", "pool over", "budget over"}
