"""Feasibility and score of request x offer pairs: best, rows of feasible pairs, block reasons.

Requests are grouped in classes (GPU types x region); a class lists the offers that can match it, in
the order of the fleet, so a kernel visits only those. Nothing here is n x m.

The documented score (spec, section 4) is evaluated as it is written, from left to right,

    w_price * 1/price + w_latency * 1/latency + w_reputation * reputation/100
    + w_availability * left/total

so that a plain Python loop gets the same bits and hence the same ties. With `normalized`, the best
price and latency over the request's feasible pairs stand in the place of the two 1s.

Conventions: n requests, m offers, k pools, t tenants with a budget, c classes, p listed offers over
all classes. Prices in USD per hour, latency in ms, demand in GPU-hours. No fastmath: limits that
are not said are infinite. `error_model="numpy"` because a pool of capacity 0 has left/total = 0/0;
such a pair is never feasible and its score never read.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

N_CONSTRAINTS = 7
GPU, REGION, PRICE, LATENCY, REPUTATION, CAPACITY, BUDGET = range(N_CONSTRAINTS)

# Effort of giving up a named wish, on the scale of relative changes of the numeric limits
# (0.1 = a limit raised by a tenth): another region is as hard as doubling a limit, another GPU
# type twice that.
REGION_EFFORT = 1.0
GPU_EFFORT = 2.0

BLOCK = 512  # requests scored together; 10 columns x 512 x 8 bytes stay in the L1 cache


class OfferTable(NamedTuple):
    """Offers listed by class; row `start[c]:start[c + 1]` belongs to class c, in fleet order."""

    start: I64  # (c + 1,)
    offer: I32  # (p,) index of the offer in the fleet
    pool: I32  # (p,)
    price: F64  # (p,)
    latency: F64  # (p,)
    reputation: F64  # (p,) 0..100


class RequestTable(NamedTuple):
    """Requests as columns; limits that are not said are +inf (reputation: -inf)."""

    group: I32  # (n,) class of the request
    hours: F64  # (n,) demand
    max_price: F64  # (n,)
    max_latency: F64  # (n,)
    min_reputation: F64  # (n,)
    weights: F64  # (n, 4) price, latency, reputation, availability
    tenant: I32  # (n,) row of `Supply.budget`, -1 = no budget


class Supply(NamedTuple):
    """What is left when the pairs are looked at."""

    left: F64  # (k,) GPU-hours left in each pool
    total: F64  # (k,) GPU-hours of each pool when whole
    budget: F64  # (t,) USD left of each budget


# Helpers take scalars: passing the NamedTuples on costs a reference count for each array and pair,
# which made these loops ten times slower.
@njit(cache=True, inline="always", error_model="numpy")
def _score(  # type: ignore[no-untyped-def]
    w_price, w_latency, w_reputation, w_availability,
    price, latency, reputation, left, total, unit_price, unit_latency,
):  # fmt: skip
    return (
        w_price * unit_price / price
        + w_latency * unit_latency / latency
        + w_reputation * reputation / 100.0
        + w_availability * left / total
    )


@njit(cache=True, inline="always", error_model="numpy")
def _feasible(  # type: ignore[no-untyped-def]
    price, latency, reputation, left, max_price, max_latency, min_reputation, hours, budget
):  # fmt: skip
    return (
        (price <= max_price)
        & (latency <= max_latency)
        & (reputation >= min_reputation)
        & (left >= hours)
        & (price * hours <= budget)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def count_pairs(q: OfferTable, r: RequestTable, s: Supply) -> I64:
    """Number of feasible pairs of each request, shape (n,)."""
    counts = np.zeros(r.hours.size, np.int64)
    for i in range(r.hours.size):
        max_price, max_latency = r.max_price[i], r.max_latency[i]
        min_reputation, hours = r.min_reputation[i], r.hours[i]
        budget = s.budget[r.tenant[i]] if r.tenant[i] >= 0 else np.inf
        found = 0
        for o in range(q.start[r.group[i]], q.start[r.group[i] + 1]):
            found += _feasible(
                q.price[o], q.latency[o], q.reputation[o], s.left[q.pool[o]],
                max_price, max_latency, min_reputation, hours, budget,
            )  # fmt: skip
        counts[i] = found
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def score_rows(
    q: OfferTable,
    r: RequestTable,
    s: Supply,
    normalized: bool,
    rows: I64,
    indptr: I64,
    position: I32,
    score: F64,
) -> None:
    """Write the feasible pairs of requests `rows` (x,): row of the table and score, in fleet order.

    `indptr` (x + 1,) must leave exactly the room that `count_pairs` says.
    """
    for x in range(rows.size):
        i = rows[x]
        max_price, max_latency = r.max_price[i], r.max_latency[i]
        min_reputation, hours = r.min_reputation[i], r.hours[i]
        budget = s.budget[r.tenant[i]] if r.tenant[i] >= 0 else np.inf
        w_price, w_latency = r.weights[i, 0], r.weights[i, 1]
        w_reputation, w_availability = r.weights[i, 2], r.weights[i, 3]
        at = indptr[x]
        unit_price, unit_latency = np.inf, np.inf
        for o in range(q.start[r.group[i]], q.start[r.group[i] + 1]):
            price, latency = q.price[o], q.latency[o]
            if _feasible(
                price, latency, q.reputation[o], s.left[q.pool[o]],
                max_price, max_latency, min_reputation, hours, budget,
            ):  # fmt: skip
                position[at] = o
                unit_price, unit_latency = min(unit_price, price), min(unit_latency, latency)
                at += 1
        if not normalized:
            unit_price, unit_latency = 1.0, 1.0
        for e in range(indptr[x], at):
            o = position[e]
            score[e] = _score(
                w_price, w_latency, w_reputation, w_availability,
                q.price[o], q.latency[o], q.reputation[o],
                s.left[q.pool[o]], s.total[q.pool[o]], unit_price, unit_latency,
            )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def best_of_rows(indptr: I64, score: F64) -> F64:
    """Best score of each row, shape (n,), -1 where the row is empty."""
    best = np.full(indptr.size - 1, -1.0)
    for i in range(best.size):
        for e in range(indptr[i], indptr[i + 1]):
            best[i] = max(best[i], score[e])
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def keep_best(indptr: I64, position: I32, score: F64, most: int, room: I64) -> F64:
    """Shorten rows to their `most` best-scored pairs in place; return the best score left out.

    `room` (n + 1,) receives the row pointers of the shortened rows, which are moved to the front
    of `position` and `score`. Ties go to the pair listed first; the fleet order stays. Returns
    shape (n,), -1 where nothing was left out.
    """
    n = indptr.size - 1
    rest = np.full(n, -1.0)
    room[0] = 0
    for i in range(n):
        low, high = indptr[i], indptr[i + 1]
        at = room[i]
        above, ties = -np.inf, 0
        if high - low > most:
            ranked = np.sort(score[low:high])
            above = ranked[high - low - most]
            rest[i] = ranked[high - low - most - 1]
            ties = most - np.sum(ranked > above)
        for e in range(low, high):
            tie = score[e] == above and ties > 0
            ties -= tie
            if score[e] > above or tie:
                position[at], score[at] = position[e], score[e]
                at += 1
        room[i + 1] = at
    return rest


@njit(cache=True, nogil=True, error_model="numpy")
def best_pairs(
    q: OfferTable, r: RequestTable, s: Supply, normalized: bool, out_offer: I32, out_score: F64
) -> None:
    """Write each request's best-scored feasible fleet offer (-1: none) and its score, both (n,).

    Ties go to the offer listed first. Works class by class in blocks of requests: the inner loop
    runs over requests with one offer held fixed, reads one packed array and writes two, which is
    what lets LLVM vectorise it (it gives up at about eight separate arrays).
    """
    n = r.hours.size
    c = q.start.size - 1
    first = np.zeros(c + 1, np.int64)
    for i in range(n):
        first[r.group[i] + 1] += 1
    first = np.cumsum(first)
    order = np.empty(n, np.int32)
    at = first[:-1].copy()
    for i in range(n):
        order[at[r.group[i]]] = i
        at[r.group[i]] += 1
    cols = np.empty((9, BLOCK), np.float64)
    units = np.ones((2, BLOCK), np.float64)
    best = np.empty(BLOCK, np.float64)
    pick = np.empty(BLOCK, np.int64)
    for g in range(c):
        for low in range(first[g], first[g + 1], BLOCK):
            size = min(BLOCK, first[g + 1] - low)
            _gather(r, s, order[low : low + size], cols)
            if normalized:
                _block_units(q, s, g, cols, units, size)
            best[:] = -1.0
            pick[:] = -1
            _block_best(q, s, g, cols, units, best, pick, size)
            for x in range(size):
                i = order[low + x]
                out_score[i] = best[x]
                out_offer[i] = q.offer[pick[x]] if pick[x] >= 0 else -1


@njit(cache=True, error_model="numpy")
def _gather(r, s, rows, cols):  # type: ignore[no-untyped-def]
    for x in range(rows.size):
        i = rows[x]
        cols[0, x] = r.weights[i, 0]
        cols[1, x] = r.weights[i, 1]
        cols[2, x] = r.weights[i, 2]
        cols[3, x] = r.weights[i, 3]
        cols[4, x] = r.max_price[i]
        cols[5, x] = r.max_latency[i]
        cols[6, x] = r.min_reputation[i]
        cols[7, x] = r.hours[i]
        cols[8, x] = s.budget[r.tenant[i]] if r.tenant[i] >= 0 else np.inf


@njit(cache=True, error_model="numpy")
def _block_units(q, s, g, cols, units, size):  # type: ignore[no-untyped-def]
    units[:] = np.inf
    for o in range(q.start[g], q.start[g + 1]):
        price, latency, reputation = q.price[o], q.latency[o], q.reputation[o]
        left = s.left[q.pool[o]]
        for x in range(size):
            ok = _feasible(
                price, latency, reputation, left,
                cols[4, x], cols[5, x], cols[6, x], cols[7, x], cols[8, x],
            )  # fmt: skip
            units[0, x] = price if ok & (price < units[0, x]) else units[0, x]
            units[1, x] = latency if ok & (latency < units[1, x]) else units[1, x]


@njit(cache=True, error_model="numpy")
def _block_best(q, s, g, cols, units, best, pick, size):  # type: ignore[no-untyped-def]
    for o in range(q.start[g], q.start[g + 1]):
        price, latency, reputation = q.price[o], q.latency[o], q.reputation[o]
        left, total = s.left[q.pool[o]], s.total[q.pool[o]]
        for x in range(size):
            ok = _feasible(
                price, latency, reputation, left,
                cols[4, x], cols[5, x], cols[6, x], cols[7, x], cols[8, x],
            )  # fmt: skip
            score = _score(
                cols[0, x], cols[1, x], cols[2, x], cols[3, x], price, latency, reputation,
                left, total, units[0, x], units[1, x],
            )  # fmt: skip
            better = ok & (score > best[x])
            best[x] = score if better else best[x]
            pick[x] = o if better else pick[x]


@njit(cache=True, nogil=True, error_model="numpy")
def next_best(
    offers: I32, score: F64, indptr: I64, chosen: I32, out_offer: I32, out_score: F64
) -> F64:
    """Write the best-scored pairs of each row beside the chosen one; return the chosen one's score.

    Rows hold fleet offers and scores; `chosen` is (x,). `out_offer` and `out_score` are (x, top),
    best first, ties to the offer listed first, -1 where there are no more.
    """
    top = out_offer.shape[1]
    own = np.full(chosen.size, -1.0)
    out_offer[:] = -1
    out_score[:] = -1.0
    for x in range(chosen.size):
        for e in range(indptr[x], indptr[x + 1]):
            if offers[e] == chosen[x]:
                own[x] = score[e]
                continue
            rank = top
            while rank > 0 and score[e] > out_score[x, rank - 1]:
                rank -= 1
            for later in range(top - 1, rank, -1):
                out_offer[x, later] = out_offer[x, later - 1]
                out_score[x, later] = out_score[x, later - 1]
            if rank < top:
                out_offer[x, rank] = offers[e]
                out_score[x, rank] = score[e]
    return own


@njit(cache=True, nogil=True, error_model="numpy")
def value_rows(
    indptr: I64, score: F64, best: F64, worth: F64, reward: float, per_request: bool
) -> F64:
    """Value of each pair, shape (pairs,): worth x (reward + score), or + score / best of its row.

    `worth` (n,) is what a request's value is weighed by. A best score of 0 counts as 1 of 1. One
    loop instead of NumPy's temporaries of the size of all pairs.
    """
    value = np.empty(score.size, np.float64)
    for i in range(best.size):
        for e in range(indptr[i], indptr[i + 1]):
            scaled = score[e]
            if per_request:
                scaled = score[e] / best[i] if best[i] > 0.0 else 1.0
            value[e] = worth[i] * (reward + scaled)
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def cost_rows(indptr: I64, offers: I32, price: F64, hours: F64) -> F64:
    """Cost in USD of each pair, shape (pairs,); `price` (m,) is by fleet offer, `hours` (n,)."""
    cost = np.empty(offers.size, np.float64)
    for i in range(hours.size):
        for e in range(indptr[i], indptr[i + 1]):
            cost[e] = price[offers[e]] * hours[i]
    return cost


class BlockTable(NamedTuple):
    """All offers in fleet order, with what each class of requests asks for."""

    gpu_match: NDArray[np.bool_]  # (c, m)
    region_match: NDArray[np.bool_]  # (c, m)
    active: NDArray[np.bool_]  # (m,)
    pool: I32  # (m,)
    price: F64  # (m,)
    latency: F64  # (m,)
    reputation: F64  # (m,)


@njit(cache=True, inline="always", error_model="numpy")
def _effort(limit, value):  # type: ignore[no-untyped-def]
    """Relative change that lets `value` meet `limit`; positive even where it rounds to 0."""
    return max(abs(value / limit - 1.0), 1e-300)


@njit(cache=True, nogil=True, error_model="numpy")
def block_reasons(b: BlockTable, r: RequestTable, s: Supply, rows: I64) -> tuple[I32, F64, I32]:
    """What stood in the way of the refused requests `rows` (x,), at the supply given.

    Returns
    -------
    at
        (x, 7) offer at which giving way on that one constraint would have been enough, -1 where
        no offer is blocked by it alone. Where no single constraint is enough for any offer: the
        offer of the least total effort, at each of the constraints that block it.
    effort
        (x, 7) relative change of the limit that is needed there; 0 where `at` is -1.
    stage
        (x,) how far the request came: 0 no offer met its own limits, 1 some did but none had
        capacity left, 2 some had capacity but the budget did not cover it, 3 nothing blocks.
    """
    at = np.full((rows.size, N_CONSTRAINTS), -1, np.int32)
    least = np.zeros((rows.size, N_CONSTRAINTS), np.float64)
    stage = np.zeros(rows.size, np.int32)
    effort = np.empty(N_CONSTRAINTS, np.float64)
    for x in range(rows.size):
        i = rows[x]
        group, hours = r.group[i], r.hours[i]
        max_price, max_latency, min_reputation = (
            r.max_price[i],
            r.max_latency[i],
            r.min_reputation[i],
        )
        budget = s.budget[r.tenant[i]] if r.tenant[i] >= 0 else np.inf
        single = False
        nearest_total = np.inf
        # First pass: offers that a single constraint blocks. Second, only where there are none:
        # the offer of the least total effort.
        for several in range(2):
            if single and several:
                break
            for j in range(b.price.size):
                if not b.active[j]:
                    continue
                price, left, cost = b.price[j], s.left[b.pool[j]], b.price[j] * hours
                wishes = (
                    (not b.gpu_match[group, j]) + (not b.region_match[group, j])
                    + (price > max_price) + (b.latency[j] > max_latency)
                    + (b.reputation[j] < min_reputation)
                )  # fmt: skip
                short, poor = left < hours, cost > budget
                if wishes == 0:
                    stage[x] = max(stage[x], 1 + (not short) * (1 + (not poor)))
                if wishes + short + poor != 1 and not several:
                    continue
                effort[:] = 0.0
                if not b.gpu_match[group, j]:
                    effort[GPU] = GPU_EFFORT
                if not b.region_match[group, j]:
                    effort[REGION] = REGION_EFFORT
                if price > max_price:
                    effort[PRICE] = _effort(max_price, price)
                if b.latency[j] > max_latency:
                    effort[LATENCY] = _effort(max_latency, b.latency[j])
                if b.reputation[j] < min_reputation:
                    effort[REPUTATION] = _effort(min_reputation, b.reputation[j])
                if short:
                    effort[CAPACITY] = _effort(hours, left)
                if poor:
                    effort[BUDGET] = _effort(cost, budget)
                total = np.sum(effort)
                if several and total < nearest_total:
                    nearest_total = total
                    for c in range(N_CONSTRAINTS):
                        least[x, c] = effort[c]
                        at[x, c] = j if effort[c] > 0.0 else -1
                elif not several:
                    single = True
                    which = np.argmax(effort)
                    if at[x, which] < 0 or total < least[x, which]:
                        at[x, which], least[x, which] = j, total
    return at, least, stage
