"""Pairs at reserve prices: what each is worth beyond what its capacity and budget are kept for.

A pair's reduced value is its value - pool price x GPU-hours - budget price x cost. Only a pair of
positive reduced value is worth more than what is kept for later; the best of them is taken where it
fits (bid-price control: Talluri and van Ryzin 1998).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def reduced_values(
    indptr: I64,
    offers: I32,
    value: F64,
    hours: F64,
    tenant: I32,
    pool: I32,
    price: F64,
    pool_price: F64,
    budget_price: F64,
) -> F64:
    """Reduced value of each pair, (pairs,).

    `offers` and `value` are by pair, `hours` and `tenant` (-1: no budget) by request, `pool` and
    `price` (USD per hour) by fleet offer; prices are >= 0, (k,) and (t,).
    """
    reduced = np.empty(value.size, np.float64)
    for i in range(hours.size):
        budget = budget_price[tenant[i]] if tenant[i] >= 0 else 0.0
        for e in range(indptr[i], indptr[i + 1]):
            o = offers[e]
            reduced[e] = value[e] - hours[i] * (pool_price[pool[o]] + budget * price[o])
    return reduced


@njit(cache=True, nogil=True, error_model="numpy")
def best_of_rows(indptr: I64, value: F64) -> I64:
    """Position of the best pair of each row, the first of equals, -1 in an empty row, (n,)."""
    best = np.full(indptr.size - 1, -1, np.int64)
    for i in range(best.size):
        most = -np.inf
        for e in range(indptr[i], indptr[i + 1]):
            if value[e] > most:
                most = value[e]
                best[i] = e
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def best_that_fit(
    indptr: I64,
    offers: I32,
    value: F64,
    hours: F64,
    tenant: I32,
    pool: I32,
    price: F64,
    left: F64,
    purse: F64,
    rows: I64,
) -> I64:
    """Position of the best pair of some rows that fits what is `left`, (k,), and `purse`, (t,).

    (rows,); -1 where none does, the first of equals. The others as in `reduced_values`.
    """
    best = np.full(rows.size, -1, np.int64)
    for x in range(rows.size):
        i = rows[x]
        most = -np.inf
        money = purse[tenant[i]] if tenant[i] >= 0 else np.inf
        for e in range(indptr[i], indptr[i + 1]):
            o = offers[e]
            fits = hours[i] <= left[pool[o]] and price[o] * hours[i] <= money
            if fits and value[e] > most:
                most = value[e]
                best[x] = e
    return best
