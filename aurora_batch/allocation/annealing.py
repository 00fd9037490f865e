"""Annealings of small markets, among the pairs that lose little at the prices."""

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import dual
from aurora_batch.allocation.core import Part
from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from aurora_batch.allocation.result import Prices
from kernels import anneal as kernel
from kernels.repair import Plan

# Of an annealing: share of the gap that its pairs may lose; first and last heat, in standard
# deviations of the values; and what each overbooked pool or budget costs, in heats. The hot one
# finds what few assignments come near to, the cool one the best of many.
WAYS = ((0.6, 0.3, 0.15, 5.0), (0.3, 0.3, 0.075, 4.0))
LEAST_SPREAD = 0.01  # of the mean value: a deviation to heat by where values are alike
HEATS = 40
WORK_SHARE, LEAST_WORK = 0.25, 4_000_000  # of the work that is likely left, for one
# What a unit beyond costs, in prices, and the least of a price there: a part of what a unit of
# demand or a USD is worth on average.
EXCESS, LEAST_POOL, LEAST_BUDGET = 1.2, 0.3, 0.1


def anneal(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int, share: float,
    hot: float, cold: float, fee: float,
) -> Plan:  # fmt: skip
    """Return the best plan of an annealing that may overbook pools and budgets for a charge.

    Its length is a part of what work is likely left, by the deadline and no clock.
    """
    part = Part(market, quotes, plan, share)
    if part.empty:
        return plan
    rows, charge = part.market.rows, _charges(market, quotes.prices)
    choice, best = part.start.choice.copy(), part.start.choice.copy()
    state = np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64)
    length = max(int(WORK_SHARE * meter.likely), LEAST_WORK) // HEATS
    spread = max(market.rows.value.std(), LEAST_SPREAD * market.rows.value.mean())
    for heat in spread * np.geomspace(hot, cold, HEATS):
        end = meter.used + length
        while meter.used < end and not meter.spent():
            _, work = kernel.anneal(
                rows, part.market.supply, charge, fee * heat, choice, best, heat,
                min(dual.SHAKE_CHUNK, meter.left), state,
            )  # fmt: skip
            meter.count(work)
    return part.better(best)


def _charges(market: Market, prices: Prices) -> NDArray[np.float64]:
    """Value that a unit beyond each pool and budget costs, (k + t,)."""
    rows = market.rows
    worth, spent = rows.value.sum(), rows.cost.sum()
    pool = np.maximum(prices.pool, LEAST_POOL * worth / rows.demand.sum())
    budget = np.maximum(prices.budget, LEAST_BUDGET * worth / spent if spent > 0 else 0.0)
    return EXCESS * np.concatenate([pool, budget])
