"""Annealings of small markets, among the pairs that lose little at the prices."""

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import dual
from aurora_batch.allocation.core import Part, gap_of
from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from aurora_batch.allocation.result import Prices
from kernels import anneal as kernel
from kernels import repair
from kernels.repair import Plan

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

# Of an annealing: how its measure mixes what another pair loses with what the gap is by request
# (exponent of the second); then in that measure what its pairs may lose at most, and first and last
# heat. Where pools hold few requests the first tells how hot is hot enough, else the second.
WAYS = ((1.0, 5.0, 1.5, 0.15), (0.5, 7.0, 1.0, 0.1), (0.0, 10.0, 1.0, 0.1))
SHARE = 0.3  # of the gap that its pairs may lose at most
# What each overbooked pool or budget costs, in heats. That and a charge little above the price let
# a pool be overbooked by any amount, but few at a time.
FEE = 6.0
HEATS = 40
MOST_PAIRS = 200_000  # of a market that tries are made in until a deadline
WORK_SHARE, LEAST_WORK = 0.35, 4_000_000  # of the work that is likely left, for one
# What a unit beyond costs first and last, in prices: little, so that much is crossed, then so much
# that nothing stays overbooked. The least price is a part of the mean, or of what another pair
# loses for a mean demand or cost.
EXCESS, LEAST = (1.03, 1.2), 0.3
NO_LOSS = 1e-9  # of the bound: rounding


def anneal(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int,
    mix: float, reach: float, hot: float, cold: float,
) -> Plan:  # fmt: skip
    """Return the best plan of an annealing that may overbook pools and budgets for a charge.

    Its length is a part of what work is likely left, by the deadline and no clock.
    """
    gap = gap_of(market, quotes, repair.worth(market.rows, plan))
    if gap <= 0.0 or meter.spent():
        return plan
    spread = loss_of_another(market, quotes)
    measure = spread ** (1.0 - mix) * (gap / plan.choice.size) ** mix
    part = Part(market, quotes, plan, min(SHARE, reach * measure / gap))
    if part.empty:
        return plan
    best = cooled(
        part, charges(market, quotes.prices, spread), part.start.choice,
        measure * np.geomspace(hot, cold, HEATS), FEE,
        max(int(WORK_SHARE * meter.likely), LEAST_WORK) // HEATS, dual.SHAKE_CHUNK, meter, seed,
    )  # fmt: skip
    return part.better(best)


def cooled(
    part: Part, charge: F64, start: I32, heats: F64, fee: float, length: int, chunk: int,
    meter: Meter, seed: int,
) -> I32:  # fmt: skip
    """Return the best choice of pairs found from `start`, (n,), at one heat after the other.

    Parameters
    ----------
    charge
        Of a unit overbooked, (k + t,), as `charges` has it; it grows by `EXCESS`.
    fee
        Of each overbooked pool or budget, in heats.
    length, chunk
        Work at each heat, and between two looks whether to stop.
    """
    choice, best = start.copy(), start.copy()
    state = np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64)
    for heat, excess in zip(heats, np.geomspace(*EXCESS, heats.size), strict=True):
        end = meter.used + length
        while meter.used < end and not meter.spent():
            _, work = kernel.anneal(
                part.market.rows, part.market.supply, excess * charge, fee * heat, choice, best,
                heat, min(chunk, meter.left), state,
            )  # fmt: skip
            meter.count(work)
    return best


def loss_of_another(market: Market, quotes: Quotes) -> float:
    """What requests lose at the prices by another pair than their best: as many pairs lose less.

    Values themselves say nothing of it: what is added to all values of a request matters to no
    choice between its pairs.
    """
    rows = market.rows
    count = np.diff(rows.start)
    net = quotes.net - quotes.prices.pool[rows.pool] * rows.demand
    loss = np.repeat(quotes.leaders.net[:, 0], count) - net
    loss = np.sort(loss[loss > NO_LOSS * quotes.bound])
    spread = float(rows.value.std())
    if loss.size:
        spread = min(spread, float(loss[min(int(np.count_nonzero(count)), loss.size - 1)]))
    return max(spread, NO_LOSS * quotes.bound)


def charges(market: Market, prices: Prices, spread: float) -> F64:
    """Value of a unit of each pool and budget, of those that cost nothing too, (k + t,)."""
    rows, supply = market.rows, market.supply
    pool = _at_least(prices.pool, supply.capacity, spread / rows.demand.mean())
    spent = float(rows.cost.mean()) if rows.cost.size else 0.0
    budget = _at_least(prices.budget, supply.budget, spread / spent if spent > 0 else 0.0)
    return np.concatenate([pool, budget])


def _at_least(price: F64, units: F64, least: float) -> F64:
    limited = np.where(np.isfinite(units), units, 0.0)
    mean = float(price @ limited) / float(limited.sum()) if limited.sum() > 0 else 0.0
    return np.maximum(price, LEAST * max(mean, least))
