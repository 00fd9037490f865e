"""Whole windows of the router, with and without looking ahead."""

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pyarrow.compute as pc

from aurora_batch import outlook, router
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.router import Step
from aurora_batch.settings import TenantSettings
from tests.aurora_batch import windows
from tests.aurora_batch.windows import Log
from tests.requests import table

TENANTS = ("a", "b", None)


@cache
def scarce() -> Log:
    """Twice as much is wanted as there is."""
    return windows.log(2.0)


@cache
def ahead() -> tuple[Step, ...]:
    """Its steps."""
    return tuple(scarce().decide())


def by_window(steps: tuple[Step, ...] | list[Step]) -> list[float]:
    """Value of each window."""
    starts = sorted({step.batch.window_us for step in steps})
    return [windows.value([s for s in steps if s.batch.window_us == start]) for start in starts]


def test_looking_ahead_is_worth_it_where_capacity_is_scarce() -> None:
    """At twice the demand every window is worth a tenth more, and some are refused at a price."""
    plain = scarce().batch_only.decide()

    for own, other in zip(by_window(ahead()), by_window(plain), strict=True):
        assert own > 1.1 * other
    for steps, told in ((list(ahead()), True), (plain, False)):
        reasons = windows.decisions(steps)["reason"].unique().to_pylist()
        assert ("below_reserve_price" in reasons) == told


def test_looking_ahead_costs_nothing_where_there_is_plenty() -> None:
    """At load 0.5 no fewer requests are placed, for no less; at 0.3 each decision is the same."""
    log, idle = windows.log(0.5), windows.log(0.3)
    steps, plain = log.decide(), log.batch_only.decide()

    assert windows.served(steps) >= 0.999 * windows.served(plain)
    assert windows.value(steps) >= 0.998 * windows.value(plain)
    assert windows.decisions(idle.decide()).equals(windows.decisions(idle.batch_only.decide()))


def test_capacity_that_was_kept_is_used_in_the_end() -> None:
    """Of pools that had a price, next to nothing is left when the window ends."""
    last = [s for s in ahead() if s.batch.window_us == ahead()[0].batch.window_us][-1]
    prices = [s.batch.reserve.pool for s in ahead() if s.batch.reserve is not None]
    dear = np.mean(prices, axis=0) > 0.1

    assert dear.sum() > 4
    total = scarce().fleet.pool_capacity[dear].sum()
    assert last.batch.pool_left[dear].sum() < 0.05 * total


def budgeted() -> Log:
    """Plenty of capacity, and budgets for a third of what two tenants ask for."""
    log = windows.log(0.1)
    batches = []
    for number, batch in enumerate(log.batches):
        names = [TENANTS[(number + i) % 3] for i in range(batch.num_rows)]
        at = batch.schema.get_field_index("tenant_id")
        batches.append(batch.set_column(at, "tenant_id", [names]).cast(batch.schema))
    tenants = {name: TenantSettings(budget_usd_per_step=90.0) for name in TENANTS if name}
    settings = msgspec.structs.replace(log.settings, tenants=tenants)
    return Log(tuple(batches), log.fleet, settings)


def test_budgets_are_kept_for_what_is_worth_more() -> None:
    """Where budgets are scarce, looking ahead is worth a tenth more, and none is exceeded."""
    log = budgeted()
    steps = log.decide()
    decided = windows.decisions(steps).append_column("tenant_id", log.requests["tenant_id"])
    spent = decided.group_by(["window", "tenant_id"]).aggregate([("cost_usd", "sum")])
    spent = spent.filter(pc.is_valid(spent["tenant_id"]))

    assert windows.value(steps) > 1.1 * windows.value(log.batch_only.decide())
    assert spent.num_rows == 4
    assert pc.max(spent["cost_usd_sum"]).as_py() <= 90 * (1 + 1e-9)
    assert pc.min(spent["cost_usd_sum"]).as_py() > 80
    kept = [s.batch.reserve for s in steps if s.batch.reserve is not None]
    assert len(kept) > 20
    assert all(not reserve.pool.any() for reserve in kept)


def test_the_less_is_left_the_dearer() -> None:
    """Half of a budget, or of the pools, at the same moment has a higher reserve price."""
    for log, name in ((budgeted(), "budget_left"), (scarce(), "pool_left")):
        state = log.decide(most=8)[-1].state
        poor = replace(state.ledger, **{name: getattr(state.ledger, name) / 2})
        before, after = (
            np.concatenate(
                outlook.look_ahead(outlook.Asked(state.outlook, ledger), log.fleet, log.settings)
            )
            for ledger in (state.ledger, poor)
        )

        assert before.any()
        assert after.sum() > 1.2 * before.sum()


def test_where_no_request_draws_on_a_budget_it_is_free() -> None:
    """Budgets that nobody of the sample uses have a reserve price of zero, and keep their place."""
    kept = [s.batch.reserve for s in ahead() if s.batch.reserve is not None]

    assert {reserve.budget.size for reserve in kept} == {len(scarce().settings.tenants)}
    assert not any(reserve.budget.any() for reserve in kept)


def test_without_look_ahead_each_batch_is_its_own() -> None:
    """Disabled, or with a sample too small to say anything: the same bytes, and no reserves."""
    plain = scarce().batch_only.decide()
    few = windows.with_lookahead(scarce().settings, sample=outlook.LEAST_SAMPLE - 1)
    blind = replace(scarce(), settings=few).decide()

    assert windows.decisions(plain).equals(windows.decisions(blind))
    assert not any(step.batch.reserve for step in plain)
    assert [s.batch.value for s in plain] == [s.batch.value for s in blind]
    assert plain[-1].state.outlook.sample.pieces == ()


def test_a_batch_of_one_is_served_where_it_is_worth_its_price() -> None:
    """One request at a time: placed if an offer with room leaves something of its value, only."""
    log = scarce()
    state = ahead()[24].state
    refused = 0
    for i in range(150):
        one = log.requests.slice(25 * 60 + i, 1)
        step = router.step(one, log.fleet, state, log.settings)
        problem, hours = step.problem(), one["gpu_hours"][0].as_py()
        worth = problem.data[problem.capacity[problem.pool[problem.indices]] >= hours]
        state = step.state
        refused += step.batch.served == 0

        assert step.batch.reserve is not None
        assert step.batch.served == (worth > 0).any()
    assert 10 < refused < 140


def test_an_empty_batch_changes_no_price() -> None:
    """In mid-window, no requests leave prices, sample and demand as they were."""
    state = ahead()[10].state
    before = replace(state.outlook, asked=None, solved_us=state.outlook.now_us)
    step = router.step(
        table([]), scarce().fleet, replace(state, outlook=before), scarce().settings
    )  # fmt: skip
    after = step.state.outlook

    assert step.decisions.num_rows == 0
    assert (step.batch.value, step.batch.gap) == (0.0, 0.0)
    assert after.reserve is before.reserve
    assert after.sample.table().equals(before.sample.table())
    assert after.demand.current.tolist() == before.demand.current.tolist()
    assert (after.now_us, after.fresh_hours) == (before.now_us, before.fresh_hours)


def test_an_empty_fleet_has_nothing_to_keep() -> None:
    """Window after window every request is refused, for want of a provider."""
    log = replace(scarce(), fleet=fleet_from_settings({}))
    decided = windows.decisions(log.decide())

    assert decided["reason"].unique().to_pylist() == ["no_viable_provider"]
    assert pc.count(decided["shadow_price"]).as_py() == 0


def test_capacity_of_nothing_is_kept_for_nobody() -> None:
    """Providers without any capacity refuse everything, and prices stay finite."""
    fleet = replace(scarce().fleet, pool_capacity=np.zeros(len(scarce().fleet.pool_ids)))
    steps = replace(scarce(), fleet=fleet).decide()

    assert windows.served(steps) == 0
    for step in steps:
        reserve = step.state.outlook.reserve
        assert reserve is not None
        assert np.isfinite(reserve.pool).all()
