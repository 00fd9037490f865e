"""The dual function with its corners rounded off, for prices where many requests are alike.

A request's best net, max over its pairs and its floor, becomes

    t x log(sum of exp(net / t)),   t = softness x the request's best value

which lies above it by at most t x log(pairs + 1), and has a gradient: each pair takes the share
exp(net / t) / sum of the request. Where requests are alike, single prices cannot fall without
all of them moving at once (`kernels.prices` stops there); along the gradient, groups of prices move
together (smoothing: Nesterov 2005).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.rows import Rows, Supply

F64 = NDArray[np.float64]

LEAST = -15.0  # exponents below it add less than 1e-6
LEAST_SOFT = 1e-300  # its inverse is finite, whatever a request is worth
MEMORY = 6  # values that a step is held against: it need not be lower than the last one
SUFFICIENT = 1e-4  # part of the promised decrease that a step must bring
FIRST = 0.1  # the longest first step, as a part of the highest price
SHORTEST, LONGEST = 1e-10, 1e10  # of a step, as a multiple of the slope


@njit(cache=True, nogil=True, error_model="numpy")
def smooth_dual(
    rows: Rows, supply: Supply, price: F64, budget_price: F64, softness: float, slope: F64
) -> float:
    """Return the smoothed dual function and write its gradient.

    `slope` (k + t,) is **overwritten**: what is left of each pool and budget at these shares. An
    infinite supply must have a price of 0; its slope is infinite.
    """
    k, budgeted = price.size, rows.tenant.size > 0
    start, pool, demand = rows.start, rows.pool, rows.demand
    n, pairs = start.size - 1, pool.size
    total = 0.0
    for j in range(k):
        slope[j] = supply.capacity[j]
        if price[j] > 0.0:
            total += price[j] * supply.capacity[j]
    for t in range(budget_price.size):
        slope[k + t] = supply.budget[t]
        if budget_price[t] > 0.0:
            total += budget_price[t] * supply.budget[t]
    # Of pairs, then of the rows' floors; all exponentials in one loop, which is vectorised so.
    share, best, soft = np.empty(pairs + n), np.empty(n), np.empty(n)
    _exponents(rows, price, budget_price, softness, share, best, soft)
    for e in range(pairs + n):
        share[e] = _exp(share[e])
    for i in range(n):
        low, high = start[i], start[i + 1]
        if low == high:
            total += best[i]
            continue
        whole = share[pairs + i]
        for e in range(low, high):
            whole += share[e]
        total += best[i] + soft[i] * np.log(whole)
        part, owner = 1.0 / whole, rows.tenant[i] if budgeted else -1
        for e in range(low, high):
            slope[pool[e]] -= demand[e] * (share[e] * part)
        if owner >= 0:
            paid = 0.0
            for e in range(low, high):
                paid += rows.cost[e] * share[e]
            slope[k + owner] -= paid * part
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _exponents(
    rows: Rows, price: F64, budget_price: F64, softness: float, z: F64, best: F64, soft: F64
) -> None:
    """Write what each pair and each floor is short of its row's best net, in units of `soft`."""
    start, pool, value, demand = rows.start, rows.pool, rows.value, rows.demand
    pairs = pool.size
    for i in range(best.size):
        low, high = start[i], start[i + 1]
        owner = rows.tenant[i] if rows.tenant.size > 0 else -1
        charge = budget_price[owner] if owner >= 0 else 0.0
        top, most = rows.floor[i], 0.0
        for e in range(low, high):
            net = value[e] - price[pool[e]] * demand[e]
            if charge > 0.0:
                net -= charge * rows.cost[e]
            z[e] = net
            top = max(top, net)
            most = max(most, value[e])
        best[i], soft[i] = top, max(softness * most, LEAST_SOFT)
        unit = 1.0 / soft[i]
        for e in range(low, high):
            z[e] = (z[e] - top) * unit
        z[pairs + i] = max((rows.floor[i] - top) * unit, LEAST)


@njit(cache=True, nogil=True, error_model="numpy")
def _exp(z: float) -> float:
    """exp(z) to 2e-11 of itself for z in [LEAST, 0], 0 below; arithmetic alone, so vectorised."""
    x = max(z, LEAST - 1.0) * (1.0 / 1024.0)
    y = 1.0 + x * (1.0 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120)))))
    for _ in range(10):  # 1,024 = 2 to the power of 10
        y *= y
    return y if z >= LEAST else 0.0


class Descent(NamedTuple):
    """A descent between two calls of `advance`, over pools, then budgets; changed in place."""

    point: F64  # (k + t,) prices in units of `unit`
    slope: F64  # (k + t,) there
    best: F64  # (k + t,) the lowest point so far
    most: F64  # (k + t,) what the keenest request would pay
    unit: F64  # (k + t,) 1 / sqrt(supply), since curvature grows with supply; 0: no price
    recent: F64  # (MEMORY,) last values
    figures: F64  # (4,) value, lowest value, length of the next step, evaluations


@njit(cache=True, nogil=True, error_model="numpy")
def begin(rows: Rows, supply: Supply, price: F64, softness: float) -> Descent:
    """Return a descent from `price`, (k + t,); visits every pair once.

    Prices stay below what the keenest request would pay; an infinite supply keeps a price of 0.
    """
    k, n = supply.capacity.size, price.size
    most, unit, point = _keenest(rows, k, n), np.zeros(n), np.zeros(n)
    for j in range(n):
        units = supply.capacity[j] if j < k else supply.budget[j - k]
        if 0.0 < units < np.inf and most[j] > 0.0:
            unit[j] = 1.0 / np.sqrt(units)
            most[j] /= unit[j]
            point[j] = min(price[j] / unit[j], most[j])
        else:
            most[j] = 0.0
    slope = np.empty(n)
    value = _at(rows, supply, point, unit, softness, slope)
    steepest, highest = 0.0, 0.0
    for j in range(n):
        steepest = max(steepest, abs(min(max(point[j] - slope[j], 0.0), most[j]) - point[j]))
        highest = max(highest, point[j])
    length = FIRST * highest / steepest if steepest > 0.0 and highest > 0.0 else 1.0
    figures = np.array([value, value, length, 1.0])
    return Descent(point, slope, point.copy(), most, unit, np.full(MEMORY, value), figures)


@njit(cache=True, nogil=True, error_model="numpy")
def advance(
    rows: Rows, supply: Supply, d: Descent, softness: float, rounds: int, pause: int
) -> bool:
    """Go on with a descent until `rounds` evaluations in all, or `pause` of them; whether it ended.

    Projected gradients with spectral steps (Birgin, Martinez and Raydan 2000). Where it pauses
    changes nothing about where it goes, and no library whose rounding depends on the number of
    threads has a part in it. Each evaluation visits every pair once.
    """
    n = d.point.size
    way, moved, other = np.empty(n), np.empty(n), np.empty(n)
    stop = d.figures[3] + pause
    while d.figures[3] < rounds:
        if d.figures[3] >= stop:
            return False
        value, length = d.figures[0], d.figures[2]
        promised = 0.0
        for j in range(n):
            way[j] = min(max(d.point[j] - length * d.slope[j], 0.0), d.most[j]) - d.point[j]
            promised += way[j] * d.slope[j]
        if promised >= 0.0:
            break
        limit = d.recent[0]
        for x in range(1, MEMORY):
            limit = max(limit, d.recent[x])
        far = 1.0
        while True:
            for j in range(n):
                moved[j] = d.point[j] + far * way[j]
            new = _at(rows, supply, moved, d.unit, softness, other)
            d.figures[3] += 1.0
            if new <= limit + SUFFICIENT * far * promised or d.figures[3] >= rounds:
                break
            shorter = -0.5 * far * far * promised / (new - value - far * promised)
            far = min(max(shorter, 0.1 * far), 0.5 * far)
        if new < d.figures[1]:
            for j in range(n):
                d.best[j] = moved[j]
            d.figures[1] = new
        square, bent = 0.0, 0.0
        for j in range(n):
            step = moved[j] - d.point[j]
            square += step * step
            bent += step * (other[j] - d.slope[j])
            d.point[j], d.slope[j] = moved[j], other[j]
        d.figures[2] = min(max(square / bent, SHORTEST), LONGEST) if bent > 0.0 else LONGEST
        d.figures[0] = new
        d.recent[int(d.figures[3]) % MEMORY] = new
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _keenest(rows: Rows, k: int, n: int) -> F64:
    """Highest price of each pool and budget, (n,), at which any request would still pay it."""
    most = np.zeros(n)
    for i in range(rows.start.size - 1):
        owner = rows.tenant[i] if rows.tenant.size > 0 else -1
        for e in range(rows.start[i], rows.start[i + 1]):
            j = rows.pool[e]
            most[j] = max(most[j], rows.value[e] / rows.demand[e])
            if owner >= 0 and rows.cost[e] > 0.0:
                most[k + owner] = max(most[k + owner], rows.value[e] / rows.cost[e])
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def _at(rows: Rows, supply: Supply, point: F64, unit: F64, softness: float, slope: F64) -> float:
    k = supply.capacity.size
    price = np.empty(point.size)
    for j in range(price.size):
        price[j] = point[j] * unit[j]
    value = smooth_dual(rows, supply, price[:k], price[k:], softness, slope)
    for j in range(slope.size):
        slope[j] = slope[j] * unit[j] if unit[j] > 0.0 else 0.0
    return value
