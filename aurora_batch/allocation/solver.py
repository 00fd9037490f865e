"""`solve`: one front door to the methods."""

from typing import Any, Literal

import numpy as np

from aurora_batch.allocation import annealing, dual, exact, finish, pricing
from aurora_batch.allocation import validation as expect
from aurora_batch.allocation.greedy import greedy_plan
from aurora_batch.allocation.meter import UNLIMITED, Meter
from aurora_batch.allocation.pricing import Market, Quotes
from aurora_batch.allocation.problem import Problem, SparseProblem
from aurora_batch.allocation.result import Allocation, Prices, Status, relative_gap
from kernels import repair
from kernels.repair import Plan

Method = Literal["auto", "exact", "dual", "greedy"]

# Pairs that a solve may visit by default. Small problems may be searched for long; in large ones a
# few sweeps bring the prices close, and the rest goes by.
LEAST_WORK = 2_000_000
WORK_PER_PAIR = 80
STUCK_GAP = 0.01  # beyond, after rounding, it may be the prices that are wrong
LP_PAIRS = 20_000  # beyond, SciPy's LP takes long to find no better prices
LARGE_WORK = 8_000_000
LARGE_WORK_PER_PAIR = 3


def solve(
    problem: Problem,
    method: Method = "auto",
    work: int | None = None,
    deadline_s: float | None = None,
    target_gap: float | None = None,
    warm_start: Prices | None = None,
    seed: int = 0,
    stop_at: int | None = None,
) -> Allocation:
    """Return the best allocation found, with prices that prove how good it is.

    Parameters
    ----------
    problem
        Dense or sparse.
    method
        `exact`: the optimum, by SciPy, however long it takes; `dual`: prices, rounding and
        improvement; `greedy`: requests in order, each its best-valued pair that fits; `auto`:
        `dual`, and an exact finish where the problem is small.
    work
        Pairs that may be visited, about 12 ns each; by default 80 for each pair there is, fewer
        where there are very many. Counted, so that a problem is solved alike on any machine.
    deadline_s
        Seconds after which to return what there is; by default no clock is looked at. Beside
        `work` it is a safety net: the allocation's `work` then says where it struck.
    target_gap
        Stop at this gap; by default only at the optimum.
    warm_start
        Prices of a similar problem, such as the batch before.
    seed
        Of choices that would be random; the same seed gives the same bytes.
    stop_at
        Units of work at which the deadline struck another solve, to repeat that one: its `work`.
        The other arguments must be the same, `work` among them.

    Raises
    ------
    ValueError
        Names the argument, what was expected and what came.
    """
    methods = {"auto": _auto, "exact": _exact, "dual": _dual, "greedy": _greedy}
    if method not in methods:
        raise ValueError(f"Expected method to be one of {', '.join(methods)}, got {method!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"Expected an integer seed >= 0, got {seed!r}.")
    meter = _meter(work, deadline_s, target_gap, stop_at)
    sparse = problem.sparse()
    if work is None:
        meter.work = _default_work(sparse.data.size) if deadline_s is None else UNLIMITED
    market = Market(sparse.rows(), sparse.supply)
    warm = None if warm_start is None else _warm(warm_start, sparse)
    plan, quotes, status = methods[method](market, warm, meter, int(seed))
    return _allocation(sparse, market, plan, quotes, status, meter)


def find_prices(
    problem: Problem, warm_start: Prices | None = None, meter: Meter | None = None
) -> Prices:
    """Return shadow prices alone, without an assignment, good to about a per cent.

    For a problem that stands for another, such as a sample of requests for those to come.
    `meter` says how fast; where it ends is the same.
    """
    sparse = problem.sparse()
    market = Market(sparse.rows(), sparse.supply)
    warm = None if warm_start is None else _warm(warm_start, sparse)
    meter = meter or Meter(UNLIMITED, 0.0)
    if market.wide:
        market, warm = pricing.trim(market, warm, meter)
    schedule = pricing.SCHEDULE if warm is None else pricing.WARM_SCHEDULE
    return pricing.move_together(market, warm, meter, schedule)


Outcome = tuple[Plan, Quotes, Status | None]


def _dual(market: Market, warm: Prices | None, meter: Meter, seed: int) -> Outcome:
    narrow = market
    if market.wide:
        narrow, warm = pricing.trim(market, warm, meter)
    quotes = pricing.find_prices(narrow, warm, meter)
    plan = dual.plan_at(narrow, quotes, meter)
    gap = relative_gap(repair.worth(narrow.rows, plan), quotes.bound)
    if gap > STUCK_GAP and not meter.late():
        others = pricing.unstick(narrow, warm, meter)
        plans = [plan, *(dual.plan_at(narrow, other, meter) for other in others)]
        plan = max(plans, key=lambda p: repair.worth(narrow.rows, p))
        quotes = min(quotes, *others, key=lambda q: q.bound)
    dual.improve(narrow, quotes, plan, meter, seed)
    if market.wide:
        quotes = pricing.quote(market, market.priceable(quotes.prices))
        choice = np.where(plan.choice >= 0, narrow.rows.pair[plan.choice], np.int32(-1))
        plan = dual.plan_of(market, choice, quotes)
    return plan, quotes, None


def _auto(market: Market, warm: Prices | None, meter: Meter, seed: int) -> Outcome:
    plan, quotes, _ = _dual(market, warm, meter, seed)
    enough = meter.done(repair.worth(market.rows, plan), quotes.bound)
    most = annealing.MOST_PAIRS if meter.timed else dual.SHAKEN_PAIRS
    if enough or market.rows.pool.size > most:
        return plan, quotes, None
    quotes = finish.tightened(market, quotes, meter)
    plan = finish.shake(market, quotes, plan, meter, seed)
    if meter.done(repair.worth(market.rows, plan), quotes.bound):
        return plan, quotes, None
    plan, proven = finish.search(market, quotes, plan, meter)
    if not meter.timed and not proven:
        return finish.shake(market, quotes, plan, meter, seed + 1), quotes, None
    if not proven:  # time was given to use
        plan, proven = finish.search_on(market, quotes, plan, meter, seed + 1)
    return plan, quotes, "optimal" if proven else None


def _tightened(market: Market, quotes: Quotes) -> Quotes:
    """The prices of the linear relaxation, where they prove more."""
    least = pricing.quote(market, market.priceable(exact.lp_prices(market.rows, market.supply)))
    return min(quotes, least, key=lambda q: q.bound)


def _greedy(market: Market, warm: Prices | None, meter: Meter, seed: int) -> Outcome:
    plan = greedy_plan(market.rows, market.supply)
    meter.count(market.rows.pool.size)
    return plan, pricing.find_prices(market, warm, meter), None


def _exact(market: Market, warm: Prices | None, meter: Meter, seed: int) -> Outcome:
    """Search to the end, unless a deadline was set."""
    rows, supply = market.rows, market.supply
    quotes = pricing.find_prices(market, warm, meter)
    if rows.pool.size <= LP_PAIRS:
        quotes = _tightened(market, quotes)
    found = exact.best_choice(rows, supply, time_limit=meter.seconds_left())
    plan = dual.plan_of(market, found.choice, quotes)
    return plan, quotes, "optimal" if found.proven else None


def _allocation(
    problem: SparseProblem,
    market: Market,
    plan: Plan,
    quotes: Quotes,
    status: Status | None,
    meter: Meter,
) -> Allocation:
    rows = market.rows
    assignment = np.full(problem.requests, -1, np.int64)
    served = np.flatnonzero(plan.choice >= 0)
    pair = rows.pair[plan.choice[served]]
    assignment[served] = problem.indices[pair]
    value = float(problem.data[pair].sum())
    bound = max(quotes.bound, value)  # equal but for rounding where the value is above
    return Allocation(
        assignment=assignment,
        value=value,
        bound=bound,
        gap=relative_gap(value, bound),
        pool_prices=quotes.prices.pool,
        budget_prices=quotes.prices.budget,
        status=status or meter.status(value, bound),
        seconds=meter.seconds,
        work=meter.used,
        struck=meter.struck,
    )


def _default_work(pairs: int) -> int:
    return max(LEAST_WORK, min(WORK_PER_PAIR * pairs, LARGE_WORK + LARGE_WORK_PER_PAIR * pairs))


def _meter(
    work: int | None, deadline_s: float | None, target_gap: float | None, stop_at: int | None
) -> Meter:
    limits = {"work": work, "deadline_s": deadline_s, "target_gap": target_gap, "stop_at": stop_at}
    for name, number in limits.items():
        if number is not None and not number >= 0:
            raise ValueError(f"Expected {name} >= 0 or None, got {number!r}.")
    return Meter(work or 0, 0.0 if target_gap is None else target_gap, deadline_s, stop_at)


def _warm(given: Any, problem: SparseProblem) -> Prices:
    """Check prices to start from; a pool or budget that no pair draws on gets none."""
    pool, budget = given
    pool = expect.array("warm_start.pool", pool, problem.capacity.shape, np.float64)
    budget = expect.array("warm_start.budget", budget, problem.supply.budget.shape, np.float64)
    for name, prices in (("warm_start.pool", pool), ("warm_start.budget", budget)):
        expect.at_least_zero(name, prices)
        expect.finite(name, prices)
    return Prices(pool, budget)
