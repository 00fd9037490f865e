"""What an explanation says of a batch, on instances that a person can solve."""

from dataclasses import replace

import numpy as np
import pytest

from aurora_batch import router
from aurora_batch.errors import CertificateError
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.router import Step
from aurora_batch.scoring import Tenants
from aurora_batch.settings import ProviderSettings, Settings, TenantSettings
from benchmarks.markets import market
from pipelines.explain import to_dict
from pipelines.explanation import Explanation, OneMore, explain
from tests.aurora_batch.windows import log
from tests.requests import table

Row = dict[str, object]


def fleet_of(**capacity: float) -> Fleet:
    """One A100 market each, the first the cheapest."""
    return fleet_from_settings(
        {
            name: ProviderSettings(
                base_price_usd_per_hour={"a100": 1.0 + i},
                base_latency_ms=100.0,
                capacity_gpu_hours_per_step=hours,
                reputation=80.0,
            )
            for i, (name, hours) in enumerate(capacity.items())
        }
    )


def explained(
    rows: list[Row], fleet: Fleet, policy: Policy = Policy.GLOBAL, top: int = 5, **budgets: float
) -> Explanation:
    """Explain a batch, the first of all."""
    tenants = {t: TenantSettings(budget_usd_per_step=usd) for t, usd in budgets.items()}
    settings = Settings(tenants=tenants)
    state = router.initial_state(fleet, settings)
    step = router.step(table(rows), fleet, state, settings, policy=policy, certify=True)
    return explain(step, state.ledger, fleet, top)


def test_one_more_gpu_hour_is_worth_its_shadow_price() -> None:
    """Two places, three alike: one more serves one more, and solving again says the same."""
    said = explained([{}] * 3, fleet_of(one=2.0, far=0.5))

    assert (said.pools[0].name, said.pools[0].before, said.pools[0].after) == ("one", 2.0, 0.0)
    assert said.pools[0].shadow_price == pytest.approx(2.0)
    assert said.pools[0].measured == OneMore(
        pytest.approx(2.0), pytest.approx(2.0), optimal=True
    )  # fmt: skip
    assert (said.pools[1].shadow_price, said.pools[1].measured) == (0.0, None)


def test_one_more_usd_is_worth_its_shadow_price() -> None:
    """A budget for two of three alike, each for 1 USD."""
    said = explained([{"tenant_id": "poor"}] * 3, fleet_of(one=10.0), rich=9.0, poor=2.0)
    rich, poor = said.budgets

    assert (rich.name, rich.before, rich.after, rich.measured) == ("rich", 9.0, 9.0, None)
    assert (poor.name, poor.before, poor.after) == ("poor", 2.0, 0.0)
    assert poor.shadow_price == pytest.approx(2.0)
    assert poor.measured is not None
    assert poor.measured.value == pytest.approx(2.0)


def test_ties_are_between_reduced_values_of_offers_and_refusal() -> None:
    """The least share first: choice, next best, and the difference at the batch's prices."""
    fleet = fleet_of(cheap=1.0, dear=1.0)
    said = explained([{"request_id": "a"}, {"request_id": "b", "max_price": 1.5}], fleet)
    by_id = {tie.request_id: tie for tie in said.ties}

    price = said.pools[0].shadow_price
    cheap, dear = 0.35 + 0.003 + 0.16 + 0.15, 0.35 / 2 + 0.003 + 0.16 + 0.15
    assert by_id["a"].chosen == "dear a100"
    assert by_id["a"].next_best == "cheap a100"
    assert by_id["a"].difference == pytest.approx((1 + dear / cheap) - (2 - price))
    assert by_id["b"].chosen == "cheap a100"
    assert by_id["b"].next_best == "refused"
    assert by_id["b"].share == pytest.approx((2 - price) / 2)
    assert [abs(t.share) for t in said.ties] == sorted(abs(t.share) for t in said.ties)


def test_a_refusal_is_a_choice_too() -> None:
    """Who is refused is compared with the best offer it could have had."""
    said = explained([{"request_id": i, "priority": p} for i, p in (("a", 2.0), ("b", 1.0))],
                     fleet_of(one=1.0))  # fmt: skip
    lost = next(tie for tie in said.ties if tie.request_id == "b")

    assert (lost.chosen, lost.next_best) == ("refused", "one a100")
    assert lost.difference == pytest.approx(said.pools[0].shadow_price - 2.0)


def test_refusals_are_grouped_by_reason_and_remedy() -> None:
    """Most common first, shortages without their amounts, at most as many as asked for."""
    rows: list[Row] = [
        *[{"max_price": 0.9, "gpu_hours": 0.1}] * 3,
        {"max_price": 0.5, "min_reputation": 99.0},
        {"gpu_type": "b200", "gpu_hours": 0.1},
        *[{"gpu_hours": 5.0 + i} for i in range(2)],
    ]
    said = explained(rows, fleet_of(one=1.0))
    first, second = said.refusals

    assert (first.reason, first.requests) == ("no_viable_provider", 5)
    assert first.remedies[0] == ("raise max_price to 1.00: one", 3)
    assert {None, "accept a100: one"} == {remedy for remedy, _ in first.remedies[1:]}
    assert (second.reason, second.remedies) == ("no_capacity", [("capacity short at one", 2)])
    assert [len(r.remedies) for r in explained(rows, fleet_of(one=1.0), top=1).refusals] == [1, 1]


def test_greedy_has_the_prices_of_the_solve_beside_it_and_no_ties() -> None:
    """Its own choices know no prices."""
    said = explained([{}] * 3, fleet_of(one=2.0), Policy.GREEDY)

    assert said.ties == []
    assert said.pools[0].shadow_price == pytest.approx(2.0)
    assert said.batch.value <= said.certificate.bound


def test_ties_hold_against_a_plain_loop() -> None:
    """On a scarce market, request by request."""
    made = market(200, 16, 1.5, seed=4)
    state = router.initial_state(made.fleet, made.settings)
    step = router.step(made.requests, made.fleet, state, made.settings)
    said = explain(step, state.ledger, made.fleet, 200)
    problem, found = step.problem(), step.allocation
    assert found is not None

    shares = []
    for i in range(problem.requests):
        pairs = range(problem.indptr[i], problem.indptr[i + 1])
        net = {
            int(problem.indices[e]): float(
                problem.data[e] - found.pool_prices[problem.pool[problem.indices[e]]]
                * problem.demand[i]
            )
            for e in pairs
        }  # fmt: skip
        if not net:
            continue
        value = {int(problem.indices[e]): float(problem.data[e]) for e in pairs}
        own = int(found.assignment[i])
        if own >= 0:
            lead = net[own] - max([0.0, *(n for j, n in net.items() if j != own)])
            shares.append(lead / value[own])
        else:
            best = max(net, key=lambda j: net[j])
            shares.append(-net[best] / value[best])
    assert [t.share for t in said.ties] == pytest.approx(sorted(shares, key=abs))


@pytest.fixture(scope="module")
def at_reserve_prices() -> list[tuple[Step, Explanation]]:
    """Two windows as they come, twice the capacity asked for: the batches with reserve prices."""
    scarce = log(2.0)
    tenants = Tenants.from_settings(scarce.settings)
    state, found = scarce.start(), []
    for batch in scarce.batches:
        for step in router.decide(batch, scarce.fleet, state, scarce.settings):
            before = state.ledger.enter(step.batch.window_us, scarce.fleet, tenants)
            if step.batch.reserve is not None:
                found.append((step, explain(step, before, scarce.fleet, 1_000)))
            state = step.state
    assert len(found) > 20
    return found


def test_at_reserve_prices_the_figures_are_those_of_the_record(
    at_reserve_prices: list[tuple[Step, Explanation]],
) -> None:
    """Value, bound, gap and prices; the certificate is less by what was paid to the reserve."""
    for step, explained_ in at_reserve_prices:
        said, record = to_dict(explained_), step.batch
        assert record.reserve is not None
        paid = sum(p["reserve_price"] * (p["before"] - p["after"])
                   for p in [*said["pools"], *said["budgets"]])  # fmt: skip
        net = said["certificate"]

        assert net["net_of_reserve_prices"]
        assert (said["value"], said["bound"], said["gap"]) == (
            record.value, record.bound, record.gap,
        )  # fmt: skip
        assert said["gap"] == pytest.approx((said["bound"] - said["value"]) / said["bound"])
        assert net["value"] == pytest.approx(said["value"] - paid)
        assert net["bound"] - net["value"] == pytest.approx(said["bound"] - said["value"])
        assert [p["shadow_price"] for p in said["pools"]] == record.pool_prices.tolist()
        assert [p["reserve_price"] for p in said["pools"]] == record.reserve.pool.tolist()
        assert all(p["shadow_price"] >= p["reserve_price"] for p in said["pools"])


def test_measured_includes_the_reserve_price(
    at_reserve_prices: list[tuple[Step, Explanation]],
) -> None:
    """A pool that the batch itself is short of is measured at its whole price, others not at all.

    One more GPU-hour brings no less than what it is kept for and, but for the gap, no more than its
    price says.
    """
    measured = 0
    for step, said in at_reserve_prices:
        gap = step.batch.bound - step.batch.value + 1e-9
        for pool in said.pools:
            if pool.measured is None:
                continue
            measured += 1
            assert pool.shadow_price > pool.reserve_price > 0
            assert pool.reserve_price - gap <= pool.measured.bound <= pool.shadow_price + gap
            assert pool.measured.optimal
            assert pool.measured.value >= pool.reserve_price - 1e-9
    assert measured


def test_at_reserve_prices_ties_are_between_whole_reduced_values(
    at_reserve_prices: list[tuple[Step, Explanation]],
) -> None:
    """A choice's lead is that of its value less the record's whole prices, as a share of it."""
    for step, said in at_reserve_prices:
        problem, record = step.problem(), step.batch
        assert record.reserve is not None
        expected = {}
        for i, name in enumerate(step.decisions["request_id"].to_pylist()):
            pairs = range(problem.indptr[i], problem.indptr[i + 1])
            pool = {e: problem.pool[problem.indices[e]] for e in pairs}
            hours = float(problem.demand[i])
            value = {e: problem.data[e] + record.reserve.pool[pool[e]] * hours for e in pairs}
            net = {e: value[e] - record.pool_prices[pool[e]] * hours for e in pairs}
            assert step.allocation is not None
            own = [e for e in pairs if problem.indices[e] == step.allocation.assignment[i]]
            rest = [net[e] for e in pairs if e not in own]
            if own:
                lead = net[own[0]] - max([0.0, *rest])
                expected[name] = (lead, lead / value[own[0]])
            elif rest:
                best = max(pairs, key=lambda e: net[e])
                expected[name] = (-net[best], -net[best] / value[best])
        assert {t.request_id: (t.difference, t.share) for t in said.ties} == {
            name: pytest.approx(both, abs=1e-9) for name, both in expected.items()
        }


def test_a_claim_that_does_not_hold_is_not_explained() -> None:
    """Prices that prove less than was claimed end it."""
    fleet, settings = fleet_of(one=2.0), Settings(tenants={})
    state = router.initial_state(fleet, settings)
    step = router.step(table([{}] * 3), fleet, state, settings)
    assert step.allocation is not None
    false = replace(step.allocation, pool_prices=np.array([0.1]))
    claimed = replace(step, made=replace(step.made, allocation=false))

    with pytest.raises(CertificateError, match="bound"):
        explain(claimed, state.ledger, fleet, 5)
