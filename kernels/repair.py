"""From prices to a feasible assignment: rounding, then improvement. Nothing here is random.

At good prices nearly every request can have its best pair; only those near a tie do not fit. What
an assignment lacks to the bound is exactly

    sum over pools and budgets of price x what is left unused
    + sum over requests of (best net - net of what they got),

so improvement means to fill what is priced with requests that lose little by it.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.prices import Leaders
from kernels.rows import ROOM, Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


class Plan(NamedTuple):
    """An assignment and what it leaves; modified in place by everything here."""

    choice: I32  # (n,) position in `Rows`, -1 = refused
    left: F64  # (k,) units; a full pool may be ROOM below 0
    purse: F64  # (t,) USD


@njit(cache=True, nogil=True, error_model="numpy")
def empty_plan(rows: Rows, supply: Supply) -> Plan:
    """Return the plan that refuses everybody."""
    choice = np.full(rows.start.size - 1, -1, np.int32)
    return Plan(choice, supply.capacity * (1.0 + ROOM), supply.budget * (1.0 + ROOM))


@njit(cache=True, nogil=True, error_model="numpy")
def worth(rows: Rows, plan: Plan) -> float:
    """Value of the assignment."""
    total = 0.0
    for i in range(plan.choice.size):
        if plan.choice[i] >= 0:
            total += rows.value[plan.choice[i]]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def place_in_order(rows: Rows, net: F64, order: I64, plan: Plan) -> int:
    """Give the refused among `order` their best pair by `net` (p,) that fits; ties to the first.

    Pairs with a net of -inf are not looked at. Returns pairs visited.
    """
    visited = 0
    for x in range(order.size):
        i = order[x]
        if plan.choice[i] >= 0:
            continue
        tenant = rows.tenant[i] if rows.tenant.size else -1
        purse = plan.purse[tenant] if tenant >= 0 else np.inf
        best, pick = -np.inf, -1
        for e in range(rows.start[i], rows.start[i + 1]):
            fits = tenant < 0 or rows.cost[e] <= purse
            if fits and net[e] > best and rows.demand[e] <= plan.left[rows.pool[e]]:
                best, pick = net[e], e
        visited += rows.start[i + 1] - rows.start[i]
        if pick >= 0:
            plan.choice[i] = pick
            plan.left[rows.pool[pick]] -= rows.demand[pick]
            if tenant >= 0:
                plan.purse[tenant] -= rows.cost[pick]
    return visited


@njit(cache=True, nogil=True, error_model="numpy")
def round_up(rows: Rows, net: F64, price: F64, leaders: Leaders, plan: Plan) -> int:
    """Give everybody the best net that fits, those who would lose most by less first.

    `net` (p,) is value - budget price x cost. Where first choices fit whole pools and budgets they
    are given at once. Returns pairs visited.
    """
    n = plan.choice.size
    wanted, spent = np.zeros(plan.left.size), np.zeros(plan.purse.size)
    first = np.full(n, -1, np.int32)
    reduced = np.empty(rows.pool.size)
    for i in range(n):
        best = 0.0
        for e in range(rows.start[i], rows.start[i + 1]):
            reduced[e] = net[e] - price[rows.pool[e]] * rows.demand[e]
            if reduced[e] > best:
                best, first[i] = reduced[e], e
        if first[i] >= 0:
            wanted[rows.pool[first[i]]] += rows.demand[first[i]]
            if rows.tenant.size and rows.tenant[i] >= 0:
                spent[rows.tenant[i]] += rows.cost[first[i]]
    margin, crowd, size = np.empty(n), np.empty(n, np.int64), 0
    for i in range(n):
        e = first[i]
        if e < 0:
            continue
        tenant = rows.tenant[i] if rows.tenant.size else -1
        fits = wanted[rows.pool[e]] <= plan.left[rows.pool[e]]
        if tenant >= 0:
            fits = fits and spent[tenant] <= plan.purse[tenant]
        if fits:
            plan.choice[i] = e
        else:
            margin[size] = (leaders.net[i, 1] - leaders.net[i, 0]) / rows.demand[e]
            crowd[size] = i
            size += 1
    for i in range(n):
        e = plan.choice[i]
        if e >= 0:
            plan.left[rows.pool[e]] -= rows.demand[e]
            if rows.tenant.size and rows.tenant[i] >= 0:
                plan.purse[rows.tenant[i]] -= rows.cost[e]
    order = crowd[:size][np.argsort(margin[:size], kind="mergesort")]
    return rows.pool.size + place_in_order(rows, reduced, order, plan)


@njit(cache=True, nogil=True, error_model="numpy")
def fill(rows: Rows, price: F64, plan: Plan) -> int:
    """Serve refused requests that still fit, worth most at the prices first; pairs visited.

    Afterwards no refused request fits.
    """
    n = plan.choice.size
    gain, order, size, visited = np.empty(n), np.empty(n, np.int64), 0, 0
    for i in range(n):
        if plan.choice[i] >= 0:
            continue
        best = -np.inf
        tenant = rows.tenant[i] if rows.tenant.size else -1
        for e in range(rows.start[i], rows.start[i + 1]):
            j = rows.pool[e]
            fits = tenant < 0 or rows.cost[e] <= plan.purse[tenant]
            if fits and rows.demand[e] <= plan.left[j]:
                best = max(best, rows.value[e] - price[j] * rows.demand[e])
        visited += rows.start[i + 1] - rows.start[i]
        if best > -np.inf:
            gain[size], order[size] = -best, i
            size += 1
    chosen = order[:size][np.argsort(gain[:size], kind="mergesort")]
    return visited + place_in_order(rows, rows.value, chosen, plan)
