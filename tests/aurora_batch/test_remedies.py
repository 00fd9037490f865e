"""A remedy is taken at its word: relax that one thing, decide again."""

import pytest

from aurora_batch.model import Policy, Scoring
from aurora_batch.router import BatchRecord
from aurora_batch.settings import ProviderSettings
from tests.aurora_batch.relaxing import Case, random_case, settings_of
from tests.requests import table

Row = dict[str, object]


def provider(gpus: dict[str, float], capacity: float = 10.0, **facts: object) -> ProviderSettings:
    """Return a provider that is ordinary but for what is said."""
    usual = {"base_latency_ms": 100.0, "reputation": 80.0, "regions": ["eu"]}
    return ProviderSettings(
        base_price_usd_per_hour=gpus, capacity_gpu_hours_per_step=capacity, **(usual | facts)
    )


FLEET = {
    "vast": provider({"a100": 2.2, "3090": 1.0 / 3}, base_latency_ms=380.0, reputation=62.0),
    "flux": provider({"h100": 3.0, "a100": 9.0}, regions=["us"], capacity=5.0),
}


def remedies(rows: list[Row], policy: Policy, **budgets: float) -> list[str | None]:
    """Remedies of a batch."""
    made = Case(table(rows), FLEET, settings_of(tenants=budgets), policy).decide()
    said: list[str | None] = made.decisions["remedy"].to_pylist()
    return said


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize(
    ("request_", "remedy"),
    [
        ({"max_price": 2.0, "region": "eu"}, "raise max_price to 2.20: vast"),
        ({"gpu_type": "3090", "max_price": 0.1}, "raise max_price to 0.3333333333333333: vast"),
        ({"max_latency_ms": 99.0, "region": "eu"}, "raise max_latency_ms to 380: vast"),
        ({"min_reputation": 70.0, "region": "eu"}, "lower min_reputation to 62: vast"),
        ({"gpu_type": "h100", "region": "eu"}, "accept us: flux"),
        ({"gpu_type": "b200", "region": "eu"}, "accept a100: vast"),
        ({"gpu_hours": 13.1, "region": "eu"}, "capacity: 3.1 GPU-h short at vast"),
        ({"gpu_hours": 12.0, "region": "eu"}, "capacity: 2 GPU-h short at vast"),
        (
            {"gpu_hours": 2.5, "region": "eu", "tenant_id": "poor"},
            "budget: 4.20 USD short at vast",
        ),
        ({"gpu_type": "b200", "region": "mars"}, None),
        ({"gpu_type": "h100", "gpu_hours": 20.0, "region": "eu"}, None),
        ({"gpu_hours": 20.0, "region": "eu", "tenant_id": "poor"}, None),
        ({}, None),
    ],
)
def test_a_refusal_says_the_single_change_that_is_enough(
    policy: Policy, request_: Row, remedy: str | None
) -> None:
    """Each kind in its words; null where one change is not enough or none is needed."""
    assert remedies([request_], policy, poor=1.3) == [remedy]


def must_hold(case: Case, left: BatchRecord, i: int, remedy: str) -> bool:
    """Whether the old allocation and request `i` fit together, and the old bound still holds.

    For a limit the batch must have left room. More capacity or budget must not be the first to hold
    somebody else, whom no bound has counted yet.
    """
    rows, fleet = case.requests.to_pylist(), case.fleet
    request, others = rows[i], rows[:i] + rows[i + 1 :]
    budgets = {t: left.budget_left[b] for b, t in enumerate(case.settings.tenants)}
    if remedy.startswith("budget"):
        usd = case.settings.tenants[request["tenant_id"]].budget_usd_per_step or 0.0
        same = [r for r in others if r["tenant_id"] == request["tenant_id"]]
        return all(r["gpu_hours"] * fleet.offer_price.max() <= usd for r in same)
    at = fleet.provider_ids.index(remedy.split()[-1])
    if remedy.startswith("capacity"):
        return all(r["gpu_hours"] <= fleet.pool_capacity[at] for r in others)
    hours = request["gpu_hours"]
    cost = fleet.offer_price[at] * hours
    return bool(left.pool_left[at] >= hours and cost <= budgets.get(request["tenant_id"], cost))


def test_least_effort_wins_and_ties_go_to_the_offer_listed_first() -> None:
    """A tenth of a limit is less than another region; equal efforts go by the fleet's order."""
    near = {"gpu_type": "a100", "region": "us", "max_price": 8.5}
    assert remedies([near], Policy.GLOBAL) == ["raise max_price to 9.00: flux"]
    assert remedies([{**near, "max_price": 4.0}], Policy.GLOBAL) == ["accept eu: vast"]

    twins = {"first": provider({"a100": 2.0}), "second": provider({"a100": 2.0})}
    made = Case(table([{"max_price": 1.0}]), twins, settings_of()).decide()
    assert made.decisions["remedy"].to_pylist() == ["raise max_price to 2.00: first"]


def test_who_is_not_worth_the_price_is_told_nothing() -> None:
    """A pool that the worthier fill: relaxing a limit would not place the request there."""
    one = {"vast": provider({"a100": 1.0}, capacity=4.0)}
    many: list[Row] = [{"priority": 10.0}] * 8
    made = Case(table([*many, {"priority": 0.5, "max_price": 0.9}]), one, settings_of()).decide()

    assert made.batch.pool_prices[0] >= 10
    assert made.decisions["remedy"].to_pylist()[-1] is None


def test_who_is_worth_the_price_is_told_to_take_the_place_of_others() -> None:
    """At a positive price room is made for a request that is worth more than the price."""
    one = {"vast": provider({"a100": 1.0}, capacity=4.0)}
    many: list[Row] = [{"priority": 1.0}] * 8
    case = Case(table([*many, {"priority": 5.0, "max_price": 0.9}]), one, settings_of())
    remedy = case.decide().decisions["remedy"].to_pylist()[-1]

    assert remedy == "raise max_price to 1.00: vast"
    assert case.relaxed(8, remedy).decide().decisions["status"][8].as_py() == "provisioning"


@pytest.mark.parametrize("scoring", list(Scoring))
@pytest.mark.parametrize("load", [0.4, 1.0, 2.5])
def test_greedy_places_whoever_relaxes_the_limit_it_names(scoring: Scoring, load: float) -> None:
    """Room that the batch left was there before: the request is placed, whatever the load."""
    tried = 0
    for seed in range(25):
        case = random_case(seed, Policy.GREEDY, scoring, load)
        for i, remedy in enumerate(case.decide().decisions["remedy"].to_pylist()):
            if remedy and not remedy.startswith(("capacity", "budget")):
                again = case.relaxed(i, remedy).decide().decisions
                assert again["status"][i].as_py() == "provisioning", (seed, i, remedy)
                tried += 1

    assert tried > 40


@pytest.mark.parametrize("scoring", list(Scoring))
@pytest.mark.parametrize("load", [0.4, 1.0, 2.5])
def test_global_places_whoever_takes_the_remedy_where_prices_are_exact(
    scoring: Scoring, load: float
) -> None:
    """Without a gap, and where it then fits in beside the others, the request is placed.

    The old allocation and this request together are worth more than the bound that the prices prove
    for every allocation without it.
    """
    tried = set()
    for seed in range(80):
        case = random_case(seed, Policy.GLOBAL, scoring, load, n=8)
        done = case.decide()
        if done.batch.gap > 1e-12:
            continue
        for i, remedy in enumerate(done.decisions["remedy"].to_pylist()):
            if remedy is not None and must_hold(case, done.batch, i, remedy):
                again = case.relaxed(i, remedy).decide().decisions
                assert again["status"][i].as_py() == "provisioning", (seed, i, remedy)
                tried.add(remedy.split()[0])

    assert tried >= {"raise", "lower", "accept", "capacity:"}
