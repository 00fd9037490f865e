"""The smoothed dual function against a loop that takes every exponential, and against the dual."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.rows import Rows, Supply
from kernels.smooth import LEAST, smooth_dual
from tests import naive_allocation as naive
from tests.kernels.allocations import case

F64 = NDArray[np.float64]


class Soft(NamedTuple):
    """A market with floors and infinite supplies, at prices where those have none."""

    rows: Rows
    supply: Supply
    price: F64
    budget_price: F64
    softness: float

    def at(self, prices: F64) -> tuple[float, F64]:
        """Value and slope at other prices of pools and budgets."""
        slope, k = np.full(prices.size, np.nan), self.price.size
        value = smooth_dual(
            self.rows, self.supply, prices[:k].copy(), prices[k:].copy(), self.softness, slope
        )
        return value, slope

    @property
    def prices(self) -> F64:
        """Those of pools, then those of budgets."""
        return np.concatenate([self.price, self.budget_price])

    @property
    def slack(self) -> float:
        """How far smoothing may lift the dual function."""
        bounds = pairwise(self.rows.start.tolist())
        rows = [self.rows.value[low:high] for low, high in bounds if low < high]
        return self.softness * float(sum(r.max() * np.log(r.size + 1) for r in rows))


def soft(seed: int) -> Soft:
    """A random problem, some of its rows empty, some of its supplies without end."""
    rng = np.random.default_rng([seed, 2])
    market = case(seed)
    n = market.rows.start.size - 1
    floor = rng.uniform(0.0, 2.0, n) * (rng.random(n) < rng.choice([0.0, 0.5]))
    supply = Supply(market.supply.capacity.copy(), market.supply.budget.copy())
    prices = market.price.copy(), market.budget_price.copy()
    for units, price in zip(supply, prices, strict=True):
        endless = rng.random(units.size) < rng.choice([0.0, 0.3])
        units[endless], price[endless] = np.inf, 0.0
    softness = float(rng.choice([0.3, 0.03, 0.003]))
    return Soft(market.rows._replace(floor=floor), supply, *prices, softness)


markets = st.integers(0, 2**32 - 1).map(soft)


def size(market: Soft) -> F64:
    """What each slope is a difference of, for its rounding."""
    k = market.price.size
    demand = np.bincount(market.rows.pool, market.rows.demand, minlength=k)
    total = np.concatenate([demand, np.full(market.budget_price.size, market.rows.cost.sum())])
    supply = np.concatenate(market.supply)
    return 1.0 + total + np.where(np.isfinite(supply), supply, 0.0)


@settings(max_examples=150, deadline=None)
@given(market=markets)
def test_value_and_slope_are_the_twins(market: Soft) -> None:
    """With the same cut, the numbers of the loop; empty rows, budgets, endless supplies."""
    value, slope = market.at(market.prices)
    twin, twin_slope = naive.smooth_dual(*market, least=LEAST)

    assert value == pytest.approx(twin, rel=1e-9, abs=1e-9)
    finite = np.isfinite(slope)
    assert np.array_equal(slope[~finite], twin_slope[~finite])
    assert np.all(np.abs(slope[finite] - twin_slope[finite]) <= 1e-9 * size(market)[finite])


@settings(max_examples=150, deadline=None)
@given(market=markets)
def test_the_cut_hardly_matters(market: Soft) -> None:
    """Without any cut, value and slope are the same to 1e-5."""
    value, slope = market.at(market.prices)
    twin, twin_slope = naive.smooth_dual(*market)

    assert abs(value - twin) <= 1e-5 * market.slack + 1e-9 * abs(twin)
    finite = np.isfinite(slope)
    assert np.all(np.abs(slope[finite] - twin_slope[finite]) <= 1e-5 * size(market)[finite])


@pytest.mark.parametrize("worth", [1e-290, 1e-307, 5e-324])
def test_a_request_of_next_to_no_value_spoils_nothing(worth: float) -> None:
    """Whatever its priority: value and slope are those of the others."""
    rows = Rows(
        start=np.array([0, 1, 2, 3]),
        pair=np.arange(3, dtype=np.int32),
        pool=np.zeros(3, np.int32),
        value=np.array([3.0, worth, 2.0]),
        demand=np.ones(3),
        cost=np.zeros(0),
        tenant=np.zeros(0, np.int32),
        floor=np.zeros(3),
    )
    market = Soft(rows, Supply(np.array([1.5]), np.zeros(0)), np.array([0.1]), np.zeros(0), 0.003)
    value, slope = market.at(market.prices)

    assert value == pytest.approx(0.15 + 2.9 + 1.9, abs=1e-5)
    assert slope == pytest.approx(np.array([1.5 - 2.0]), abs=1e-5)


@settings(max_examples=150, deadline=None)
@given(market=markets)
def test_it_lies_just_above_the_dual_function(market: Soft) -> None:
    """Never below, and above by softness x best value x log(pairs + 1) of each request at most."""
    value, _ = market.at(market.prices)
    dual = naive.dual_value(market.rows, market.supply, market.price, market.budget_price)

    rounding = 1e-9 * (1.0 + abs(dual))
    assert dual - rounding <= value <= dual + market.slack + rounding


@settings(max_examples=150, deadline=None)
@given(market=markets, step=st.sampled_from([1e-3, 0.1, 1.0]))
def test_differences_lie_between_the_slopes(market: Soft, step: float) -> None:
    """As the function is convex, it rises along a price by what the slopes at both ends say."""
    value, slope = market.at(market.prices)
    for x in np.flatnonzero(np.isfinite(slope)):
        moved = market.prices
        moved[x] += step
        risen, after = market.at(moved)
        rounding = 1e-9 * (1.0 + abs(risen)) + 1e-5 * (market.slack + step * size(market)[x])

        assert slope[x] * step - rounding <= risen - value <= after[x] * step + rounding


def test_slope_is_the_finite_difference() -> None:
    """Two offers alike and one refusal: shares, and so the slope, by hand and by differences."""
    rows = Rows(
        np.array([0, 2]), np.arange(2, dtype=np.int32), np.array([0, 1], np.int32), np.ones(2),
        np.array([1.0, 2.0]), np.zeros(0), np.zeros(0, np.int32), np.zeros(1),
    )  # fmt: skip
    supply = Supply(np.array([3.0, 4.0]), np.zeros(0))
    prices = np.array([0.4, 0.2])  # of both, 0.6 of a value of 1 is left
    market = Soft(rows, supply, prices, np.zeros(0), 0.5)
    value, slope = market.at(prices)
    whole = 2 * np.exp(1.2) + 1
    share = np.exp(1.2) / whole

    assert value == pytest.approx(0.4 * 3 + 0.2 * 4 + 0.5 * np.log(whole))
    assert slope == pytest.approx([3.0 - share, 4.0 - 2 * share])
    for x in range(2):
        step = 1e-6 * (np.arange(2) == x)
        ahead, behind = market.at(prices + step)[0], market.at(prices - step)[0]
        assert (ahead - behind) / 2e-6 == pytest.approx(slope[x], rel=1e-6)


def test_without_pairs_only_prices_and_floors_count() -> None:
    """No requests, or none that any offer suits: supply at its price, and the floors."""
    nothing = np.zeros(0, np.int32)
    for floor in (np.zeros(0), np.array([0.0, 1.5])):
        start = np.zeros(floor.size + 1, np.int64)
        rows = Rows(start, nothing, nothing, *[np.zeros(0)] * 3, nothing, floor)
        supply = Supply(np.array([2.0, np.inf]), np.array([5.0]))
        market = Soft(rows, supply, np.zeros(2), np.zeros(1), 0.03)
        value, slope = market.at(np.array([3.0, 0.0, 0.5]))

        assert value == 6.0 + 2.5 + floor.sum()
        assert slope.tolist() == [2.0, np.inf, 5.0]
