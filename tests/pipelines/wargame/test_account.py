"""What a run adds up to, by hand."""

import numpy as np
import pytest

from aurora_batch.settings import Settings
from aurora_batch.wargame.events import Event, Kind
from aurora_batch.wargame.game import Game, Plan
from pipelines.wargame.account import Run, regrets
from pipelines.wargame.play import played, players

SETTINGS = Settings()


def run(*events: Event, steps: int = 8, patience: int = 0) -> Run:
    """Play a short run by greedy."""
    plan = Plan(SETTINGS, events, steps, seed=3, patience=patience)
    return played(Game(plan, players("greedy", SETTINGS, arrivals=1)))


def test_credits_are_minted_by_the_hour_and_burned_by_the_dollar() -> None:
    """Spec, section 5: rates by provider and GPU, 1.8 USD to the credit."""
    (account,) = run().accounts
    rates = {
        (name, gpu.removeprefix("rtx")): rate
        for name, said in SETTINGS.providers.items()
        for gpu, rate in said.credits_per_hour.items()
    }
    made = account.decisions.to_pylist()

    minted = sum(
        rates[d["provider"], d["gpu_type"]] * hours
        for d, hours in zip(made, account.hours.tolist(), strict=True)
        if d["provider"]
    )
    assert account.minted.sum() == pytest.approx(minted)
    assert account.burned.sum() == pytest.approx(sum(d["cost_usd"] or 0 for d in made) / 1.8)


def test_who_waits_is_neither_routed_nor_dropped_until_the_run_ends() -> None:
    """Each request is routed or dropped once; fill is of those that came to an end."""
    outage = Event(Kind.OUTAGE, "all", 5, 9)

    (account,) = run(outage, patience=1).accounts

    assert account.waiting.tolist()[:5] == [0] * 5
    assert account.waiting[5] == account.total[5] > 0
    assert account.dropped[5] == 0
    assert account.dropped[6] == account.waiting[5]
    assert account.waiting[7] == 0  # the run is over
    once = len(set(account.requests["request_id"].to_pylist()))
    assert account.routed.sum() + account.dropped.sum() == once
    assert account.fill[5] == 1.0
    assert account.fill[6] == 0.0


def test_a_step_without_routed_requests_has_no_means() -> None:
    """NaN, which the CSV leaves empty, and a fill rate of nothing."""
    (account,) = run(Event(Kind.OUTAGE, "all", 2, 1)).accounts

    assert np.isnan(account.mean_cost[2])
    assert np.isnan(account.mean_latency[2])
    assert account.fill[2] == 0.0
    assert not np.isnan(np.delete(account.mean_cost, 2)).any()


def test_nothing_can_be_lost_of_nothing() -> None:
    """0 where the optimum is 0."""
    lost = regrets(np.array([0.0, 1.0]), np.array([0.0, 2.0]))

    assert lost.tolist() == [0.0, 0.5]
