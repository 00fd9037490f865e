"""The cheapest single relaxation that would have placed a refused request at the batch's prices.

Says feasibility, score and value again on purpose, beside `kernels.pairs`: a kernel and its helpers
stay in one file, or Numba's cache goes stale. The tests hold both against plain Python loops.

Conventions are those of `kernels.pairs`: n requests, m offers, k pools, t tenants with a budget, c
classes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.pairs import BlockTable, RequestTable, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

NONE = -1
GPU, REGION, PRICE, LATENCY, REPUTATION, CAPACITY, BUDGET = range(7)  # as in `kernels.pairs`

# A reduced value below this share of the value is a tie, in which anybody may win.
TIE = 1e-9


class Stakes(NamedTuple):
    """What requests are worth, and what the batch's prices charge them."""

    worth: F64  # (n,) what each request's value is weighed by
    best: F64  # (n,) best score among the feasible pairs, -1 where there are none
    pool_price: F64  # (k,) value per GPU-hour, >= 0
    budget_price: F64  # (t,) value per USD, >= 0


class Objective(NamedTuple):
    """How a score becomes a value, and how hard it is to give up a named wish."""

    reward: float
    per_request: bool  # the score over the request's best one, else as it is
    normalized: bool
    gpu_effort: float
    region_effort: float


@njit(cache=True, nogil=True, error_model="numpy")
def near_offers(b: BlockTable) -> tuple[I64, I32]:
    """List by class the active offers that differ from its wishes in GPU type or region at most.

    Row pointers (c + 1,) and fleet offers, ascending within a class.
    """
    classes, m = b.gpu_match.shape
    start = np.zeros(classes + 1, np.int64)
    offer = np.empty(classes * m, np.int32)
    at = 0
    for g in range(classes):
        for j in range(m):
            offer[at] = j
            at += b.active[j] and (b.gpu_match[g, j] or b.region_match[g, j])
        start[g + 1] = at
    return start, offer[:at].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def remedies(
    b: BlockTable,
    r: RequestTable,
    whole: Supply,
    after: Supply,
    stakes: Stakes,
    terms: Objective,
    rows: I64,
) -> tuple[I32, I32]:
    """Return which constraint to relax for refused requests `rows` (x,), and for which offer.

    Both (x,), -1 where no single relaxation is enough. `whole` is the supply at the batch's start,
    `after` what the batch left.

    An offer that a limit of the request alone forbids is a remedy when it could hold the request
    at all, has room after the batch or a price at which room is made for whoever pays it, and the
    request is worth what it would pay. An offer that nothing forbids but capacity, or nothing but
    the budget, is one when the request is worth what is missing of that and all that it takes of
    the other. The least effort wins, as in `kernels.pairs.block_reasons`; ties go to the offer
    listed first.
    """
    kind, offer = np.full(rows.size, NONE, np.int32), np.full(rows.size, NONE, np.int32)
    start, near = near_offers(b)
    for x in range(rows.size):
        i = rows[x]
        group, hours, tenant = r.group[i], r.hours[i], r.tenant[i]
        max_price, max_latency = r.max_price[i], r.max_latency[i]
        min_reputation = r.min_reputation[i]
        purse, purse_left, budget_price = np.inf, np.inf, 0.0
        if tenant >= 0:
            purse, purse_left = whole.budget[tenant], after.budget[tenant]
            budget_price = stakes.budget_price[tenant]
        unit_price, unit_latency = np.inf, np.inf
        if terms.normalized:
            for e in range(start[group], start[group + 1]):
                j = near[e]
                if (
                    b.gpu_match[group, j] and b.region_match[group, j]
                    and b.price[j] <= max_price and b.latency[j] <= max_latency
                    and b.reputation[j] >= min_reputation
                    and whole.left[b.pool[j]] >= hours and b.price[j] * hours <= purse
                ):  # fmt: skip
                    unit_price = min(unit_price, b.price[j])
                    unit_latency = min(unit_latency, b.latency[j])
        least = np.inf
        for e in range(start[group], start[group + 1]):
            j = near[e]
            price, latency, reputation = b.price[j], b.latency[j], b.reputation[j]
            foreign = not (b.gpu_match[group, j] and b.region_match[group, j])
            dear, slow = price > max_price, latency > max_latency
            shady = reputation < min_reputation
            wishes = foreign + dear + slow + shady
            if wishes > 1:
                continue
            pool, cost = b.pool[j], price * hours
            room, pool_price = after.left[pool], stakes.pool_price[pool]
            short, poor = room < hours, cost > purse_left
            taken, paid = hours, cost
            if wishes == 1:
                if (
                    hours > whole.left[pool] or cost > purse
                    or (short and pool_price <= 0.0) or (poor and budget_price <= 0.0)
                ):  # fmt: skip
                    continue
                if dear:
                    which, effort = PRICE, price / max_price - 1.0
                elif slow:
                    which, effort = LATENCY, latency / max_latency - 1.0
                elif shady:
                    which, effort = REPUTATION, 1.0 - reputation / min_reputation
                elif b.gpu_match[group, j]:
                    which, effort = REGION, terms.region_effort
                else:
                    which, effort = GPU, terms.gpu_effort
            elif short and not poor:
                which, effort, taken = CAPACITY, 1.0 - room / hours, hours - room
            elif poor and not short:
                which, effort, paid = BUDGET, 1.0 - purse_left / cost, cost - purse_left
            else:
                continue
            if effort >= least:
                continue
            best_price, best_latency = 1.0, 1.0
            if terms.normalized:
                best_price, best_latency = min(unit_price, price), min(unit_latency, latency)
            free = whole.left[pool] / whole.total[pool] if whole.total[pool] > 0.0 else 0.0
            score = (
                r.weights[i, 0] * best_price / price
                + r.weights[i, 1] * best_latency / latency
                + r.weights[i, 2] * reputation / 100.0
                + r.weights[i, 3] * free
            )
            if terms.per_request:
                best = max(stakes.best[i], score)
                score = score / best if best > 0.0 else 1.0
            value = stakes.worth[i] * (terms.reward + score)
            if value - pool_price * taken - budget_price * paid > TIE * value:
                least, kind[x], offer[x] = effort, which, j
    return kind, offer
