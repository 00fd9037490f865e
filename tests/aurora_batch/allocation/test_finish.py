"""Random tries among the open requests: feasible, never worth less, the same with the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings

from aurora_batch.allocation import AllocationProblem, dual, exact, finish, pricing
from aurora_batch.allocation.meter import UNLIMITED, Meter
from aurora_batch.allocation.pricing import Market
from benchmarks import gap_sets, instances
from kernels import repair
from tests.aurora_batch.allocation.problems import problems

WORK = 3_000_000


def shaken(problem: AllocationProblem, jump: int) -> tuple[float, float, float, list[int]]:
    """Value before and after, what is left of the scarcest supply, and the choice."""
    sparse = problem.sparse()
    market, meter = Market(sparse.rows(), sparse.supply), Meter(WORK, 0.0)
    quotes = pricing.find_prices(market, None, meter)
    plan = dual.plan_at(market, quotes, meter)
    before = repair.worth(market.rows, plan)
    plan = finish.shake(market, quotes, plan, meter, seed=0, jump=jump)
    least = min(plan.left.min(initial=0.0), plan.purse.min(initial=0.0))
    return before, repair.worth(market.rows, plan), least, plan.choice.tolist()


@pytest.mark.parametrize("jump", [0, 10])
@settings(max_examples=50, deadline=None)
@given(problem=problems)
def test_tries_never_lose(jump: int, problem: AllocationProblem) -> None:
    """What comes back is feasible and worth no less, also from a jump."""
    before, after, least, _ = shaken(problem, jump)

    assert after >= before - 1e-12 * abs(before)
    assert least >= -1e-6 * (1.0 + np.abs(problem.capacity).max(initial=0.0))


def test_tries_gain_and_repeat() -> None:
    """They improve most small problems, alike each time."""
    gained = 0
    for seed in range(8):
        before, after, *_ = first = shaken(instances.small(seed), 0)
        gained += after > before
        assert shaken(instances.small(seed), 0) == first

    assert gained >= 4


def test_a_search_that_ran_out_of_time_counts_no_nodes() -> None:
    """Not as many as it was allowed, which was all the work that there is."""
    problem, _ = gap_sets.drawn("e", 20, 200, 0)
    sparse = problem.sparse()

    found = exact.best_choice(sparse.rows(), sparse.supply, finish.UNLIMITED_NODES, 1e-3)

    assert found.timed_out
    assert found.nodes == 0


def test_prices_of_many_pairs_are_as_good_as_the_linear_relaxation() -> None:
    """Within 0.1 % of the least bound less what serving everybody is worth, without an LP."""
    problem, cost = gap_sets.drawn("e", 20, 120, 0)
    sparse = problem.sparse()
    market, meter = Market(sparse.rows(), sparse.supply), Meter(UNLIMITED, 0.0, deadline_s=60.0)
    assert market.rows.pool.size > finish.LP_PAIRS

    quotes = finish.tightened(market, pricing.find_prices(market, None, meter), meter)

    prices = market.priceable(exact.lp_prices(market.rows, market.supply))
    least = pricing.quote(market, prices).bound
    assert least - 1e-6 <= quotes.bound <= least + 0.001 * len(cost) * cost.mean()
