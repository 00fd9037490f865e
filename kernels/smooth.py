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
