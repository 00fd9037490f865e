"""Compute an allocation's claims again from the problem alone, without the solver.

The bound is weak duality. For any prices >= 0,

    bound = sum of price x capacity + sum of price x budget
            + sum over requests of the best (value - price x demand - price x cost), at least 0

is at least the value of every allocation: charged these prices, no request can do better than its
best pair, and what the charges take away is never more than capacities and budgets are worth.
Pairs whose own demand or cost exceeds a whole pool or budget are in no allocation and do not count.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation.problem import Problem, SparseProblem
from aurora_batch.allocation.result import Allocation, relative_gap
from aurora_batch.errors import CertificateError
from kernels.rows import ROOM

F64 = NDArray[np.float64]

# What a claim may be off by, relative: sums in another order.
TOLERANCE = 1e-9


class Certificate(NamedTuple):
    """The claims, computed again."""

    value: float
    bound: float
    gap: float


def check(problem: Problem, allocation: Allocation) -> Certificate:
    """Return value, bound and gap, computed again from the problem, assignment and prices.

    Raises
    ------
    CertificateError
        The assignment is not feasible (an offer that the request may not take, a pool or budget
        exceeded by more than 1e-9), a price is negative, NaN or on a pool or budget that no pair
        draws on, or value, bound or gap are not as claimed.
    """
    p = problem.sparse()
    request = np.repeat(np.arange(p.requests), np.diff(p.indptr))
    demand = p.demand if p.per_pair else p.demand[request]
    value = _checked_value(p, allocation, request, demand)
    bound = _checked_bound(p, allocation, request, demand)
    _same("value", allocation.value, value)
    _same("bound", allocation.bound, bound)
    if value > bound + TOLERANCE * abs(bound):
        raise CertificateError(f"value {value!r} is above the bound {bound!r}")
    gap = relative_gap(value, max(bound, value))
    if not abs(allocation.gap - gap) <= 2 * TOLERANCE:
        raise CertificateError(f"gap is {gap!r}, not {allocation.gap!r} as claimed")
    return Certificate(value, max(bound, value), gap)


def _checked_value(
    p: SparseProblem, allocation: Allocation, request: NDArray[np.int64], demand: F64
) -> float:
    """Value of the assignment, which is feasible."""
    chosen = np.asarray(allocation.assignment)
    if chosen.shape != (p.requests,) or chosen.dtype.kind not in "iu":
        raise CertificateError(
            f"assignment must be {p.requests} integers, got {chosen.dtype} {chosen.shape}"
        )
    hit = np.flatnonzero(p.indices == chosen[request])
    served, first = np.unique(request[hit], return_index=True)
    pair = hit[first]
    wrong = np.setdiff1d(np.flatnonzero(chosen != -1), served)
    if wrong.size:
        i = int(wrong[0])
        raise CertificateError(f"request {i} may not take offer {int(chosen[i])}")
    used = np.bincount(p.pool[p.indices[pair]], demand[pair], minlength=p.capacity.size)
    _within("pool", used, p.capacity)
    if p.tenant is not None and p.cost is not None and p.budget is not None:
        owner = p.tenant[served]
        mine = owner >= 0
        spent = np.bincount(owner[mine], p.cost[pair][mine], minlength=p.budget.size)
        _within("budget", spent, p.budget)
    return float(p.data[pair].sum())


def _checked_bound(
    p: SparseProblem, allocation: Allocation, request: NDArray[np.int64], demand: F64
) -> float:
    """Bound that the prices prove."""
    pool = _checked_prices("pool_prices", allocation.pool_prices, p.capacity.size)
    budget = p.supply.budget
    tenant = _checked_prices("budget_prices", allocation.budget_prices, budget.size)
    at = p.pool[p.indices]
    usable = demand <= p.capacity[at] * (1.0 + ROOM)
    net = p.data - pool[at] * demand
    drawn = np.zeros(budget.size, np.bool_)
    if p.tenant is not None and p.cost is not None:
        owner = p.tenant[request]
        mine = owner >= 0
        usable[mine] &= p.cost[mine] <= budget[owner[mine]] * (1.0 + ROOM)
        net[mine] -= tenant[owner[mine]] * p.cost[mine]
        drawn[owner[mine & usable & (p.data > 0)]] = True
    wanted = np.zeros(pool.size, np.bool_)
    wanted[at[usable & (p.data > 0)]] = True
    for name, prices, used in (("pool", pool, wanted), ("budget", tenant, drawn)):
        if (prices[~used] > 0).any():
            raise CertificateError(f"a {name} that no pair draws on must have a price of 0")
    best = np.zeros(p.requests) if p.rest is None else np.maximum(p.rest, 0.0)
    np.maximum.at(best, request[usable], net[usable])
    return _worth(pool, p.capacity) + _worth(tenant, budget) + float(best.sum())


def _worth(prices: F64, supply: F64) -> float:
    priced = prices > 0  # an infinite supply has no price
    return float(prices[priced] @ supply[priced])


def _checked_prices(name: str, given: F64, size: int) -> F64:
    prices = np.asarray(given)
    if prices.shape != (size,) or prices.dtype.kind != "f":
        raise CertificateError(f"{name} must be {size} floats, got {prices.dtype} {prices.shape}")
    if not ((prices >= 0) & (prices < np.inf)).all():
        raise CertificateError(f"{name} must be finite and >= 0, got {prices.min()}")
    return prices


def _within(name: str, used: NDArray[Any], supply: F64) -> None:
    over = np.flatnonzero(used > supply * (1.0 + TOLERANCE))
    if over.size:
        j = int(over[0])
        raise CertificateError(f"{name} {j} has {supply[j]!r} units, {used[j]!r} are taken")


def _same(name: str, claimed: float, computed: float) -> None:
    if not abs(claimed - computed) <= TOLERANCE * max(abs(computed), abs(claimed)):
        raise CertificateError(f"{name} is {computed!r}, not {claimed!r} as claimed")
