"""Slow, obvious twins of the allocation kernels: plain loops over pairs, no incremental state."""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import AllocationProblem
from kernels.rows import ROOM, Columns, Rows, Supply

F64 = NDArray[np.float64]


def usable(problem: AllocationProblem) -> list[list[int]]:
    """Offers that each request may take: feasible, worth something, and small enough."""
    p = problem
    n, m = p.values.shape
    rows: list[list[int]] = [[] for _ in range(n)]
    for i, j in product(range(n), range(m)):
        if p.mask is not None and not p.mask[i, j]:
            continue
        fits = demand(p, i, j) <= p.capacity[p.pool[j]] * (1 + ROOM)
        if p.tenant is not None and p.cost is not None and p.budget is not None:
            t = p.tenant[i]
            fits = fits and (t < 0 or p.cost[i, j] <= p.budget[t] * (1 + ROOM))
        if fits and p.values[i, j] > 0:
            rows[i].append(j)
    return rows


def demand(p: AllocationProblem, i: int, j: int) -> float:
    """What request i takes from the pool of offer j."""
    return float(p.demand[i] if p.demand.ndim == 1 else p.demand[i, j])


def dual_bound(p: AllocationProblem, pool_price: F64, budget_price: F64) -> float:
    """The bound that prices prove, term by term."""
    total = sum(x * c for x, c in zip(pool_price, p.capacity, strict=True) if x > 0)
    if p.budget is not None:
        total += sum(x * b for x, b in zip(budget_price, p.budget, strict=True) if x > 0)
    for i, offers in enumerate(usable(p)):
        nets = [0.0]
        for j in offers:
            net = p.values[i, j] - pool_price[p.pool[j]] * demand(p, i, j)
            if p.tenant is not None and p.cost is not None and p.tenant[i] >= 0:
                net -= budget_price[p.tenant[i]] * p.cost[i, j]
            nets.append(float(net))
        total += max(nets)
    return float(total)


def greedy(p: AllocationProblem) -> list[int]:
    """Requests in order, each its best-valued offer that fits; ties to the first."""
    left = list(p.capacity * (1 + ROOM))
    purse = [] if p.budget is None else list(p.budget * (1 + ROOM))
    chosen = []
    for i, offers in enumerate(usable(p)):
        t = -1 if p.tenant is None else int(p.tenant[i])
        cost = np.zeros(p.values.shape[1]) if p.cost is None else p.cost[i]
        fitting = [
            j
            for j in offers
            if demand(p, i, j) <= left[p.pool[j]] and (t < 0 or cost[j] <= purse[t])
        ]
        pick = max(fitting, key=lambda j: (p.values[i, j], -j)) if fitting else -1
        if pick >= 0:
            left[p.pool[pick]] -= demand(p, i, pick)
            if t >= 0:
                purse[t] -= cost[pick]
        chosen.append(pick)
    return chosen


def clear(threshold: Sequence[float], weight: Sequence[float], supply: float) -> float:
    """Smallest price >= 0 above whose thresholds lies no more weight than supply."""
    for price in sorted({0.0, *(t for t in threshold if t > 0)}):
        if sum(w for t, w in zip(threshold, weight, strict=True) if t > price) <= supply:
            return price
    raise AssertionError("nothing lies above the highest threshold")


def columns(rows: Rows, k: int) -> Columns:
    """Pairs by pool, by a stable sort."""
    order = np.argsort(rows.pool, kind="stable")
    request = np.repeat(np.arange(rows.start.size - 1), np.diff(rows.start))
    start = np.searchsorted(rows.pool[order], np.arange(k + 1))
    return Columns(start, order.astype(np.int32), request[order].astype(np.int32))


def leaders(rows: Rows, net: F64, price: F64) -> tuple[list[float], list[float]]:
    """Best net of each request, and best in another pool than that, both at least the floor."""
    first, second = [], []
    for i in range(rows.start.size - 1):
        by_pool: dict[int, float] = {}
        for e in range(rows.start[i], rows.start[i + 1]):
            j = int(rows.pool[e])
            worth = float(net[e] - price[j] * rows.demand[e])
            by_pool[j] = max(by_pool.get(j, -np.inf), worth)
        floor = float(rows.floor[i])
        best = sorted([floor, floor, *by_pool.values()])
        first.append(best[-1])
        second.append(best[-2])
    return first, second


def dual_value(rows: Rows, supply: Supply, price: F64, budget_price: F64) -> float:
    """The dual function over rows, from scratch."""
    net = rows.value.copy()
    if rows.tenant.size:
        owner = np.repeat(rows.tenant, np.diff(rows.start))
        net -= np.where(owner >= 0, budget_price[owner], 0.0) * rows.cost
    worth = sum(x * c for x, c in zip(price, supply.capacity, strict=True) if x > 0)
    worth += sum(x * b for x, b in zip(budget_price, supply.budget, strict=True) if x > 0)
    return float(worth + sum(leaders(rows, net, price)[0]))


def combine(units: Sequence[float], gain: Sequence[float], room: float) -> float:
    """Gain of the best set of moves within the room, of all there are."""
    best = 0.0
    for size in range(len(units) + 1):
        for chosen in combinations(range(len(units)), size):
            if sum(units[x] for x in chosen) <= room:
                best = max(best, sum(gain[x] for x in chosen))
    return best


def smooth_dual(
    rows: Rows,
    supply: Supply,
    price: F64,
    budget_price: F64,
    softness: float,
    least: float = -np.inf,
) -> tuple[float, F64]:
    """The smoothed dual function and its gradient, without exponents below `least`."""
    limits = np.concatenate([price, budget_price])
    worth = sum(x * c for x, c in zip(limits, np.concatenate(supply), strict=True) if x > 0)
    slope = np.concatenate(supply)
    for i in range(rows.start.size - 1):
        pairs = range(rows.start[i], rows.start[i + 1])
        t = int(rows.tenant[i]) if rows.tenant.size else -1
        if not pairs:
            worth += rows.floor[i]
            continue
        soft = softness * max(rows.value[e] for e in pairs)
        nets = [rows.value[e] - price[rows.pool[e]] * rows.demand[e] for e in pairs]
        if t >= 0:
            nets = [x - budget_price[t] * rows.cost[e] for x, e in zip(nets, pairs, strict=True)]
        best = max(rows.floor[i], *nets)
        parts = [float(np.exp(z)) if (z := (x - best) / soft) > least else 0.0 for x in nets]
        whole = sum(parts) + float(np.exp(max((rows.floor[i] - best) / soft, least)))
        worth += best + soft * np.log(whole)
        for e, part in zip(pairs, parts, strict=True):
            slope[rows.pool[e]] -= rows.demand[e] * part / whole
            if t >= 0:
                slope[price.size + t] -= rows.cost[e] * part / whole
    return float(worth), slope
