"""Generated logs: seeded, as the recipe says, scarce where asked for."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aurora_batch import schema, workload
from aurora_batch.fleet import default_fleet
from aurora_batch.settings import Settings

SETTINGS = Settings()
FLEET = default_fleet()


def count(log: pa.Table, column: str) -> Counter[str]:
    """How often each value occurs."""
    return Counter(log[column].to_pylist())


@pytest.mark.parametrize(
    "log",
    [
        workload.generate(SETTINGS, steps=5, seed=1),
        workload.stress(FLEET, 500, seed=1, known_tenants=["tenant-dao"]),
        workload.stress(FLEET, 0, seed=1),
        workload.generate(Settings(tenants={}), steps=5, seed=1),
    ],
    ids=["tenants", "stress", "no stress", "no tenants"],
)
def test_logs_are_canonical(log: pa.Table) -> None:
    """Every generated row is a valid request, already in its canonical form."""
    decoded = schema.decode_table(log)

    assert decoded.rejections == []
    assert decoded.requests.equals(log)


def test_the_seed_decides() -> None:
    """The same seed gives the same log, another seed another one."""
    one, again, other = (workload.generate(SETTINGS, steps=9, seed=s) for s in (42, 42, 43))

    assert one.equals(again)
    assert not one.equals(other)
    assert workload.stress(FLEET, 99, seed=1).equals(workload.stress(FLEET, 99, seed=1))


def test_tenants_ask_as_configured() -> None:
    """Counts, mixes, GPU-hours, regions and limits are the tenants'."""
    log = workload.generate(SETTINGS, steps=400, seed=7)
    tenants = count(log, "tenant_id")
    gaming = log.filter(pc.equal(log["tenant_id"], "tenant-gaming"))
    training = log.filter(pc.equal(log["workload_type"], "llm_training"))

    assert {t: round(n / 400) for t, n in tenants.items()} == {
        "tenant-research": 10,
        "tenant-gaming": 12,
        "tenant-render": 8,
        "tenant-dao": 6,
    }
    assert count(gaming, "workload_type")["cloud_gaming"] / gaming.num_rows == pytest.approx(
        0.45, abs=0.03
    )
    assert count(gaming, "max_latency_ms") == {300.0: gaming.num_rows}
    assert count(gaming, "region") == {"us-west-2": gaming.num_rows}
    assert count(training, "gpu_type") == {"h100": training.num_rows}
    hours = training["gpu_hours"].to_numpy()
    assert (hours.min() >= 3, hours.max() <= 10, hours.mean()) == (
        True,
        True,
        pytest.approx(6.5, abs=0.2),
    )


def test_load_multiplies_requests() -> None:
    """Four times the load is four times the requests, in the same windows."""
    once, four = (workload.generate(SETTINGS, steps=100, seed=1, load=x) for x in (1.0, 4.0))

    assert four.num_rows / once.num_rows == pytest.approx(4, rel=0.05)
    for log in (once, four):
        at = log["requested_at"].cast(pa.int64()).to_numpy()
        assert (np.diff(at) >= 0).all()
        assert np.unique(at // 60_000_000).size == 100


def test_stress_asks_for_a_multiple_of_the_capacity() -> None:
    """Demand in each window is about `load` times what the fleet has."""
    log = workload.stress(FLEET, 20_000, seed=2, load=1.5, per_window=2_000)
    window = log["requested_at"].cast(pa.int64()).to_numpy() // 60_000_000
    _, at = np.unique(window, return_inverse=True)
    demand = np.bincount(at, log["gpu_hours"].to_numpy())

    assert demand.size == 10
    assert demand / FLEET.pool_capacity.sum() == pytest.approx(1.5, rel=0.12)


def test_stress_mixes_the_bound_and_the_flexible() -> None:
    """Some requests accept several GPU types or any region, some state limits and weights."""
    log = workload.stress(FLEET, 5_000, seed=2, known_tenants=["tenant-dao"])

    several = sum("|" in gpu for gpu in log["gpu_type"].to_pylist()) / 5_000
    assert 0.15 < several < 0.3
    assert 0.3 < count(log, "region")["global"] / 5_000 < 0.6
    assert count(log, "tenant_id")["tenant-dao"] / 5_000 == pytest.approx(0.1, abs=0.02)
    for name, share in (("max_price", 0.6), ("max_latency_ms", 0.7), ("weights", 0.7)):
        assert log[name].null_count / 5_000 == pytest.approx(share, abs=0.03)
    assert set(count(log, "priority")) == {1.0, 2.0, 5.0}
