"""The finish: random tries and an exact search over the few requests that prices leave open.

A pair whose net is more than (bound - value) short of its request's best is in no better
allocation, because what it loses at the prices is at least what the whole would lose. So tries need
no other pairs, an exact search over them finds the optimum, and where none are left, it is found
already.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import dual, exact
from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from kernels import anneal as kernel
from kernels import prices as kernel_prices
from kernels import repair
from kernels.repair import Plan
from kernels.rows import Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

# A search is worth its start only where few pairs are open.
MAX_PAIRS = 6_000
# Work that a search is counted as: its start, and a node for each open pair.
START_WORK = 500_000
NODE_WORK = 40
NODES = 5_000
# Parts of the gap that a pair may lose, one search each, and of the time left to search it.
SHARES = (0.15, 0.4, 1.0)
TIME_SHARE = {0.15: 0.03, 0.4: 0.06, 1.0: 0.15}
# When this share of the time is left, another search of all that is open, for this share of what is
# left, if by then the open pairs are fewer than this share of what they were.
LAST_AT, LAST_SHARE, LAST_PAIRS = 0.4, 0.5, 0.7
# The linear relaxation, about 5 ms that no clock ends, is solved for better prices in problems of
# at most so many pairs and with a deadline of at least so many seconds.
LP_PAIRS, LP_LEAST_S = 2_000, 0.1
SAFETY_S = 0.015  # a search starts slowly and looks at the clock now and then only
UNLIMITED_NODES = 1 << 30
# Work without gain, for each pair, after which random tries are given up, or begin again where only
# a deadline ends them.
PATIENCE = 2_500
# Random tries and two annealings take turns until a deadline. Random tries have a share of the gap
# that one may lose: small steps search better, but where values are round, only a large one leads
# anywhere. An annealing has the share of the gap that its pairs may lose, and the share of its
# price that room is charged: at none, it fills what is free; at more, it leaves room for what fits
# better.
DROPS = (0.1, 0.4)
ANNEALINGS = (((0.6, 0.0), (0.6, 0.8)), ((0.3, 0.0), (0.3, 0.8)))
JUMP = 10  # how far to go from the best before random tries, in pairs
# Of an annealing: heats, as a part of the mean value, and work at each.
HEATS = np.geomspace(0.07, 0.0035, 24)
HEAT_WORK = 50_000


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


def lp_worth_it(market: Market, meter: Meter) -> bool:
    """Whether to solve the linear relaxation before all tries: not where they are few."""
    small = market.rows.pool.size <= LP_PAIRS
    return small and meter.timed and (meter.deadline_s or 0.0) >= LP_LEAST_S and not meter.late()


class _Part:
    """What is open as a market of its own, and a plan's part in it."""

    def __init__(self, market: Market, quotes: Quotes, plan: Plan, share: float = 1.0) -> None:
        rows = market.rows
        self._market, self._quotes, self._plan = market, quotes, plan
        self._value = repair.worth(rows, plan)
        self._core = core = _core(market, quotes, share * _gap(market, quotes, self._value))
        self.empty = not core.rows.pool.size
        self.market = Market(core.rows, core.supply)
        self.start = dual.plan_of(self.market, core.inside(plan.choice, rows.pool.size), quotes)
        self.elsewhere = float(rows.value[core.decided[core.decided >= 0]].sum())

    def better(self, choice: I32) -> Plan:
        """Return the whole with this choice of the open requests, or the plan if that is better."""
        other = dual.plan_of(self._market, self._core.whole(choice), self._quotes)
        return other if repair.worth(self._market.rows, other) > self._value else self._plan


def shake(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int,
    drop: float = dual.DROP, jump: int = 0,
) -> Plan:  # fmt: skip
    """Return the best plan of random tries among the open requests, until they gain no more."""
    part = _Part(market, quotes, plan)
    patience = PATIENCE * market.rows.pool.size
    if part.empty:
        return plan
    return part.better(
        dual.shake(
            part.market, quotes, part.start, meter, seed, patience, drop, jump, part.elsewhere
        ).choice
    )


def anneal(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int, share: float, credit: float
) -> Plan:
    """Return the best plan of an annealing among the pairs that lose at most `share` of the gap.

    Room is charged `credit` times its price.
    """
    part = _Part(market, quotes, plan, share)
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


def search_on(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int
) -> tuple[Plan, bool]:
    """Random tries and annealing in turn until the deadline, and an exact search on the way.

    Each begins from the best so far. Returns that, and whether nothing better exists.
    """
    last = LAST_AT * (meter.seconds_left() or 0.0)
    few, turn, searched = LAST_PAIRS * _open(market, quotes, plan), 0, False
    while not meter.done(repair.worth(market.rows, plan), quotes.bound):
        drop = DROPS[turn % len(DROPS)]
        plan = shake(market, quotes, plan, meter, seed + turn, drop, JUMP)
        for share, credit in ANNEALINGS[turn % len(ANNEALINGS)]:
            plan = anneal(market, quotes, plan, meter, seed + turn, share, credit)
        turn += 1
        if not searched and (meter.seconds_left() or 0.0) < last:
            searched = True
            if _open(market, quotes, plan) <= few:
                plan, proven = _search(market, quotes, plan, 1.0, LAST_SHARE, meter)
                if proven:
                    return plan, True
    return plan, False


def _open(market: Market, quotes: Quotes, plan: Plan) -> int:
    """Pairs that a better plan may have and that are not decided."""
    core = _core(market, quotes, _gap(market, quotes, repair.worth(market.rows, plan)))
    return core.rows.pool.size


def search(market: Market, quotes: Quotes, plan: Plan, meter: Meter) -> tuple[Plan, bool]:
    """Return the best plan found, and whether nothing better exists.

    Searches among the pairs nearest to a tie first: what that gains leaves fewer for the proof.
    """
    for share in SHARES:
        plan, proven = _search(market, quotes, plan, share, TIME_SHARE[share], meter)
        if proven and share == 1.0:
            return plan, True
        if meter.done(repair.worth(market.rows, plan), quotes.bound):
            break
    return plan, False


def _search(
    market: Market, quotes: Quotes, plan: Plan, share: float, time_share: float, meter: Meter
) -> tuple[Plan, bool]:
    """Search the pairs that lose at most `share` of the gap."""
    value = repair.worth(market.rows, plan)
    core = _core(market, quotes, share * _gap(market, quotes, value))
    pairs = core.rows.pool.size
    nodes = int(min((meter.left - START_WORK) // (NODE_WORK * max(pairs, 1)), NODES))
    seconds = meter.seconds_left()
    if seconds is not None:
        seconds = seconds * (time_share if meter.timed else 1.0) - SAFETY_S
    if meter.timed:
        nodes = UNLIMITED_NODES
    if pairs > MAX_PAIRS or nodes < 1:
        return plan, False
    found = None
    if seconds is None or seconds > 0:
        found = exact.best_choice(core.rows, core.supply, nodes, seconds)
    if found is None or (found.timed_out and not meter.timed):
        if not meter.timed:
            meter.strike()  # what a search finds by then depends on the machine: it ends before
        return plan, False
    meter.count(START_WORK + NODE_WORK * pairs * found.nodes)
    other = dual.plan_of(market, core.whole(found.choice), quotes)
    better = repair.worth(market.rows, other) > value
    return other if better else plan, found.proven


def _gap(market: Market, quotes: Quotes, value: float) -> float:
    """What a better plan may lose at the prices: the gap, less what it is better by at least.

    That is something where all values are multiples of one number, such as quarters.
    """
    parts = market.rows.value * FINEST
    whole = np.rint(parts)
    step = 0.0
    if parts.size and (np.abs(parts - whole) < ROUND).all():
        step = float(np.gcd.reduce(whole.astype(np.int64))) / FINEST
    return max(quotes.bound - value - (1.0 - STEP_SLACK) * step, 0.0)


def _core(market: Market, quotes: Quotes, slack: float) -> Core:
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
        _subset(rows, kept, request[kept], open_requests),
        _left(rows, supply, request, sure),
        open_requests,
        decided,
    )


def _subset(
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


def _left(
    rows: Rows, supply: Supply, request: NDArray[np.int64], sure: NDArray[np.int64]
) -> Supply:
    used = np.bincount(rows.pool[sure], rows.demand[sure], minlength=supply.capacity.size)
    capacity, budget = np.maximum(supply.capacity - used, 0.0), supply.budget
    if rows.tenant.size:
        owner = rows.tenant[request[sure]]
        mine = owner >= 0
        spent = np.bincount(owner[mine], rows.cost[sure][mine], minlength=budget.size)
        budget = np.maximum(budget - spent, 0.0)
    return Supply(capacity, budget)
