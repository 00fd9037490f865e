"""Prices of pools and budgets: a market, what prices prove about it, and how to find good ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.result import Prices
from kernels import prices as kernel
from kernels import smooth
from kernels.prices import Leaders, Tenants
from kernels.rows import Columns, Rows, Supply, by_pool

F64 = NDArray[np.float64]

# Sweeps over all prices at most, and the share by which two of them must lower the bound to go on.
SWEEPS = 100
SETTLED = 2e-5
# The same where little work is left, less than this many visits of each pair.
HURRIED = 1e-3
HURRY = 20
# How far a price moves, as a multiple of the way to its own minimum. Found best on markets of 7 to
# 64 pools: 1.0 needs three times as many sweeps and can stall, 1.8 does not settle.
RELAX = 1.5
WARM_REACH = 0.1  # share of a warm price around which its minimum is looked for first
# Visits of each pair after which single prices that still move are as good as stuck.
MOST_VISITS = 24
# Then all move together: softness, a part of a request's best value, and rounds; less where prices
# are solved again and again, each time from the last.
SCHEDULE = ((0.03, 24), (0.003, 24))
WARM_SCHEDULE = ((0.02, 30),)
LOOK_PAIRS = 200_000  # visited between two looks at the clock, about 3 ms
# Where rows are wide, prices are found on the best pairs of a part of the requests, then on those
# of all requests at these prices.
TRIM_PAIRS = 1_000_000
TRIM_WIDTH = 12
TRIM_EVERY = 4
TRIM_SWEEPS = 5


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
        pools = kernel.drawn_on(self.rows, self.supply.capacity.size)
        pools &= np.isfinite(self.supply.capacity)
        budgets = np.isfinite(self.supply.budget)
        if self.rows.tenant.size:
            owner = self.rows.tenant[np.diff(self.rows.start) > 0]
            budgets &= np.bincount(owner[owner >= 0], minlength=budgets.size) > 0
        return Prices(np.where(pools, prices.pool, 0.0), np.where(budgets, prices.budget, 0.0))

    def trimmed(self, prices: Prices, every: int = 1) -> "Market":
        """The best pairs at these prices of each `every`-th request, and its part of the supply.

        `pair` is the position in these rows.
        """
        rows = kernel.trim(self.rows, prices.budget, prices.pool, TRIM_WIDTH, every)
        return Market(rows, Supply(self.supply.capacity / every, self.supply.budget / every))

    @property
    def wide(self) -> bool:
        """Whether most pairs can be left out for a while."""
        pairs, requests = self.rows.pool.size, self.rows.start.size - 1
        return pairs > TRIM_PAIRS and pairs > 2 * TRIM_WIDTH * requests


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
    """Lower the dual function from `warm`, or else from where all pools clear as one."""
    quotes = quote(market, market.priceable(_level(market) if warm is None else warm))
    meter.count(market.rows.pool.size)
    prices, best = quotes.prices, Prices(quotes.prices.pool.copy(), quotes.prices.budget.copy())
    reach = np.full(prices.pool.size, np.inf) if warm is None else WARM_REACH * prices.pool
    bounds = [quotes.bound]
    settled = SETTLED if meter.likely > HURRY * market.rows.pool.size else HURRIED
    most = meter.used + MOST_VISITS * market.rows.pool.size
    for _ in range(sweeps):
        slow = len(bounds) > 2 and bounds[-3] - min(bounds[-2:]) < settled * bounds[-1]
        if slow or meter.used > most or meter.spent():
            break
        meter.count(_sweep(market, quotes, reach))
        bound = kernel.dual_value(market.supply, prices.pool, prices.budget, quotes.leaders)
        if bound < min(bounds):
            best.pool[:], best.budget[:] = prices
        bounds.append(bound)
    if bounds[-1] == min(bounds):
        return Quotes(prices, quotes.net, quotes.leaders, bounds[-1])
    return quote(market, best)


def unstick(market: Market, start: Prices | None, meter: Meter) -> tuple[Quotes, Quotes]:
    """Lower the dual function where no single price can, because many requests are alike.

    Returns the quotes of prices that moved together, and those of single steps from there.
    """
    prices = move_together(market, start, meter)
    return quote(market, prices), find_prices(market, prices, meter)


def move_together(
    market: Market,
    start: Prices | None,
    meter: Meter,
    schedule: Sequence[tuple[float, int]] = SCHEDULE,
) -> Prices:
    """Lower a smoothed dual function, from `start` or else from where all pools clear as one."""
    rows, supply = market.rows, market.supply
    k, prices = supply.capacity.size, market.priceable(_level(market) if start is None else start)
    pause = max(1, LOOK_PAIRS // max(rows.pool.size, 1))
    for softness, rounds in schedule:
        if meter.late():
            break
        way = smooth.begin(rows, supply, np.concatenate(prices), softness)
        while not smooth.advance(rows, supply, way, softness, rounds, pause) and not meter.late():
            pass
        meter.count(int(way.figures[3]) * rows.pool.size)
        found = way.best * way.unit
        prices = market.priceable(Prices(found[:k].copy(), found[k:].copy()))
    return prices


def _level(market: Market) -> Prices:
    level = kernel.level(market.rows, market.rows.value, market.supply.capacity)
    return Prices(np.full_like(market.supply.capacity, level), np.zeros_like(market.supply.budget))


def trim(market: Market, warm: Prices | None, meter: Meter) -> tuple[Market, Prices]:
    """Return the pairs of a wide market that matter, and prices at which they do."""
    prices = market.priceable(_level(market) if warm is None else warm)
    meter.count(market.rows.pool.size // TRIM_EVERY)
    part = market.trimmed(prices, TRIM_EVERY)
    prices = find_prices(part, prices, meter, TRIM_SWEEPS).prices
    meter.count(market.rows.pool.size)
    return market.trimmed(prices), prices


def _sweep(market: Market, quotes: Quotes, reach: F64) -> int:
    rows, supply, prices = market.rows, market.supply, quotes.prices
    visited = kernel.sweep_pools(
        rows, market.columns, quotes.net, supply.capacity, prices.pool, reach, RELAX, quotes.leaders
    )
    if rows.tenant.size:
        visited += kernel.sweep_budgets(
            rows, market.tenants, quotes.net, supply, prices.pool, prices.budget, quotes.leaders
        )
    return visited
