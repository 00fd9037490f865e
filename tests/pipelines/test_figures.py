"""Figures: sums of a log by policy, in pieces as in one."""

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
        found.add_decisions(step.decisions, log.slice(low, step.batch.requests))
        found.judge(step.batch.window_us, step.batch.value, step.batch.bound)
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


def test_windows_say_what_they_could_have_been(figures: Figures) -> None:
    """Each window by its start, and regrets that agree with those in all."""
    windows = figures.by_window()
    said = figures.to_dict()

    assert [w["window"] for w in windows] == ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]
    for key in ("routed", "value_in_window"):
        assert sum(w[key] for w in windows) == pytest.approx(said[key])
    assert sum(w["bound"] for w in windows) == pytest.approx(said["hindsight_bound"])
    assert all(0 <= w["regret"] == gap(w["value_in_window"], w["bound"]) < 1 for w in windows)
    assert min(w["regret"] for w in windows) <= said["regret"] <= max(w["regret"] for w in windows)


def test_what_is_not_judged_is_not_said() -> None:
    """Without the bounds of all windows there is no regret."""
    log = workload.stress(FLEET, 10, seed=1)
    step = router.step(log, FLEET, router.initial_state(FLEET, SETTINGS), SETTINGS)
    found = Figures()
    found.add_batch(step.batch, step.batch.bound, 0.5)

    assert not found.judged
    assert "regret" not in found.to_dict() | found.lines()


def test_nothing_has_no_means() -> None:
    """An empty log has sums of zero and no averages."""
    said = Figures().to_dict()

    assert (said["routed"], said["value"], said["gap"]) == (0, 0, 0.0)
    assert said["fill_rate"] is said["mean_price_usd_per_hour"] is said["routes_per_second"] is None
    assert Figures().lines()["routed"] == "0"
