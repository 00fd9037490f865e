"""Dual prices of pools and budgets by exact coordinate minimisation.

For prices l of pools and u of budgets, the dual function

    sum of l x capacity + sum of u x budget + sum over requests of
    max(floor, best (value - l x demand - u x cost))

bounds every allocation from above; its minimum is the bound of the relaxed problem. Along one price
it is convex and piecewise linear: request by request, a highest line of the pairs that pay this
price, and a line for all that do not (slope 0). So the exact minimum is where the demand that
remains first fits the supply: each request yields thresholds (price at which it steps back, units
that it frees), and a weighted selection over them finds the price. The same holds for a budget with
costs as slopes. Sweeps over all coordinates converge in a few rounds where each pool has many
requests; prices of the batch before are nearly right.

Of each request, the best two nets in different pools are kept, so a pair sees the best of the
*other* pools without a walk along its row. A price that rises past them is the only reason to walk.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.rows import Columns, Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


# The next minimum is first looked for this many times as far as the last one was.
REACH = 2.0


class Leaders(NamedTuple):
    """The best two nets of each request in different pools, at least its floor (pool -1)."""

    net: F64  # (n, 2) descending
    pool: I32  # (n, 2)


class Tenants(NamedTuple):
    """Requests by tenant; row t is `start[t]:start[t + 1]`."""

    start: I64  # (t + 1,)
    request: I32


@njit(cache=True, nogil=True, error_model="numpy")
def by_tenant(tenant: I32, t: int) -> Tenants:
    """Return the requests of each tenant, ascending; those of -1 are in none."""
    start = np.zeros(t + 1, np.int64)
    for i in range(tenant.size):
        if tenant[i] >= 0:
            start[tenant[i] + 1] += 1
    for x in range(t):
        start[x + 1] += start[x]
    place = start[:t].copy()
    request = np.empty(start[t], np.int32)
    for i in range(tenant.size):
        if tenant[i] >= 0:
            request[place[tenant[i]]] = i
            place[tenant[i]] += 1
    return Tenants(start, request)


@njit(cache=True, nogil=True, error_model="numpy")
def clear(threshold: F64, weight: F64, size: int, supply: float) -> float:
    """Smallest price >= 0 above whose thresholds lies no more weight than `supply`.

    Weighted selection over the first `size` entries, which are **reordered**: partition around a
    pivot, and go on in the half where the supply ends.
    """
    total = 0.0
    for x in range(size):
        total += weight[x]
    if total <= supply:
        return 0.0
    low, high, above = 0, size, 0.0  # thresholds before `low` are higher, and weigh `above`
    while True:
        a, b, c = threshold[low], threshold[(low + high) // 2], threshold[high - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        # [low, up) > pivot, [up, x) == pivot, (down, high) < pivot
        up, x, down = low, low, high - 1
        greater, equal = 0.0, 0.0
        while x <= down:
            t, w = threshold[x], weight[x]
            if t > pivot:
                greater += w
                threshold[x], weight[x] = threshold[up], weight[up]
                threshold[up], weight[up] = t, w
                up += 1
                x += 1
            elif t < pivot:
                threshold[x], weight[x] = threshold[down], weight[down]
                threshold[down], weight[down] = t, w
                down -= 1
            else:
                equal += w
                x += 1
        if above + greater > supply:
            high = up
        elif above + greater + equal > supply or down + 1 >= high:
            return float(pivot)
        else:
            above += greater + equal
            low = down + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _thresholds(height, slope, size, floor, threshold, weight, at):  # type: ignore[no-untyped-def]
    """Append where the highest of `size` lines (height - price x slope) and `floor` changes."""
    h, s = floor, 0.0
    for x in range(size):
        if height[x] > h or (height[x] == h and slope[x] < s):
            h, s = height[x], slope[x]
    while s > 0.0:
        price, to_h, to_s = (h - floor) / s, floor, 0.0
        for x in range(size):
            if slope[x] < s:
                crossing = (h - height[x]) / (s - slope[x])
                if crossing < price or (crossing == price and slope[x] < to_s):
                    price, to_h, to_s = crossing, height[x], slope[x]
        threshold[at], weight[at] = price, s - to_s
        h, s = to_h, to_s
        at += 1
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def _lead(low, high, pools, net, demand, price, floor, i, lead_net, lead_pool):  # type: ignore[no-untyped-def]
    """Find the best two nets of request i in different pools."""
    first, second, first_pool, second_pool = floor, floor, -1, -1
    for e in range(low, high):
        j = pools[e]
        x = net[e] - price[j] * demand[e]
        if x > first:
            if j != first_pool:
                second, second_pool = first, first_pool
            first, first_pool = x, j
        elif x > second and j != first_pool:
            second, second_pool = x, j
    lead_net[i, 0], lead_net[i, 1] = first, second
    lead_pool[i, 0], lead_pool[i, 1] = first_pool, second_pool


@njit(cache=True, nogil=True, error_model="numpy")
def lead(rows: Rows, net: F64, price: F64, leaders: Leaders) -> None:
    """Write the leaders of every request; `net` (p,) is value - budget price x cost."""
    for i in range(rows.start.size - 1):
        _lead(
            rows.start[i], rows.start[i + 1], rows.pool, net, rows.demand, price,
            rows.floor[i], i, leaders.net, leaders.pool,
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def charge(rows: Rows, budget_price: F64) -> F64:
    """Value of each pair less what its cost is charged, shape (p,)."""
    if rows.tenant.size == 0:
        return rows.value
    net = rows.value.copy()
    for i in range(rows.start.size - 1):
        if rows.tenant[i] >= 0:
            u = budget_price[rows.tenant[i]]
            if u > 0.0:
                for e in range(rows.start[i], rows.start[i + 1]):
                    net[e] -= u * rows.cost[e]
    return net


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(  # type: ignore[no-untyped-def]
    j, low, high, pair, request, net, demand, lead_net, lead_pool, near, far,
    threshold, weight, height, slope,
):  # fmt: skip
    """Write the thresholds of pool j in (near, far]; return how many, and the weight beyond."""
    at, x, beyond = np.int64(0), low, 0.0  # no literal: `_thresholds` is compiled for its type
    while x < high:
        i, e = request[x], pair[x]
        other = lead_net[i, 1] if lead_pool[i, 0] == j else lead_net[i, 0]
        x += 1
        if x == high or request[x] != i:
            surplus, units = net[e] - other, demand[e]
            if surplus > far * units:
                beyond += units
            elif surplus > near * units:
                threshold[at], weight[at] = surplus / units, units
                at += 1
            continue
        size, begin = 1, at
        height[0], slope[0] = net[e], demand[e]
        while x < high and request[x] == i:
            height[size], slope[size] = net[pair[x]], demand[pair[x]]
            size += 1
            x += 1
        end = _thresholds(height, slope, size, other, threshold, weight, at)
        for y in range(begin, end):
            if threshold[y] > far:
                beyond += weight[y]
            elif threshold[y] > near:
                threshold[at], weight[at] = threshold[y], weight[y]
                at += 1
    return at, beyond


@njit(cache=True, nogil=True, error_model="numpy")
def _pool_step(  # type: ignore[no-untyped-def]
    j, rows, columns, net, price, reach, supply, relax, lead_net, lead_pool,
    threshold, weight, height, slope,
):  # fmt: skip
    """Move the price of pool j to its minimum, and `relax` times as far; return pairs visited."""
    start, pools, demand, floor = rows.start, rows.pool, rows.demand, rows.floor
    pair, request = columns.pair, columns.request
    low, high = columns.start[j], columns.start[j + 1]
    old = price[j]
    visited = high - low
    # The minimum is looked for near the old price first; most thresholds then are only counted.
    near, far = max(old - reach[j], 0.0), old + reach[j]
    size, beyond = _gather(
        j, low, high, pair, request, net, demand, lead_net, lead_pool, near, far,
        threshold, weight, height, slope,
    )  # fmt: skip
    within = 0.0
    for x in range(size):
        within += weight[x]
    if beyond > supply or (near > 0.0 and beyond + within <= supply):
        visited += high - low
        beyond = 0.0
        size, _ = _gather(
            j, low, high, pair, request, net, demand, lead_net, lead_pool, 0.0, np.inf,
            threshold, weight, height, slope,
        )  # fmt: skip
    new = clear(threshold, weight, size, supply - beyond)
    reach[j] = REACH * abs(new - old)
    new = max(old + relax * (new - old), 0.0)
    if new == old:
        return visited
    price[j] = new
    x = low
    while x < high:
        i = np.int64(request[x])
        first, second = lead_pool[i, 0], lead_pool[i, 1]
        if new > old and first != j and second != j:
            x += 1
            continue
        best = -np.inf
        while x < high and request[x] == i:
            e = pair[x]
            best = max(best, net[e] - new * demand[e])
            x += 1
        if first == j:
            if best >= lead_net[i, 1]:
                lead_net[i, 0] = best
                continue
        elif best > lead_net[i, 0]:
            lead_net[i, 1], lead_pool[i, 1] = lead_net[i, 0], first
            lead_net[i, 0], lead_pool[i, 0] = best, j
            continue
        elif new < old:
            if best > lead_net[i, 1]:
                lead_net[i, 1], lead_pool[i, 1] = best, j
            continue
        _lead(start[i], start[i + 1], pools, net, demand, price, floor[i], i, lead_net, lead_pool)
        visited += start[i + 1] - start[i]
    return visited


@njit(cache=True, nogil=True, error_model="numpy")
def sweep_pools(
    rows: Rows,
    columns: Columns,
    net: F64,
    capacity: F64,
    price: F64,
    reach: F64,
    relax: float,
    leaders: Leaders,
) -> int:
    """Minimise over the price of each pool in turn; return pairs visited.

    A price moves `relax` times as far as its own minimum is away: the prices of neighbouring pools
    rise and fall together, and each waits for the others. `reach` (k,) is how far around a price
    its minimum is looked for first, infinite at the start. `price` (k,), `reach` and `leaders` are
    **modified in place**; `net` (p,) is value - budget price x cost.
    """
    longest = 1
    for j in range(capacity.size):
        longest = max(longest, columns.start[j + 1] - columns.start[j])
    threshold, weight = np.empty(longest), np.empty(longest)
    height, slope = np.empty(longest), np.empty(longest)
    visited = 0
    for j in range(capacity.size):
        visited += _pool_step(
            j, rows, columns, net, price, reach, capacity[j], relax, leaders.net, leaders.pool,
            threshold, weight, height, slope,
        )  # fmt: skip
    return visited


@njit(cache=True, nogil=True, error_model="numpy")
def sweep_budgets(
    rows: Rows,
    tenants: Tenants,
    net: F64,
    supply: Supply,
    price: F64,
    budget_price: F64,
    leaders: Leaders,
) -> int:
    """Minimise over the price of each budget in turn; return pairs visited.

    `net` (p,), `budget_price` (t,) and `leaders` are **modified in place**.
    """
    start, pools, value, cost = rows.start, rows.pool, rows.value, rows.cost
    longest, widest = 1, 1
    for t in range(supply.budget.size):
        size = 0
        for x in range(tenants.start[t], tenants.start[t + 1]):
            i = tenants.request[x]
            size += start[i + 1] - start[i]
            widest = max(widest, start[i + 1] - start[i])
        longest = max(longest, size)
    threshold, weight = np.empty(longest), np.empty(longest)
    height, slope = np.empty(widest), np.empty(widest)
    visited = 0
    for t in range(supply.budget.size):
        at = int(np.int64(0))  # no literal: for one, callees are compiled once more
        for x in range(tenants.start[t], tenants.start[t + 1]):
            i = np.int64(tenants.request[x])
            for e in range(start[i], start[i + 1]):
                height[e - start[i]] = value[e] - price[pools[e]] * rows.demand[e]
                slope[e - start[i]] = cost[e]
            size = start[i + 1] - start[i]
            at = _thresholds(height, slope, size, rows.floor[i], threshold, weight, at)
            visited += size
        new = clear(threshold, weight, at, supply.budget[t])
        if new == budget_price[t]:
            continue
        budget_price[t] = new
        for x in range(tenants.start[t], tenants.start[t + 1]):
            i = np.int64(tenants.request[x])
            for e in range(start[i], start[i + 1]):
                net[e] = value[e] - new * cost[e]
            _lead(
                start[i], start[i + 1], pools, net, rows.demand, price, rows.floor[i], i,
                leaders.net, leaders.pool,
            )  # fmt: skip
    return visited


@njit(cache=True, nogil=True, error_model="numpy")
def level(rows: Rows, net: F64, capacity: F64) -> float:
    """Price at which all pools, taken as one, would clear.

    A start for `sweep_pools`: where offers are much alike, no price can rise alone.
    """
    n = rows.start.size - 1
    threshold, weight, supply = np.empty(n), np.empty(n), 0.0
    for j in range(capacity.size):
        supply += capacity[j]
    for i in range(n):
        best, units = 0.0, 1.0
        for e in range(rows.start[i], rows.start[i + 1]):
            if net[e] > best:
                best, units = net[e], rows.demand[e]
        threshold[i] = best / units
        weight[i] = units if best > 0.0 else 0.0
    return clear(threshold, weight, n, supply)


@njit(cache=True, nogil=True, error_model="numpy")
def dual_value(supply: Supply, price: F64, budget_price: F64, leaders: Leaders) -> float:
    """Value of the dual function: no allocation is worth more."""
    total = 0.0
    for j in range(price.size):
        if price[j] > 0.0:  # an infinite supply has no price
            total += price[j] * supply.capacity[j]
    for t in range(budget_price.size):
        if budget_price[t] > 0.0:
            total += budget_price[t] * supply.budget[t]
    for i in range(leaders.net.shape[0]):
        total += leaders.net[i, 0]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def trim(rows: Rows, budget_price: F64, price: F64, keep: int, every: int) -> Rows:
    """Return the `keep` pairs of each request that are best at the prices, in their order.

    Only each `every`-th request is taken. `pair` of what is returned is the position in `rows`.
    """
    n, budgeted = (rows.start.size - 2 + every) // every, rows.tenant.size > 0
    start, widest = np.zeros(n + 1, np.int64), 0
    for i in range(n):
        width = rows.start[i * every + 1] - rows.start[i * every]
        start[i + 1] = start[i] + min(width, keep)
        widest = max(widest, width)
    p = start[n]
    pair, pool = np.empty(p, np.int32), np.empty(p, np.int32)
    value, demand, cost = np.empty(p), np.empty(p), np.empty(p if budgeted else 0)
    net, best = np.empty(widest), np.empty(keep)
    tenant, floor = np.empty(n if budgeted else 0, np.int32), np.empty(n)
    for i in range(n):
        low, high = rows.start[i * every], rows.start[i * every + 1]
        floor[i], u = rows.floor[i * every], 0.0
        if budgeted:
            tenant[i] = rows.tenant[i * every]
            u = budget_price[tenant[i]] if tenant[i] >= 0 else 0.0
        size = 0  # of `best`, descending
        for e in range(low, high):
            x = rows.value[e] - price[rows.pool[e]] * rows.demand[e]
            if u > 0.0:
                x -= u * rows.cost[e]
            net[e - low] = x
            if size == keep and x <= best[size - 1]:
                continue
            at = size if size < keep else size - 1
            size = min(size + 1, keep)
            while at > 0 and best[at - 1] < x:
                best[at] = best[at - 1]
                at -= 1
            best[at] = x
        at = start[i]
        equal = 0  # how many as good as the last may stay
        for x in range(size):
            equal += best[x] == best[size - 1]
        for e in range(low, high):
            x = net[e - low]
            if x < best[size - 1]:
                continue
            if x == best[size - 1]:
                if equal == 0:
                    continue
                equal -= 1
            pair[at], pool[at] = e, rows.pool[e]
            value[at], demand[at] = rows.value[e], rows.demand[e]
            if budgeted:
                cost[at] = rows.cost[e]
            at += 1
    return Rows(start, pair, pool, value, demand, cost, tenant, floor)


@njit(cache=True, nogil=True)
def drawn_on(rows: Rows, k: int) -> NDArray[np.bool_]:
    """Whether any pair draws on each pool, (k,)."""
    drawn = np.zeros(k, np.bool_)
    for e in range(rows.pool.size):
        drawn[rows.pool[e]] = True
    return drawn
