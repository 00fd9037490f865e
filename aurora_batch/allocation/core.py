"""What prices leave open: the requests and pairs that a better allocation may change.

A pair whose net is more than (bound - value) short of its request's best is in no better
allocation, because what it loses at the prices is at least what the whole would lose.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import dual
from aurora_batch.allocation.pricing import Market, Quotes
from kernels import repair
from kernels.repair import Plan
from kernels.rows import Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

# Values are round if they are whole numbers of this part of 1, as closely. Sums are rounded too:
# a step counts this much less.
FINEST, ROUND, STEP_SLACK = 1_000, 1e-9, 1e-3


class Core(NamedTuple):
    """What is open, and what is decided already."""

    rows: Rows  # requests with an open pair
    supply: Supply  # what the decided requests leave
    request: NDArray[np.int64]  # of each row
    decided: I32  # (n,) pair of each decided request, -1: open or refused

    def inside(self, choice: I32, pairs: int) -> I32:
        """Choice of the open requests, positions in the core's rows, of one in all `pairs`."""
        position = np.full(pairs + 1, -1, np.int32)  # the last is that of a refusal
        position[self.rows.pair] = np.arange(self.rows.pair.size, dtype=np.int32)
        return position[choice[self.request]]

    def whole(self, choice: I32) -> I32:
        """Choice of all requests, where the open ones have `choice`."""
        joined = self.decided.copy()
        served = choice >= 0
        joined[self.request[served]] = self.rows.pair[choice[served]]
        return joined


class Part:
    """What is open as a market of its own, and a plan's part in it."""

    def __init__(self, market: Market, quotes: Quotes, plan: Plan, share: float = 1.0) -> None:
        rows = market.rows
        self._market, self._quotes, self._plan = market, quotes, plan
        self._value = repair.worth(rows, plan)
        self._core = core = core_of(market, quotes, share * gap_of(market, quotes, self._value))
        self.empty = not core.rows.pool.size
        self.market = Market(core.rows, core.supply)
        self.start = dual.plan_of(self.market, core.inside(plan.choice, rows.pool.size), quotes)
        self.elsewhere = float(rows.value[core.decided[core.decided >= 0]].sum())

    def plan_of(self, choice: I32) -> Plan:
        """Return the whole with this choice of the open requests."""
        return dual.plan_of(self._market, self._core.whole(choice), self._quotes)

    def better(self, choice: I32) -> Plan:
        """Return the whole with this choice of the open requests, or the plan if that is better."""
        other = self.plan_of(choice)
        return other if repair.worth(self._market.rows, other) > self._value else self._plan


def gap_of(market: Market, quotes: Quotes, value: float) -> float:
    """What a better plan may lose at the prices: the gap, less what it is better by at least.

    That is something where all values are multiples of one number, such as quarters.
    """
    parts = market.rows.value * FINEST
    whole = np.rint(parts)
    step = 0.0
    if parts.size and (np.abs(parts - whole) < ROUND).all():
        step = float(np.gcd.reduce(whole.astype(np.int64))) / FINEST
    return max(quotes.bound - value - (1.0 - STEP_SLACK) * step, 0.0)


def core_of(market: Market, quotes: Quotes, slack: float) -> Core:
    """Split requests into open and decided."""
    rows, supply = market.rows, market.supply
    n = rows.start.size - 1
    request = np.repeat(np.arange(n), np.diff(rows.start))
    net = quotes.net - quotes.prices.pool[rows.pool] * rows.demand
    best = quotes.leaders.net[:, 0]
    slack += 1e-9 * quotes.bound  # rounding
    kept = np.flatnonzero(best[request] - net <= slack)
    count = np.bincount(request[kept], minlength=n)
    served = best - rows.floor > slack  # cannot be refused in a better allocation
    alone = (count == 1) & served
    decided = np.full(n, -1, np.int32)
    sure = kept[alone[request[kept]]]
    decided[request[sure]] = sure
    kept = kept[~alone[request[kept]]]
    open_requests = np.flatnonzero((count > 0) & ~alone)
    return Core(
        subset(rows, kept, request[kept], open_requests),
        left_by(rows, supply, request, sure),
        open_requests,
        decided,
    )


def subset(
    rows: Rows, kept: NDArray[np.int64], request: NDArray[np.int64], chosen: NDArray[np.int64]
) -> Rows:
    """Rows of the requests `chosen` with the pairs `kept`; `pair` is the position in `rows`."""
    start = np.zeros(chosen.size + 1, np.int64)
    np.cumsum(np.bincount(request, minlength=rows.start.size - 1)[chosen], out=start[1:])
    return Rows(
        start=start,
        pair=kept.astype(np.int32),
        pool=rows.pool[kept],
        value=rows.value[kept],
        demand=rows.demand[kept],
        cost=rows.cost[kept] if rows.tenant.size else rows.cost,
        tenant=rows.tenant[chosen] if rows.tenant.size else rows.tenant,
        floor=rows.floor[chosen],
    )


def left_by(
    rows: Rows, supply: Supply, request: NDArray[np.int64], sure: NDArray[np.int64]
) -> Supply:
    """Supply without what the pairs `sure` take."""
    used = np.bincount(rows.pool[sure], rows.demand[sure], minlength=supply.capacity.size)
    capacity, budget = np.maximum(supply.capacity - used, 0.0), supply.budget
    if rows.tenant.size:
        owner = rows.tenant[request[sure]]
        mine = owner >= 0
        spent = np.bincount(owner[mine], rows.cost[sure][mine], minlength=budget.size)
        budget = np.maximum(budget - spent, 0.0)
    return Supply(capacity, budget)
