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


@njit(cache=True, error_model="numpy")
def _by_tier(b):  # type: ignore[no-untyped-def]
    """List active offers by class and by what is foreign: nothing, region, GPU type.

    Row pointers (3 c + 1,) and fleet offers, ascending within a row; both foreign is in no row.
    """
    classes, m = b.gpu_match.shape
    start = np.zeros(3 * classes + 1, np.int64)
    offer = np.empty(classes * m, np.int32)
    at = 0
    for g in range(classes):
        for tier in range(3):
            for j in range(m):
                foreign = 2 * (not b.gpu_match[g, j]) + (not b.region_match[g, j])
                if b.active[j] and foreign == tier:
                    offer[at] = j
                    at += 1
            start[3 * g + tier + 1] = at
    return start, offer


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
    listed first. What is foreign is looked at only where nothing closer is as little effort.
    """
    kind, offer = np.full(rows.size, -1, np.int32), np.full(rows.size, -1, np.int32)
    start, listed = _by_tier(b)
    for x in range(rows.size):
        i = rows[x]
        first, hours, tenant = 3 * r.group[i], r.hours[i], r.tenant[i]
        max_price, max_latency = r.max_price[i], r.max_latency[i]
        min_reputation = r.min_reputation[i]
        purse, purse_left, budget_price = np.inf, np.inf, 0.0
        if tenant >= 0:
            purse, purse_left = whole.budget[tenant], after.budget[tenant]
            budget_price = stakes.budget_price[tenant]
        unit_price, unit_latency = np.inf, np.inf
        if terms.normalized:
            for e in range(start[first], start[first + 1]):
                j = listed[e]
                if (
                    b.price[j] <= max_price and b.latency[j] <= max_latency
                    and b.reputation[j] >= min_reputation
                    and whole.left[b.pool[j]] >= hours and b.price[j] * hours <= purse
                ):  # fmt: skip
                    unit_price = min(unit_price, b.price[j])
                    unit_latency = min(unit_latency, b.latency[j])
        least = np.inf
        for tier in range(3):
            tier_effort = (0.0, terms.region_effort, terms.gpu_effort)[tier]
            if least < tier_effort:
                break
            for e in range(start[first + tier], start[first + tier + 1]):
                j = listed[e]
                price, latency, reputation = b.price[j], b.latency[j], b.reputation[j]
                dear, slow = price > max_price, latency > max_latency
                shady = reputation < min_reputation
                wishes = (tier > 0) + dear + slow + shady
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
                    else:
                        which, effort = (GPU if tier == 2 else REGION), tier_effort
                elif short and not poor:
                    which, effort, taken = CAPACITY, 1.0 - room / hours, hours - room
                elif poor and not short:
                    which, effort, paid = BUDGET, 1.0 - purse_left / cost, cost - purse_left
                else:
                    continue
                if effort > least or (effort == least and j > offer[x]):
                    continue
                best_price, best_latency = 1.0, 1.0
                if terms.normalized:
                    best_price, best_latency = min(unit_price, price), min(unit_latency, latency)
                total = whole.total[pool]
                score = (
                    r.weights[i, 0] * best_price / price
                    + r.weights[i, 1] * best_latency / latency
                    + r.weights[i, 2] * reputation / 100.0
                    + (r.weights[i, 3] * whole.left[pool] / total if total > 0.0 else 0.0)
                )
                if terms.per_request:
                    best = max(stakes.best[i], score)
                    score = score / best if best > 0.0 else 1.0
                value = stakes.worth[i] * (terms.reward + score)
                if value - pool_price * taken - budget_price * paid > TIE * value:
                    least, kind[x], offer[x] = effort, which, j
    return kind, offer
