"""`global` at reserve prices: what it takes, what it turns away, and what it says of both."""

import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from aurora_batch import policies, scoring
from aurora_batch.allocation import Prices, check
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import without_lookahead
from aurora_batch.model import Policy
from aurora_batch.policies import Task
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Objective, Settings, TenantSettings
from kernels.pairs import Supply
from tests.aurora_batch import windows
from tests.aurora_batch.test_router import fleet_of
from tests.requests import table

SAID = re.compile(r"reserve_price (\S+) at (\S+) \(worth (\S+)\)")
ONE = fleet_of((1.0, 100.0, 10.0))
RICH = Settings(tenants={"rich": TenantSettings(budget_usd_per_step=100.0)})


def task(
    requests: list[dict[str, object]], reserve: Prices | None, settings: Settings = RICH,
    fleet: Fleet = ONE,
) -> Task:  # fmt: skip
    """A batch before whole pools and budgets, at these reserve prices."""
    tenants = Tenants.from_settings(settings)
    whole = fleet.pool_capacity
    supply = Supply(whole.copy(), whole.copy(), tenants.budget.copy())
    columns = scoring.columns(table(requests), fleet, tenants)
    return Task(columns, fleet, supply, settings.router, reserve=reserve)


def prices(pool: float, budget: float = 0.0) -> Prices:
    """Of the one pool and the one budget."""
    return Prices(np.array([pool]), np.array([budget]))


def test_what_is_worth_less_than_its_price_is_not_served() -> None:
    """At 1.5 per GPU-hour a value of 2 pays for one GPU-hour and not for two."""
    made = policies.decide_globally(
        task([{"gpu_hours": 1.0}, {"gpu_hours": 2.0}, {"gpu_hours": 2.0, "priority": 2.0}],
             prices(1.5))
    )  # fmt: skip

    assert made.offer.tolist() == [0, -1, 0]
    assert made.left.left.tolist() == [7.0]
    assert made.value == pytest.approx(2.0 + 4.0)


def test_a_budget_has_a_price_too() -> None:
    """The tenant's dollars are kept, those of others are not."""
    rows = [{"tenant_id": name, "gpu_hours": 2.0} for name in ("rich", None, "rich")]
    made = policies.decide_globally(task(rows, prices(0.0, 1.5)))

    assert made.offer.tolist() == [-1, 0, -1]
    assert made.left.budget.tolist() == [100.0]


@pytest.mark.parametrize("hours", [1.0, 4.0])
def test_value_is_what_was_decided_is_worth(hours: float) -> None:
    """With room for all or not: the value without the prices, certified at them."""
    rows = [{"gpu_hours": hours, "priority": 1.0 + i} for i in range(5)]
    batch = task(rows, prices(0.3))
    made = policies.decide_globally(batch)
    served = made.offer >= 0

    assert made.allocation is not None
    check(batch.problem, made.allocation)
    assert made.value == pytest.approx(float(batch.values(batch.best[1])[served].sum()))


def test_prices_of_nothing_change_nothing() -> None:
    """A reserve of zero is no reserve, in decisions and value."""
    rows = [{"gpu_hours": 1.0 + i % 3, "priority": 1.0 + i % 2} for i in range(20)]
    free, none = (policies.decide_globally(task(rows, p)) for p in (prices(0.0), None))

    assert free.offer.tolist() == none.offer.tolist()
    assert free.value == none.value


@pytest.mark.parametrize("weigh_by", ["request", "gpu_hours"])
def test_each_batch_is_certified_at_its_reserve_prices(weigh_by: str) -> None:
    """The checker agrees with every allocation, and no value lies above its bound."""
    log = windows.log(2.0, windows=1)
    objective = Objective(weigh_by=weigh_by)  # type: ignore[arg-type]
    changed = msgspec.structs.replace(log.settings.router, objective=objective)
    settings = msgspec.structs.replace(log.settings, router=changed)
    steps = replace(log, settings=settings).decide()

    assert sum(step.batch.reserve is not None for step in steps) > len(steps) / 2
    for step in steps:
        assert step.allocation is not None
        check(step.problem(), step.allocation)
        assert step.batch.bound >= step.batch.value
        assert (step.batch.pool_left >= 0).all()


def test_who_is_turned_away_by_a_price_is_told_which() -> None:
    """The phrase names an offer with room for the request, and a price above its worth there."""
    log = windows.log(2.0)
    pool = {name: x for x, name in enumerate(log.fleet.provider_ids)}  # each has one
    hours = dict(zip(*(log.requests[c].to_pylist() for c in ("request_id", "gpu_hours")),
                     strict=True))  # fmt: skip
    told = 0
    for step in log.decide():
        names = ("request_id", "status", "reason", "blocked_by", "shadow_price")
        for row in step.decisions.select(names).to_pylist():
            said = [match for match in map(SAID.fullmatch, row["blocked_by"]) if match]
            assert len(said) == (row["reason"] == "below_reserve_price")
            if not said:
                continue
            told += 1
            price, provider, worth = said[0].groups()
            assert float(worth) <= float(price) * (1 + 1e-3)
            assert step.batch.pool_left[pool[provider]] >= hours[row["request_id"]]
            assert row["status"] == "no_capacity"
            assert row["shadow_price"] >= float(price) * (1 - 1e-3)

    assert told > 100


ALL = np.arange(3)


def test_a_full_offer_turns_nobody_away_by_its_price() -> None:
    """Worth more than its price at a full pool, the request is told of the one with room."""
    fleet = fleet_of((1.0, 100.0, 2.0), (4.0, 100.0, 9.0))
    rows = [{"gpu_hours": 2.0, "priority": p} for p in (3.0, 1.0)]
    batch = task(rows, Prices(np.array([0.1, 5.0]), np.zeros(1)), fleet=fleet)
    made = policies.decide_globally(batch)

    assert made.offer.tolist() == [0, -1]
    assert batch.problem.indices[batch.nearest].tolist() == [0, 0]
    assert batch.problem.indices[batch.nearest_of(ALL[:2], made.left)].tolist() == [1, 1]


def test_where_no_offer_has_room_the_nearest_is_named() -> None:
    """A full pool is the nearest where there is no other; no offer at all is none."""
    rows = [{"gpu_hours": 10.0}, {"gpu_hours": 10.0}, {"gpu_type": "none"}]
    batch = task(rows, prices(0.01))
    made = policies.decide_globally(batch)

    assert sorted(made.offer.tolist()) == [-1, -1, 0]
    assert batch.nearest_of(ALL, made.left).tolist() == batch.nearest.tolist() == [0, 1, -1]


def test_greedy_looks_at_no_prices() -> None:
    """Under `greedy` the settings of the look-ahead change no byte of decisions or state."""
    log = windows.log(2.0, windows=1)
    settings = windows.policy_settings(log.settings, Policy.GREEDY)
    ahead = replace(log, settings=settings).decide()
    plain = replace(log, settings=without_lookahead(settings)).decide()

    assert windows.decisions(ahead).equals(windows.decisions(plain))
    assert all(step.batch.reserve is None for step in ahead)
    assert ahead[-1].state.outlook.sample.pieces == ()
