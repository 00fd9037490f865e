"""Figures: sums of a log by policy, in pieces as in one."""

import numpy as np
import pytest

from aurora_batch import router, workload
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from pipelines.figures import Figures, gap

FLEET, SETTINGS = default_fleet(), Settings()


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Two scarce windows."""
    log = workload.stress(FLEET, 800, seed=1, load=2.0, per_window=400)
    found, low = Figures(), 0
    state = router.initial_state(FLEET, SETTINGS)
    for step in router.decide(log, FLEET, state, SETTINGS, policy=Policy.GLOBAL):
        found.add_batch(step.batch, step.batch.bound, 0.5)
        hours = log["gpu_hours"].to_numpy()[low : low + step.batch.requests]
        found.add_decisions(step.decisions, hours)
        low += step.batch.requests
    return found


def test_the_parts_add_up(figures: Figures) -> None:
    """Requests, routes, costs and windows agree with each other."""
    said = figures.to_dict()

    assert figures.requests == sum(w.requests for w in figures.windows.values()) == 800
    assert said["routed"] == sum(said["providers"].values()) == said["reasons"]["ok"]
    assert sum(said["reasons"].values()) == 800
    assert said["fill_rate"] == said["routed"] / 800
    assert said["cost_usd"] == pytest.approx(sum(w.cost_usd for w in figures.windows.values()))
    assert said["routes_per_second"] == 800 / figures.seconds
    assert 0 <= said["gap"] == gap(said["value"], said["bound"]) < 1


def test_deciles_are_tenths_of_the_requests(figures: Figures) -> None:
    """Ten groups by size; small requests are served before large ones when capacity is scarce."""
    deciles = figures.deciles()
    edges, shares = zip(*deciles, strict=True)

    assert len(deciles) == 10
    assert list(edges) == sorted(edges)
    assert np.mean(shares) == pytest.approx(figures.routed / 800, abs=0.03)
    assert shares[0] > shares[-1]


def test_nothing_has_no_means() -> None:
    """An empty log has sums of zero and no averages."""
    said = Figures().to_dict()

    assert (said["routed"], said["value"], said["gap"]) == (0, 0, 0.0)
    assert said["fill_rate"] is said["mean_price_usd_per_hour"] is said["routes_per_second"] is None
    assert Figures().deciles() == []
    assert Figures().lines()["routed"] == "0"
