"""The checker finds what is wrong, each by its name."""

import json
from typing import Any

import pytest

from tests.storm.checker import Checker
from tests.storm.load import Load, scarce

SHARDS = 3


@pytest.fixture(scope="module")
def load() -> Load:
    """Some requests; nothing is sent."""
    return scarce("localhost:1", "checked", 60, seed=1, windows=2)


def decision(partition: int, number: int, **said: Any) -> bytes:
    """Return a refusal, or what is said."""
    body = {
        "request_id": f"{partition}-{number}",
        "batch_id": f"{partition % SHARDS}/{SHARDS}-20260101T000000Z-1",
        "window": "2026-01-01T00:00:00Z",
        "provider": None,
        "gpu_type": None,
        "price_usd_per_hour": None,
        "cost_usd": None,
    }
    return json.dumps(body | said).encode()


def placed(partition: int, number: int, hours: float, usd_per_hour: float = 1.0) -> bytes:
    """Return a decision that takes some of akash's 220 GPU-hours."""
    cost = hours * usd_per_hour
    return decision(
        partition, number, provider="akash", gpu_type="a100",
        price_usd_per_hour=usd_per_hour, cost_usd=cost,
    )  # fmt: skip


def everything(load: Load) -> list[bytes]:
    """Return a refusal of each request."""
    return [decision(p, i) for p, count in enumerate(load.counts) for i in range(count)]


def found(load: Load, decisions: list[bytes]) -> set[str]:
    """Return the kinds of violations in decisions, in the order in which they are read."""
    checker = Checker(load, SHARDS)
    for value in decisions:
        checker.add(value)
    return set(checker.finish().counts)


def test_all_is_well(load: Load) -> None:
    """Each request decided once, in order: nothing is found."""
    assert found(load, everything(load)) == set()


def test_once_and_in_order(load: Load) -> None:
    """What is missing, doubled or out of order is told apart."""
    good = everything(load)

    assert found(load, good[1:]) == {"missing"}
    assert found(load, [*good, good[0]]) == {"decided twice"}
    assert found(load, [good[1], good[0], *good[2:]]) == {"out of order"}


def test_a_batch_that_vanished_leaves_a_gap(load: Load) -> None:
    """Batches of a shard and window are numbered from 1 on."""
    third = decision(0, 0, batch_id=f"0/{SHARDS}-20260101T000000Z-3")
    assert found(load, [third, *everything(load)[1:]]) == {"batches with a gap"}


def test_a_shard_keeps_to_its_part(load: Load) -> None:
    """A third of a pool is full after 73.3 of 220 GPU-hours, within one shard and window."""
    places = [(0, 0), (0, 1)]
    rest = {(p, i) for p, count in enumerate(load.counts) for i in range(count)} - set(places)
    ordered = sorted([*rest, *places])

    def with_hours(hours: float) -> list[bytes]:
        return [
            placed(p, i, hours, 0.01) if (p, i) in places else decision(p, i) for p, i in ordered
        ]

    assert found(load, with_hours(36.6)) == set()
    assert found(load, with_hours(36.7)) == {"pool over"}


def test_a_shard_keeps_to_its_budgets(load: Load) -> None:
    """A third of acme's 600 USD is spent after 200."""
    partition, number = next(
        (p, t.index("acme")) for p, t in enumerate(load.tenants) if "acme" in t
    )

    def with_cost(usd: float) -> list[bytes]:
        return [
            placed(p, i, 10.0, usd / 10) if (p, i) == (partition, number) else decision(p, i)
            for p, count in enumerate(load.counts)
            for i in range(count)
        ]

    assert found(load, with_cost(200.0)) == set()
    assert found(load, with_cost(200.1)) == {"budget over"}


def test_a_partition_belongs_to_one_shard(load: Load) -> None:
    """A decision that another shard made is found."""
    stolen = decision(0, 0, batch_id=f"1/{SHARDS}-20260101T000000Z-1")
    assert found(load, [stolen, *everything(load)[1:]]) == {"decided by another shard"}
