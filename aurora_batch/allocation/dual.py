"""Prices first, then a feasible assignment guided by them, then improvement."""

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from kernels import improve as kernel
from kernels import repair
from kernels.improve import Resources
from kernels.repair import Plan

F64 = NDArray[np.float64]

# Rounds of improvement: credit for freed room, and resources in a chain.
ROUNDS = ((0.0, 1), (0.8, 2), (0.9, 4), (0.95, 8), (1.0, 5), (0.6, 3))
DEPTH = 8
# Once they are through, prices are disturbed (lognormal), so that other moves come close.
NOISE = (0.02, 0.1, 0.3, 0.05, 0.2)
PATIENCE = 12  # rounds without gain
LEAST_GAIN = 1e-9  # of the bound, per round and per chain
CHUNK = 200_000  # pairs visited between two looks at the clock, about 2 ms

# Random tries are for small markets: pairs forced at a time, and the share of the gap that may be
# lost for a while.
SHAKEN_PAIRS = 20_000
KICKS = 2
DROP = 0.3
SHAKE_CHAIN = 64
SHAKE_CHUNK = 50_000  # work between two looks at the clock, about 1 ms


def plan_at(market: Market, quotes: Quotes, meter: Meter) -> Plan:
    """Return an assignment guided by the prices; no refused request still fits."""
    rows, pool = market.rows, quotes.prices.pool
    plan = repair.empty_plan(rows, market.supply)
    meter.count(repair.round_up(rows, quotes.net, pool, quotes.leaders, plan))
    meter.count(repair.fill(rows, pool, plan))
    return plan


def improve(market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int) -> None:
    """Improve `plan` in place until no round gains, or the target, work or time is reached."""
    rows, random = market.rows, np.random.default_rng(seed)
    prices = np.concatenate(quotes.prices)
    scratch = kernel.new_scratch(Resources(market.columns, market.tenants, prices), DEPTH)
    least = LEAST_GAIN * quotes.bound
    value, idle, turn = repair.worth(rows, plan), 0, 0
    while idle < PATIENCE and not meter.done(value, quotes.bound):
        credit, depth = ROUNDS[turn % len(ROUNDS)]
        seen = prices
        if turn >= len(ROUNDS):
            seen = prices * random.lognormal(0.0, NOISE[turn % len(NOISE)], prices.size)
        resources = Resources(market.columns, market.tenants, seen)
        order, at, before = _most_idle_first(prices, plan), 0, value
        while at < order.size and not meter.done(value, quotes.bound):
            limit = min(CHUNK, meter.left)
            at, gained, visited = kernel.improve(
                rows, resources, plan, order, at, credit, depth, least, limit, scratch
            )
            value += gained
            meter.count(visited)
        idle = 0 if value - before > least else idle + 1
        turn += 1
    meter.count(repair.fill(rows, quotes.prices.pool, plan))


def _most_idle_first(prices: F64, plan: Plan) -> NDArray[np.int64]:
    """Resources by what their unused part is worth."""
    left = np.concatenate([plan.left, plan.purse])
    room = np.multiply(prices, left, out=np.zeros_like(left), where=prices > 0)
    return np.argsort(-room, kind="stable")


def shake(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int, patience: float,
    drop: float = DROP, jump: int = 0, elsewhere: float = 0.0,
) -> Plan:  # fmt: skip
    """Return the best plan of random tries, until `patience` work brought no gain.

    `drop` is the share of the gap that may be lost for a while. With a `jump` of some pairs, forced
    before the first try, what is found may be worth less than `plan`. `elsewhere` is the value of
    requests that are left out here and counted in the bound.
    """
    rows = market.rows
    resources = Resources(market.columns, market.tenants, np.concatenate(quotes.prices))
    scratch = kernel.new_scratch(resources, SHAKE_CHAIN)
    state = np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64)
    if jump:
        kernel.shake(
            rows, resources, plan, plan.choice.copy(), -np.inf, jump, np.inf, 1, state, scratch
        )
    best, behind, value = plan.choice.copy(), 0.0, repair.worth(rows, plan) + elsewhere
    idle = 0
    while idle < patience and not meter.done(value, quotes.bound):
        risen, behind, work = kernel.shake(
            rows, resources, plan, best, behind, KICKS, drop * (quotes.bound - value),
            min(SHAKE_CHUNK, meter.left), state, scratch,
        )  # fmt: skip
        meter.count(work)
        value += risen
        idle = 0 if risen > 0 else idle + work
    return plan_of(market, best, quotes)


def plan_of(market: Market, choice: NDArray[np.int32], quotes: Quotes) -> Plan:
    """Return the assignment of a search, without what exceeds its rounding, and filled up."""
    rows = market.rows
    net = np.full(rows.pool.size, -np.inf)
    net[choice[choice >= 0]] = 0.0
    plan = repair.empty_plan(rows, market.supply)
    repair.place_in_order(rows, net, np.flatnonzero(choice >= 0), plan)
    repair.fill(rows, quotes.prices.pool, plan)
    return plan
