"""The dual function with its corners rounded off, for prices where many requests are alike.

A request's best net, max over its pairs and its floor, becomes

    t x log(sum of exp(net / t)),   t = softness x the request's best value

which lies above it by at most t x log(pairs + 1), and has a gradient: each pair takes the share
exp(net / t) / sum of the request. Where requests are alike, single prices cannot fall without
all of them moving at once (`kernels.prices` stops there); along the gradient, groups of prices move
together (smoothing: Nesterov 2005).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.rows import Rows, Supply

F64 = NDArray[np.float64]

LEAST = -15.0  # exponents below it add less than 1e-6
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
    start, pool, value, demand = rows.start, rows.pool, rows.value, rows.demand
    total = 0.0
    widest = 1
    for j in range(k):
        slope[j] = supply.capacity[j]
        if price[j] > 0.0:
            total += price[j] * supply.capacity[j]
    for t in range(budget_price.size):
        slope[k + t] = supply.budget[t]
        if budget_price[t] > 0.0:
            total += budget_price[t] * supply.budget[t]
    for i in range(start.size - 1):
        widest = max(widest, start[i + 1] - start[i])
    share = np.empty(widest)
    for i in range(start.size - 1):
        low, high = start[i], start[i + 1]
        owner = rows.tenant[i] if budgeted else -1
        charge = budget_price[owner] if owner >= 0 else 0.0
        best = rows.floor[i]
        most = 0.0
        for e in range(low, high):
            net = value[e] - price[pool[e]] * demand[e]
            if charge > 0.0:
                net -= charge * rows.cost[e]
            share[e - low] = net
            best = max(best, net)
            most = max(most, value[e])
        if low == high:
            total += best
            continue
        soft = softness * most
        whole = np.exp(max((rows.floor[i] - best) / soft, LEAST))
        for e in range(low, high):
            z = (share[e - low] - best) / soft
            share[e - low] = np.exp(z) if z > LEAST else 0.0
            whole += share[e - low]
        total += best + soft * np.log(whole)
        for e in range(low, high):
            taken = share[e - low] / whole
            slope[pool[e]] -= demand[e] * taken
            if owner >= 0:
                slope[k + owner] -= rows.cost[e] * taken
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def descend(rows: Rows, supply: Supply, price: F64, softness: float, rounds: int) -> F64:
    """Return the lowest prices, (k + t,), found from `price` in so many evaluations.

    Projected gradients with spectral steps (Birgin, Martinez and Raydan 2000). Prices are taken in
    units of 1 / sqrt(supply), since curvature grows with supply, and stay below what the keenest
    request would pay; an infinite supply keeps a price of 0. No library whose rounding depends on
    the number of threads has a part in it.
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
    slope, other = np.empty(n), np.empty(n)
    value = _at(rows, supply, point, unit, softness, slope)
    best, lowest = point.copy(), value
    recent = np.full(MEMORY, value)
    steepest, highest = 0.0, 0.0
    for j in range(n):
        steepest = max(steepest, abs(min(max(point[j] - slope[j], 0.0), most[j]) - point[j]))
        highest = max(highest, point[j])
    length = FIRST * highest / steepest if steepest > 0.0 and highest > 0.0 else 1.0
    used = 1
    way = np.empty(n)
    while used < rounds:
        promised = 0.0
        for j in range(n):
            way[j] = min(max(point[j] - length * slope[j], 0.0), most[j]) - point[j]
            promised += way[j] * slope[j]
        if promised >= 0.0:
            break
        limit = recent.max()
        far = 1.0
        while True:
            moved = point + far * way
            new = _at(rows, supply, moved, unit, softness, other)
            used += 1
            if new <= limit + SUFFICIENT * far * promised or used >= rounds:
                break
            shorter = -0.5 * far * far * promised / (new - value - far * promised)
            far = min(max(shorter, 0.1 * far), 0.5 * far)
        if new < lowest:
            best, lowest = moved, new
        square, bent = 0.0, 0.0
        for j in range(n):
            step = moved[j] - point[j]
            square += step * step
            bent += step * (other[j] - slope[j])
        length = min(max(square / bent, SHORTEST), LONGEST) if bent > 0.0 else LONGEST
        point, value = moved, new
        slope, other = other, slope
        recent[used % MEMORY] = value
    return best * unit


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
    price = point * unit
    value = smooth_dual(rows, supply, price[:k], price[k:], softness, slope)
    for j in range(slope.size):
        slope[j] = slope[j] * unit[j] if unit[j] > 0.0 else 0.0
    return value
