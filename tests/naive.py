"""Slow, obvious twins of the pair kernels: plain Python loops written from spec, section 4.

Every twin takes the same tables as its kernel and shares no code with it.
"""

import math
from typing import NamedTuple

from kernels.pairs import BlockTable, OfferTable, RequestTable, Supply
from kernels.remedies import Objective, Stakes


class Pair(NamedTuple):
    """A feasible pair: row of the offer table, fleet offer, score."""

    position: int
    offer: int
    score: float


def feasible_pairs(
    q: OfferTable, r: RequestTable, s: Supply, normalized: bool, i: int
) -> list[Pair]:
    """Feasible offers of request `i` with their scores, in fleet order."""
    budget = s.budget[r.tenant[i]] if r.tenant[i] >= 0 else math.inf
    feasible = []
    for o in range(q.start[r.group[i]], q.start[r.group[i] + 1]):
        if q.price[o] > r.max_price[i] or q.latency[o] > r.max_latency[i]:
            continue
        if q.reputation[o] < r.min_reputation[i] or s.left[q.pool[o]] < r.hours[i]:
            continue
        if q.price[o] * r.hours[i] > budget:
            continue
        feasible.append(o)
    unit_price = min((float(q.price[o]) for o in feasible), default=1.0) if normalized else 1
    unit_latency = min((float(q.latency[o]) for o in feasible), default=1.0) if normalized else 1
    w_price, w_latency, w_reputation, w_availability = map(float, r.weights[i])
    pairs = []
    for o in feasible:
        price, latency, reputation = float(q.price[o]), float(q.latency[o]), float(q.reputation[o])
        left, total = float(s.left[q.pool[o]]), float(s.total[q.pool[o]])
        score = (
            w_price * unit_price / price
            + w_latency * unit_latency / latency
            + w_reputation * reputation / 100
            + w_availability * left / total
        )
        pairs.append(Pair(o, int(q.offer[o]), score))
    return pairs


def best(pairs: list[Pair]) -> Pair | None:
    """Best-scored pair; ties go to the offer listed first."""
    top = None
    for pair in pairs:
        if top is None or pair.score > top.score:
            top = pair
    return top


def greedy(
    q: OfferTable, r: RequestTable, s: Supply, normalized: bool
) -> tuple[list[int], list[float]]:
    """Offers and scores, request by request; `s` is modified."""
    offers, scores = [], []
    for i in range(r.hours.size):
        top = best(feasible_pairs(q, r, s, normalized, i))
        offers.append(top.offer if top else -1)
        scores.append(top.score if top else -1.0)
        if top:
            s.left[q.pool[top.position]] -= r.hours[i]
            if r.tenant[i] >= 0:
                s.budget[r.tenant[i]] -= q.price[top.position] * r.hours[i]
    return offers, scores


def blocking(b: BlockTable, r: RequestTable, s: Supply, i: int, j: int) -> dict[int, float]:
    """Constraints that forbid pair (i, j), by index, with the relative change that each needs."""
    budget = s.budget[r.tenant[i]] if r.tenant[i] >= 0 else math.inf
    cost, left = b.price[j] * r.hours[i], s.left[b.pool[j]]
    found = {}
    if not b.gpu_match[r.group[i], j]:
        found[0] = 2.0
    if not b.region_match[r.group[i], j]:
        found[1] = 1.0
    if b.price[j] > r.max_price[i]:
        found[2] = abs(b.price[j] / r.max_price[i] - 1)
    if b.latency[j] > r.max_latency[i]:
        found[3] = abs(b.latency[j] / r.max_latency[i] - 1)
    if b.reputation[j] < r.min_reputation[i]:
        found[4] = abs(b.reputation[j] / r.min_reputation[i] - 1)
    if left < r.hours[i]:
        found[5] = abs(left / r.hours[i] - 1)
    if cost > budget:
        found[6] = abs(budget / cost - 1)
    return found


def remedy(
    b: BlockTable, r: RequestTable, whole: Supply, after: Supply, stakes: Stakes, terms: Objective,
    i: int,
) -> tuple[int, int]:  # fmt: skip
    """Constraint and offer of the cheapest single relaxation for request `i`, or (-1, -1)."""
    hours, tenant = float(r.hours[i]), int(r.tenant[i])
    purse = whole.budget[tenant] if tenant >= 0 else math.inf
    usd = float(stakes.budget_price[tenant]) if tenant >= 0 else 0.0
    offers = [j for j in range(b.price.size) if b.active[j]]
    found, least = (-1, -1), math.inf
    for j in offers:
        pool, cost = b.pool[j], float(b.price[j]) * hours
        price = float(stakes.pool_price[pool])
        blocked = blocking(b, r, after, i, j)
        limits = [c for c in blocked if c < 5]
        charge = {5: price * hours, 6: usd * cost}
        if len(limits) == 1:
            which = limits[0]
            if whole.left[pool] < hours or cost > purse:
                continue
            if (5 in blocked and price == 0) or (6 in blocked and usd == 0):
                continue
        elif not limits and len(blocked) == 1:
            which = next(iter(blocked))
            short = {5: hours - after.left[pool], 6: cost - (after.budget[tenant] if usd else 0)}
            charge[which] = (price if which == 5 else usd) * short[which]
        else:
            continue
        value = value_there(b, r, whole, stakes, terms, i, j)
        if value - charge[5] - charge[6] > 1e-9 * value and blocked[which] < least:
            found, least = (which, j), blocked[which]
    return found


def value_there(
    b: BlockTable, r: RequestTable, whole: Supply, stakes: Stakes, terms: Objective, i: int, j: int
) -> float:
    """Value of request `i` at offer `j`, were that feasible too."""
    unit_price = unit_latency = 1.0
    if terms.normalized:
        feasible = [k for k in range(b.price.size) if not blocking(b, r, whole, i, k)]
        unit_price = min(float(b.price[k]) for k in (*feasible, j))
        unit_latency = min(float(b.latency[k]) for k in (*feasible, j))
    w_price, w_latency, w_reputation, w_availability = map(float, r.weights[i])
    left, total = float(whole.left[b.pool[j]]), float(whole.total[b.pool[j]])
    score = (
        w_price * unit_price / float(b.price[j])
        + w_latency * unit_latency / float(b.latency[j])
        + w_reputation * float(b.reputation[j]) / 100
        + (w_availability * left / total if total else 0.0)
    )
    if terms.per_request:
        top = max(float(stakes.best[i]), score)
        score = score / top if top > 0 else 1.0
    return float(stakes.worth[i]) * (terms.reward + score)
