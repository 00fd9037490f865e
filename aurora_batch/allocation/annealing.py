"""Annealings of small markets, among the pairs that lose little at the prices."""

import numpy as np

from aurora_batch.allocation import dual
from aurora_batch.allocation.core import Part
from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from kernels import anneal as kernel
from kernels import overbook as overbook_kernel
from kernels import prices as kernel_prices
from kernels.repair import Plan

# Of an annealing: heats, as a part of the mean value, and work at each.
HEATS = np.geomspace(0.07, 0.0035, 24)
HEAT_WORK = 50_000
# Of an annealing that may overbook: share of the gap that its pairs may lose; first and last heat,
# as a part of the mean value; and what each overbooked pool or budget costs, in heats.
OVERBOOKINGS = ((0.6, 0.06, 0.03, 5.0), (0.3, 0.06, 0.015, 4.0))
COOLINGS = 40  # heats of one
OVERBOOKED_SHARE = 0.25  # of the work that is likely left, for one
LEAST_OVERBOOKED = 4_000_000
# What a unit beyond costs, in prices, and the least of a price there, in mean prices of pools.
EXCESS, LEAST_POOL, LEAST_BUDGET = 1.2, 0.3, 0.1


def anneal(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int, share: float, credit: float
) -> Plan:
    """Return the best plan of an annealing among the pairs that lose at most `share` of the gap.

    Room is charged `credit` times its price.
    """
    part = Part(market, quotes, plan, share)
    if part.empty:
        return plan
    rows = part.market.rows
    fee = kernel_prices.charge(rows, quotes.prices.budget)
    fee -= quotes.prices.pool[rows.pool] * rows.demand
    net = (1.0 - credit) * rows.value + credit * fee
    best, behind = part.start.choice.copy(), 0.0
    state = np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64)
    log = kernel.new_log()
    for heat in HEATS * market.rows.value.mean():
        if meter.spent():
            break
        _, behind, work = kernel.anneal(
            rows, net, part.start, best, behind, heat, min(HEAT_WORK, meter.left), state, log
        )
        meter.count(work)
    return part.better(best)


def overbook(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int, share: float,
    hot: float, cold: float, fee: float,
) -> Plan:  # fmt: skip
    """Return the best plan of an annealing that may overbook pools and budgets for a charge.

    Its length is a part of what work is likely left, by the deadline and no clock.
    """
    part = Part(market, quotes, plan, share)
    if part.empty:
        return plan
    pool, budget = quotes.prices
    mean = pool[pool > 0].mean() if pool.any() else 1.0
    charge = EXCESS * np.concatenate(
        [np.maximum(pool, LEAST_POOL * mean), np.maximum(budget, LEAST_BUDGET * mean)]
    )
    choice, best = part.start.choice.copy(), part.start.choice.copy()
    state = np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64)
    length = max(int(OVERBOOKED_SHARE * meter.likely), LEAST_OVERBOOKED) // COOLINGS
    for heat in np.geomspace(hot, cold, COOLINGS) * market.rows.value.mean():
        end = meter.used + length
        while meter.used < end and not meter.spent():
            _, work = overbook_kernel.anneal(
                part.market.rows, part.market.supply, charge, fee * heat, choice, best, heat,
                min(dual.SHAKE_CHUNK, meter.left), state,
            )  # fmt: skip
            meter.count(work)
    return part.better(best)
