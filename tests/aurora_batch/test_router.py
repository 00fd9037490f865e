"""The pure step: windows, ledger, certificates, purity."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

from aurora_batch import router, snapshots
from aurora_batch.allocation import check
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.policies import Safety
from aurora_batch.settings import (
    Objective,
    ProviderSettings,
    RouterSettings,
    Settings,
    TenantSettings,
)
from benchmarks.markets import market
from tests.requests import at, table


def fleet_of(*providers: tuple[float, float, float], gpu: str = "a100") -> Fleet:
    """Providers p0, p1, ... of (price, latency, capacity)."""
    return fleet_from_settings(
        {
            f"p{i}": ProviderSettings(
                base_price_usd_per_hour={gpu: price},
                base_latency_ms=latency,
                capacity_gpu_hours_per_step=capacity,
                reputation=80.0,
            )
            for i, (price, latency, capacity) in enumerate(providers)
        }
    )


SETTINGS = Settings(tenants={})
TWO = fleet_of((1.0, 100.0, 2.0), (2.0, 100.0, 2.0))


def providers(decided: pa.Table) -> list[str | None]:
    """Provider of each decision."""
    return decided["provider"].to_pylist()


def run(
    requests: pa.Table, fleet: Fleet = TWO, settings: Settings = SETTINGS, **options: Policy
) -> list[router.Step]:
    """Decide from a fresh state."""
    state = router.initial_state(fleet, settings)
    return list(router.decide(requests, fleet, state, settings, **options))


def test_a_window_end_ends_the_batch() -> None:
    """Requests of two windows make two steps, and the second finds all capacity again."""
    steps = run(table([{"gpu_hours": 2.0, "requested_at": at(s)} for s in (10, 50, 70)]))

    assert [s.batch.requests for s in steps] == [2, 1]
    assert providers(steps[1].decisions) == ["p0"]
    assert [s.batch.batch_id for s in steps] == ["20260101T120000Z-1", "20260101T120100Z-1"]


def test_late_requests_join_the_current_window() -> None:
    """A request older than the current window is decided in it, and counted."""
    steps = run(table([{"requested_at": at(s)} for s in (70, 10, 71)]))

    assert len(steps) == 1
    assert steps[0].batch.late == 1
    assert set(steps[0].decisions["window"].to_pylist()) == {at(60)}


def test_what_is_spent_stays_spent_within_a_window() -> None:
    """The second batch of a window finds only what the first left."""
    state = router.initial_state(TWO, SETTINGS)
    first = router.step(table([{"gpu_hours": 2.0}]), TWO, state, SETTINGS)
    second = router.step(table([{"gpu_hours": 2.0}] * 2), TWO, first.state, SETTINGS)

    assert providers(second.decisions).count("p1") == 1
    assert second.batch.served == 1
    assert second.batch.pool_left.tolist() == [0, 0]


def test_global_leaves_scarce_capacity_to_those_without_a_choice() -> None:
    """The flexible request moves on so that the one bound to the cheap pool is served too."""
    requests = table([{"gpu_hours": 2.0}, {"gpu_hours": 2.0, "max_price": 1.5}])

    assert providers(run(requests, policy=Policy.GREEDY)[0].decisions) == ["p0", None]
    assert providers(run(requests, policy=Policy.GLOBAL)[0].decisions) == ["p1", "p0"]


def test_priority_decides_who_is_served() -> None:
    """Of two requests for one place, `global` serves the one that is worth more."""
    requests = table([{"gpu_hours": 2.0, "priority": p} for p in (1.0, 3.0, 2.0)])

    assert providers(run(requests)[0].decisions)[0] is None


def test_weights_scale_does_not_buy_capacity() -> None:
    """A request with small weights is worth as much as one with large weights."""
    weights = [{"price": w, "latency": w, "reputation": w, "availability": w} for w in (0.01, 1.0)]
    step = run(table([{"weights": w} for w in weights]))[0]

    assert step.batch.value == pytest.approx(4.0)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("load", [0.5, 1.2, 4.0])
def test_pools_and_budgets_are_never_exceeded(policy: Policy, load: float) -> None:
    """Served demand by pool and cost by tenant stay within what was there."""
    made = market(600, 16, load, seed=3)
    steps = run(made.requests, made.fleet, made.settings, policy=policy)
    hours = np.zeros(len(made.fleet.pool_ids))
    for step in steps:
        offered = dict(zip(made.fleet.provider_ids, range(len(hours)), strict=True))
        rows = zip(
            step.decisions["provider"].to_pylist(),
            made.requests["gpu_hours"].to_pylist(),
            strict=True,
        )
        for provider, demand in rows:
            if provider is not None:
                hours[offered[provider]] += demand

    assert (hours <= made.fleet.pool_capacity * (1 + 1e-9)).all()


@pytest.mark.parametrize("load", [0.5, 1.2, 4.0])
def test_every_certificate_holds(load: float) -> None:
    """The checker finds value, bound and feasibility as claimed; greedy stays below the bound."""
    made = market(600, 16, load, seed=5)
    step = run(made.requests, made.fleet, made.settings)[0]
    greedy = router.step(
        made.requests,
        made.fleet,
        router.initial_state(made.fleet, made.settings),
        made.settings,
        policy=Policy.GREEDY,
        certify=True,
    )

    assert step.allocation is not None
    check(step.problem(), step.allocation)
    assert greedy.batch.value <= step.batch.value <= step.batch.bound * (1 + 1e-9)
    assert greedy.batch.value <= greedy.batch.bound
    assert step.batch.gap < 0.01


def test_a_batch_without_budgets_is_certified_where_others_have_some() -> None:
    """Nothing is scarce and nobody draws on a budget: the checker still agrees."""
    settings = Settings(tenants={"rich": TenantSettings(budget_usd_per_step=9.0)})
    step = run(table([{}]), settings=settings)[0]

    assert step.allocation is not None
    assert check(step.problem(), step.allocation).gap == 0


def test_a_step_changes_nothing_that_it_was_given() -> None:
    """The same step from the same state gives the same bytes again."""
    made = market(300, 16, 1.5, seed=1)
    state = router.initial_state(made.fleet, made.settings)
    for policy in Policy:
        first = router.step(made.requests, made.fleet, state, made.settings, policy=policy)
        again = router.step(made.requests, made.fleet, state, made.settings, policy=policy)

        assert first.decisions.equals(again.decisions)
        assert state.ledger.pool_left.tolist() == made.fleet.pool_capacity.tolist()


def test_a_restored_state_decides_the_same() -> None:
    """A worker that starts from a snapshot goes on like one that never stopped."""
    made = market(400, 16, 2.0, seed=2)
    state = router.initial_state(made.fleet, made.settings, shard="0of2")
    halves = [made.requests.slice(0, 200), made.requests.slice(200)]
    first = router.step(halves[0], made.fleet, state, made.settings)
    restored = snapshots.restore(snapshots.save(first.state), made.settings, "0of2")
    went_on = router.step(halves[1], made.fleet, first.state, made.settings)
    came_back = router.step(halves[1], made.fleet, restored, made.settings)

    assert came_back.decisions.equals(went_on.decisions)
    assert snapshots.save(came_back.state) == snapshots.save(went_on.state)


def test_an_empty_batch_is_decided() -> None:
    """No requests make no decisions and spend nothing."""
    step = router.step(table([]), TWO, router.initial_state(TWO, SETTINGS), SETTINGS)

    assert step.decisions.num_rows == 0
    assert (step.batch.value, step.batch.gap) == (0.0, 0.0)


def test_an_empty_fleet_refuses_everything() -> None:
    """Without offers every request is refused, with a reason."""
    step = run(table([{}, {}]), fleet_from_settings({}))[0]

    assert step.decisions["reason"].to_pylist() == ["no_viable_provider"] * 2


def test_gpu_hours_can_be_what_counts() -> None:
    """Weighed by GPU-hours one large job outweighs a small one; by request it does not."""
    fleet = fleet_of((1.0, 100.0, 3.0))
    requests = table([{"gpu_hours": 1.0}, {"gpu_hours": 3.0}])
    by_hours = RouterSettings(objective=Objective(weigh_by="gpu_hours"))
    heavy = run(requests, fleet, Settings(router=by_hours, tenants={}))[0]

    assert providers(heavy.decisions) == [None, "p0"]
    assert run(requests, fleet)[0].batch.served == 1


def test_pruned_rows_keep_an_honest_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pairs are left out for memory, the bound still lies above the unpruned optimum."""
    made = market(300, 64, 1.5, seed=4)
    whole = run(made.requests, made.fleet, made.settings)[0].batch
    monkeypatch.setattr("aurora_batch.scoring.MAX_PAIRS", 600)
    pruned = run(made.requests, made.fleet, made.settings)[0]

    assert pruned.batch.bound >= whole.value * (1 - 1e-9)
    assert pruned.allocation is not None
    check(pruned.problem(), pruned.allocation)


def test_inactive_offers_sell_nothing() -> None:
    """An outage takes an offer out of every class without changing the fleet's shape."""
    out = replace(TWO, offer_active=np.array([False, True]))

    assert providers(run(table([{}]), out)[0].decisions) == ["p1"]


def test_batches_of_a_log_may_be_cut_anywhere_for_greedy() -> None:
    """Greedy is sequential: where batches end changes no choice."""
    made = market(500, 16, 2.0, seed=8)
    state = router.initial_state(made.fleet, made.settings)
    whole = run(made.requests, made.fleet, made.settings, policy=Policy.GREEDY)
    parts = []
    for low, high in pairwise([0, 1, 130, 131, 400, 500]):
        part = made.requests.slice(low, high - low)
        step = router.step(part, made.fleet, state, made.settings, policy=Policy.GREEDY)
        state = step.state
        parts += providers(step.decisions)

    assert parts == [p for step in whole for p in providers(step.decisions)]


def test_prices_of_another_fleet_are_forgotten() -> None:
    """A reload that adds a pool leaves no prices of the old shape behind, scarce or not."""
    scarce = table([{"gpu_hours": 1.0}] * 6)
    first = router.step(scarce, TWO, router.initial_state(TWO, SETTINGS), SETTINGS)
    three = fleet_of((1.0, 100.0, 9.0), (2.0, 100.0, 9.0), (3.0, 100.0, 9.0))
    plenty = router.step(table([{}]), three, first.state, SETTINGS)
    again = router.step(table([{"gpu_hours": 5.0}] * 9), three, plenty.state, SETTINGS)

    assert first.state.prices is not None
    assert plenty.state.prices is None
    assert again.batch.pool_prices.size == 3


def test_a_full_pool_keeps_its_price_for_the_next_window() -> None:
    """A pool that is used up takes no part in the later solves, and is not forgotten by them."""
    fleet = fleet_of((1.0, 100.0, 2.0), (2.0, 100.0, 6.0))
    cheap_only = {"gpu_hours": 1.0, "max_price": 1.5}
    state = router.initial_state(fleet, SETTINGS)
    first = router.step(table([cheap_only] * 3), fleet, state, SETTINGS)
    second = router.step(table([{"gpu_hours": 3.0}] * 3), fleet, first.state, SETTINGS)

    assert first.state.prices is not None
    assert second.state.prices is not None
    assert second.batch.pool_left.tolist() == [0, 0]
    assert second.state.prices.pool[0] == first.state.prices.pool[0] > 0
    assert second.state.prices.pool[1] > 0


def test_a_batch_that_the_clock_ended_can_be_repeated() -> None:
    """The record of a batch whose deadline struck says where, and it decides alike there."""
    made = market(3_000, 32, 2.0, seed=4)
    state = router.initial_state(made.fleet, made.settings)
    arguments = (made.requests, made.fleet, state, made.settings)
    struck = router.step(*arguments, safety=Safety(deadline_s=0.0))
    again = router.step(*arguments, safety=Safety(stop_at=struck.batch.work))
    free = router.step(*arguments)

    assert struck.batch.status == again.batch.status == "deadline"
    assert again.decisions.equals(struck.decisions)
    assert snapshots.save(again.state) == snapshots.save(struck.state)
    assert free.batch.status != "deadline"
    assert free.batch.value > struck.batch.value


def test_batches_with_and_without_budgets_follow_each_other() -> None:
    """Prices of budgets are carried over batches in which nobody draws on one."""
    made = market(900, 16, 4.0, seed=8)
    settings = structs.replace(
        made.settings, tenants={"t": TenantSettings(budget_usd_per_step=50.0)}
    )
    at_column = made.requests.column_names.index("tenant_id")
    state = router.initial_state(made.fleet, settings)
    for batch, tenant in enumerate(["t", None, "t", None, None, "t"]):
        owner = pa.repeat(pa.scalar(tenant, pa.string()), 100)
        requests = made.requests.slice(100 * batch, 100).set_column(at_column, "tenant_id", owner)
        done = router.step(requests, made.fleet, state, settings)
        state = done.state

        assert done.allocation is not None
        check(done.problem(), done.allocation)
        assert state.prices is None or state.prices.budget.shape == (1,)
