"""Prices where many requests are alike, so that no single one can fall."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings

from aurora_batch.allocation import (
    AllocationProblem,
    Prices,
    SparseProblem,
    check,
    exact,
    find_prices,
    pricing,
    solve,
)
from aurora_batch.allocation.meter import PER_S, UNLIMITED, Meter
from aurora_batch.allocation.pricing import Market, quote
from aurora_batch.hindsight import Piece
from benchmarks import instances
from benchmarks.horizons import horizon
from kernels import smooth
from tests.aurora_batch.allocation.problems import problems

WORK = 20_000_000


@cache
def stuck(n: int) -> SparseProblem:
    """The first n requests of a steady log, and their part of the capacity of its window."""
    log = horizon("steady", 1.2, 64, 0)
    problem = Piece.of(log.requests.slice(0, n), log.fleet, log.settings).task.problem
    return replace(problem, capacity=problem.capacity * (n / 10_000))


def market_of(problem: SparseProblem | AllocationProblem) -> Market:
    """The usable pairs."""
    sparse = problem.sparse()
    return Market(sparse.rows(), sparse.supply)


def bound(market: Market, prices: Prices) -> float:
    """What prices prove."""
    return quote(market, market.priceable(prices)).bound


def least_bound(market: Market) -> float:
    """The least that any prices prove, by SciPy's LP."""
    return bound(market, exact.lp_prices(market.rows, market.supply))


def test_prices_that_move_together_leave_where_single_ones_are_stuck() -> None:
    """The bound of single steps is 2 % too high, and that of the way around it is not."""
    market = market_of(stuck(3_000))
    alone = pricing.find_prices(market, None, Meter(WORK, 0.0))
    meter = Meter(WORK, 0.0)
    together, then = pricing.unstick(market, None, meter)

    assert min(together.bound, then.bound) < 0.98 * alone.bound
    assert 0 < meter.used < WORK
    for quotes in (together, then):
        assert quotes.bound == pytest.approx(quote(market, quotes.prices).bound, rel=1e-12)


def test_a_solve_gets_past_prices_that_are_stuck() -> None:
    """3,000 requests, much alike, are within 1 % of their bound, and the checker agrees."""
    problem = stuck(3_000)
    allocation = solve(problem, work=WORK)

    assert check(problem, allocation).gap < 0.01


def test_the_bound_of_a_stuck_problem_is_nearly_the_least() -> None:
    """No prices prove a bound more than 0.2 % lower, as SciPy's LP tells."""
    problem = stuck(1_000)
    least = least_bound(market_of(problem))

    assert least * (1 - 1e-9) <= solve(problem, method="dual", work=WORK).bound <= least * 1.002


@pytest.mark.parametrize("name", ["stuck", "degenerate", "granular", "tenants"])
def test_prices_alone_are_good_to_a_per_cent(name: str) -> None:
    """`find_prices`, cold and warm, proves a bound near what a long solve proves."""
    problem = stuck(1_000) if name == "stuck" else instances.NAMED[name](1, 0)
    market = market_of(problem)
    solved = solve(problem, method="dual", work=WORK)
    cold = find_prices(problem)
    warm = find_prices(problem, Prices(cold.pool * 1.1, cold.budget * 1.1))

    assert bound(market, cold) <= solved.bound * 1.01
    assert bound(market, warm) <= solved.bound * 1.015


@settings(max_examples=20, deadline=None)
@given(problem=problems)
def test_prices_that_moved_together_prove_a_bound(problem: AllocationProblem) -> None:
    """On any problem: no less than an allocation is worth, none below 0, endless supply is free."""
    endless = replace(problem, capacity=np.where(problem.capacity > 3, np.inf, problem.capacity))
    for case in (problem, endless):
        market, prices = market_of(case), find_prices(case)
        allocation = solve(case, method="dual")

        assert bound(market, prices) >= allocation.value * (1 - 1e-9)
        assert all(np.all((units >= 0) & np.isfinite(units)) for units in prices)
        assert not prices.pool[~np.isfinite(case.capacity)].any()


def test_prices_alone_are_repeatable() -> None:
    """The same problem has the same prices, bit for bit, and no clock ends the search."""
    first, again = find_prices(stuck(1_000)), find_prices(stuck(1_000))

    assert [x.tobytes() for x in first] == [x.tobytes() for x in again]
    assert Meter(UNLIMITED, 0.0).left > WORK


@pytest.mark.parametrize("times", [0.0, 1e-3, 1e3, 1e9])
def test_prices_far_off_come_back(times: float) -> None:
    """Nobody pays more than its value, so prices that are far too high are no way to start."""
    problem = stuck(1_000)
    cold = find_prices(problem)
    found = find_prices(problem, Prices(cold.pool * times, cold.budget * times))
    market = market_of(problem)

    assert bound(market, found) <= 1.1 * bound(market, cold)


@pytest.mark.parametrize("deadline_s", [0.0, 0.004, 0.008, 0.02])
def test_a_deadline_among_stuck_prices_can_be_repeated(deadline_s: float) -> None:
    """Wherever the clock ends prices that move together, the units done lead there again."""
    problem = stuck(1_000)
    struck = solve(problem, method="dual", work=1 << 40, deadline_s=deadline_s)
    stop_at = struck.work if struck.status == "deadline" else None  # a fast machine may be through
    again = solve(problem, method="dual", work=1 << 40, stop_at=stop_at)

    assert deadline_s > 0 or struck.status == "deadline"
    assert again.work == struck.work
    assert again.assignment.tobytes() == struck.assignment.tobytes()
    assert again.pool_prices.tobytes() == struck.pool_prices.tobytes()


@pytest.mark.parametrize("pause", [1, 3, 1_000])
def test_pauses_change_nothing_about_a_descent(pause: int) -> None:
    """A descent that is looked at often ends where one that nobody looks at does."""
    market = market_of(stuck(1_000))
    start = np.ones(market.supply.capacity.size + market.supply.budget.size)
    ends = []
    for rest in (pause, 1 << 30):
        way = smooth.begin(market.rows, market.supply, start, 0.01)
        while not smooth.advance(market.rows, market.supply, way, 0.01, 20, rest):
            pass
        ends.append(way.best.tobytes())

    assert ends[0] == ends[1]


def test_what_a_deadline_holds_is_no_more_than_what_work_allows() -> None:
    """Prices are settled as closely as there is time for, whichever limit there is."""
    assert Meter(1_000, 0.0).likely == 1_000
    assert Meter(1_000, 0.0, deadline_s=1.0).likely == 1_000
    timed = Meter(UNLIMITED, 0.0, deadline_s=0.01)
    assert timed.likely == PER_S // 100
    timed.count(PER_S)
    assert timed.likely == 0
