"""Pairs that can be in an allocation, listed by request and by pool.

A pair is usable when its value is positive and its own demand and cost fit into a whole pool and a
whole budget. Conventions: n requests, k pools, t tenants with a budget, p pairs.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# A pool or budget counts as full this fraction beyond its size, so that three demands of 0.1 fit
# into 0.3; a tenth of what `allocation.check` forgives.
ROOM = 1e-10


class Rows(NamedTuple):
    """Usable pairs by request; row i is `start[i]:start[i + 1]`, in the order they were given."""

    start: I64  # (n + 1,)
    pair: I32  # (p,) position among the pairs as given
    pool: I32  # (p,)
    value: F64  # (p,) > 0
    demand: F64  # (p,) > 0
    cost: F64  # (p,) >= 0; (0,) without budgets
    tenant: I32  # (n,), -1 = no budget; (0,) without budgets
    floor: F64  # (n,) >= 0, what each request is worth to the bound when no pair is better


class Columns(NamedTuple):
    """The same pairs by pool; column j is `start[j]:start[j + 1]`, by ascending request."""

    start: I64  # (k + 1,)
    pair: I32  # (p,) position in `Rows`
    request: I32  # (p,)


class Supply(NamedTuple):
    """What may be used."""

    capacity: F64  # (k,) units of each pool
    budget: F64  # (t,) USD of each tenant


@njit(cache=True, nogil=True, error_model="numpy")
def usable_rows(
    indptr: I64,
    pool: I32,
    value: F64,
    demand: F64,
    per_pair: bool,
    tenant: I32,
    cost: F64,
    supply: Supply,
    floor: F64,
) -> Rows:
    """Return the usable pairs among those given as compressed rows.

    `pool`, `value`, `cost` and, with `per_pair`, `demand` are (p,); `demand` is (n,) otherwise.
    `tenant` and `cost` are (0,) without budgets.
    """
    n, p = indptr.size - 1, value.size
    capacity, budget = supply.capacity, supply.budget
    budgeted = tenant.size > 0
    start = np.zeros(n + 1, np.int64)
    out_pair, out_pool = np.empty(p, np.int32), np.empty(p, np.int32)
    out_value, out_demand = np.empty(p, np.float64), np.empty(p, np.float64)
    out_cost = np.empty(p if budgeted else 0, np.float64)
    at = 0
    for i in range(n):
        owner = tenant[i] if budgeted else -1
        purse = budget[owner] * (1.0 + ROOM) if owner >= 0 else np.inf
        for e in range(indptr[i], indptr[i + 1]):
            units = demand[e] if per_pair else demand[i]
            usable = value[e] > 0.0 and units <= capacity[pool[e]] * (1.0 + ROOM)
            if budgeted and owner >= 0:
                usable = usable and cost[e] <= purse
            if usable:
                out_pair[at], out_pool[at] = e, pool[e]
                out_value[at], out_demand[at] = value[e], units
                if budgeted:
                    out_cost[at] = cost[e] if owner >= 0 else 0.0
                at += 1
        start[i + 1] = at
    return Rows(
        start, out_pair[:at], out_pool[:at], out_value[:at], out_demand[:at],
        out_cost[:at], tenant, floor,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def by_pool(rows: Rows, k: int) -> Columns:
    """Return the pairs by pool, a counting sort."""
    start = np.zeros(k + 1, np.int64)
    for e in range(rows.pool.size):
        start[rows.pool[e] + 1] += 1
    for j in range(k):
        start[j + 1] += start[j]
    place = start[:k].copy()
    pair = np.empty(rows.pool.size, np.int32)
    request = np.empty(rows.pool.size, np.int32)
    for i in range(rows.start.size - 1):
        for e in range(rows.start[i], rows.start[i + 1]):
            at = place[rows.pool[e]]
            pair[at], request[at] = e, i
            place[rows.pool[e]] = at + 1
    return Columns(start, pair, request)
