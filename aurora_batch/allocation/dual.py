"""Prices first, then a feasible assignment guided by them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.result import Prices
from kernels import prices as kernel
from kernels import repair
from kernels.prices import Leaders, Tenants
from kernels.repair import Plan
from kernels.rows import Columns, Rows, Supply, by_pool

F64 = NDArray[np.float64]

SWEEPS = 60
# Sweeps end when the bound falls by less than this share.
SETTLED = 1e-5
# Cold prices come from a sample first: every eighth request, down to about this many a pool.
SAMPLE_STRIDE = 8
SAMPLE_REQUESTS = 800


@dataclass(frozen=True)
class Market:
    """Usable pairs and what is for sale."""

    rows: Rows
    supply: Supply

    @cached_property
    def columns(self) -> Columns:
        """The pairs by pool."""
        return by_pool(self.rows, self.supply.capacity.size)

    @cached_property
    def tenants(self) -> Tenants:
        """The requests by tenant."""
        return kernel.by_tenant(self.rows.tenant, self.supply.budget.size)

    def priceable(self, prices: Prices) -> Prices:
        """Copy of the prices, 0 where supply is infinite or no pair draws on it."""
        pools = (np.diff(self.columns.start) > 0) & np.isfinite(self.supply.capacity)
        budgets = np.isfinite(self.supply.budget)
        if self.rows.tenant.size:
            owner = self.rows.tenant[np.diff(self.rows.start) > 0]
            budgets &= np.bincount(owner[owner >= 0], minlength=budgets.size) > 0
        return Prices(np.where(pools, prices.pool, 0.0), np.where(budgets, prices.budget, 0.0))

    def sample(self, stride: int) -> "Market":
        """Every `stride`-th request, with its share of the supply."""
        supply = Supply(self.supply.capacity / stride, self.supply.budget / stride)
        return Market(kernel.sample(self.rows, stride), supply)


@dataclass(frozen=True)
class Quotes:
    """Prices of a market and what they prove."""

    prices: Prices
    net: F64  # (p,) value - budget price x cost
    leaders: Leaders
    bound: float


def quote(market: Market, prices: Prices) -> Quotes:
    """Evaluate the dual function at these prices."""
    rows, supply = market.rows, market.supply
    n = rows.start.size - 1
    net = kernel.charge(rows, prices.budget)
    leaders = Leaders(np.empty((n, 2)), np.empty((n, 2), np.int32))
    kernel.lead(rows, net, prices.pool, leaders)
    bound = kernel.dual_value(supply, prices.pool, prices.budget, leaders)
    return Quotes(prices, net, leaders, bound)


def find_prices(market: Market, warm: Prices | None, meter: Meter, sweeps: int = SWEEPS) -> Quotes:
    """Lower the dual function from `warm`, or else from the prices of a sample."""
    n = market.rows.start.size - 1
    if warm is None:
        warm = Prices(np.zeros_like(market.supply.capacity), np.zeros_like(market.supply.budget))
        if n >= SAMPLE_STRIDE * SAMPLE_REQUESTS and not meter.spent():
            warm = find_prices(market.sample(SAMPLE_STRIDE), None, meter, 12).prices
    prices = market.priceable(warm)
    quotes = quote(market, prices)
    meter.used += market.rows.pool.size
    bound = quotes.bound
    for _ in range(sweeps):
        if meter.spent():
            break
        meter.used += _sweep(market, quotes)
        before = bound
        bound = kernel.dual_value(market.supply, prices.pool, prices.budget, quotes.leaders)
        if before - bound <= SETTLED * before:
            break
    return quote(market, prices)


def _sweep(market: Market, quotes: Quotes) -> int:
    rows, supply, prices = market.rows, market.supply, quotes.prices
    visited = kernel.sweep_pools(
        rows, market.columns, quotes.net, supply.capacity, prices.pool, quotes.leaders
    )
    if rows.tenant.size:
        visited += kernel.sweep_budgets(
            rows, market.tenants, quotes.net, supply, prices.pool, prices.budget, quotes.leaders
        )
    return visited


def plan_at(market: Market, quotes: Quotes, meter: Meter) -> Plan:
    """Return an assignment guided by the prices; no refused request still fits."""
    rows, pool = market.rows, quotes.prices.pool
    plan = repair.empty_plan(rows, market.supply)
    meter.used += repair.round_up(rows, quotes.net, pool, quotes.leaders, plan)
    meter.used += repair.fill(rows, pool, plan)
    return plan


def plan_of(market: Market, choice: NDArray[np.int32], quotes: Quotes) -> Plan:
    """Return the assignment of a search, without what exceeds its rounding, and filled up."""
    rows = market.rows
    net = np.full(rows.pool.size, -np.inf)
    net[choice[choice >= 0]] = 0.0
    plan = repair.empty_plan(rows, market.supply)
    repair.place_in_order(rows, net, np.flatnonzero(choice >= 0), plan)
    repair.fill(rows, quotes.prices.pool, plan)
    return plan
