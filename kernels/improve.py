"""Improvement of a feasible assignment, one pool or budget at a time.

For one resource (a pool, or a tenant's budget), a *move* gives one request another pair, or none,
and changes how much of the resource is used. The moves that lose least at the prices are combined:
a small knapsack, solved exactly by dominance, whose answer swaps any number of requests at once.
Prices say which moves can matter: what a combination gains is at most the worth of the room left.

On its own that ends where every resource is packed well by itself. Chains go on from there: a move
that frees room elsewhere is credited most of that room's price, then the room is packed in turn,
and so on; what the whole chain does not earn back is undone. `shake` is for small problems: random
pairs are forced in, what they touched is packed again, and a small loss may stand for a while.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.prices import Tenants
from kernels.repair import Plan
from kernels.rows import Columns, Rows

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

CORE = 60  # moves that are combined at most; one bit of an int64 each
STATES = 2_000  # combinations kept at most
PACK_WORK = 100  # what a packing costs beside the pairs that it visits, in pairs


class Resources(NamedTuple):
    """Pools 0..k-1, then budgets: who draws on them, and their prices."""

    columns: Columns
    tenants: Tenants
    price: F64  # (k + t,)


class Moves(NamedTuple):
    """Moves that change how much of one resource is used."""

    request: I32  # (x,)
    pair: I32  # (x,) after the move, -1 = refused
    units: F64  # (x,) taken from the resource; < 0: given back
    gain: F64  # (x,) value, with what is credited
    reduced: F64  # (x,) gain - price x units


class Combinations(NamedTuple):
    """Two lists of combinations of moves, ascending in units and gain."""

    units: F64  # (2, STATES)
    gain: F64  # (2, STATES)
    moves: I64  # (2, STATES) bits


class Log(NamedTuple):
    """Moves made, so that they can be undone."""

    request: I32
    before: I32  # pair
    size: I64  # (1,)


class Scratch(NamedTuple):
    """Memory of `improve`, made once by `new_scratch`."""

    found: Moves
    short: Moves
    combinations: Combinations
    log: Log
    queue: I64  # (k + t,)
    queued: NDArray[np.bool_]  # (k + t,)


@njit(cache=True, nogil=True, error_model="numpy")
def _new_moves(size: int) -> Moves:
    return Moves(
        np.empty(size, np.int32), np.empty(size, np.int32),
        np.empty(size), np.empty(size), np.empty(size),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def new_scratch(resources: Resources, depth: int) -> Scratch:
    """Return memory for chains of at most `depth` resources."""
    widest = int(np.int64(1))  # no literal: for one, `_new_moves` is compiled once more
    for j in range(resources.columns.start.size - 1):
        widest = max(widest, resources.columns.start[j + 1] - resources.columns.start[j])
    for t in range(resources.tenants.start.size - 1):
        widest = max(widest, resources.tenants.start[t + 1] - resources.tenants.start[t])
    lists = Combinations(
        np.empty((2, STATES)), np.empty((2, STATES)), np.empty((2, STATES), np.int64)
    )
    # A chain packs `depth` resources, and in the end once more each that it touched.
    longest = CORE * (depth + resources.price.size)
    log = Log(np.empty(longest, np.int32), np.empty(longest, np.int32), np.zeros(1, np.int64))
    return Scratch(
        _new_moves(widest), _new_moves(int(np.int64(CORE))), lists, log,
        np.empty(resources.price.size, np.int64), np.zeros(resources.price.size, np.bool_),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def combine(
    moves: Moves, size: int, room: float, price: float, lists: Combinations
) -> tuple[np.int64, float, int]:
    """Find the combination of moves that gains most and takes no more than `room`.

    Moves come by descending `reduced`. A combination is kept while no smaller one gains as much
    (Nemhauser and Ullmann 1969, doi:10.1287/mnsc.15.9.494), and while it can still end above the
    best, what is left of the room being worth its price at most. Returns the moves as bits, the
    gain, and combinations visited.
    """
    units, gain, bits = lists.units, lists.gain, lists.moves
    rest = 0.0
    for x in range(size):
        rest += max(moves.reduced[x], 0.0)
    best, best_bits, visited = 0.0, np.int64(0), 0
    now, count = 0, 1
    units[0, 0], gain[0, 0], bits[0, 0] = 0.0, 0.0, 0
    for x in range(size):
        if 2 * count > STATES:
            break
        rest -= max(moves.reduced[x], 0.0)
        bit, more, gained = np.int64(1) << x, moves.units[x], moves.gain[x]
        new, a, b, out, top = 1 - now, 0, 0, 0, -np.inf
        while a < count or b < count:
            if b == count or (a < count and units[now, a] <= units[now, b] + more):
                u, g, chosen = units[now, a], gain[now, a], bits[now, a]
                a += 1
            else:
                u, g, chosen = units[now, b] + more, gain[now, b] + gained, bits[now, b] | bit
                b += 1
            if g <= top:
                continue
            top = g
            if u <= room and g > best:
                best, best_bits = g, chosen
            if g - price * u + rest + price * room > best:
                units[new, out], gain[new, out], bits[new, out] = u, g, chosen
                out += 1
        visited += 2 * count
        now, count = new, out
        if count == 0:
            break
    return best_bits, best, visited


@njit(cache=True, nogil=True, error_model="numpy")
def _consider(  # type: ignore[no-untyped-def]
    rows, plan, price, i, low, high, pairs, r, credit, least, moves, at
):
    """Write as move `at` the best of request i for resource r, if it reduces to more than `least`.

    Looks at the pairs `low:high`, positions in `pairs` or, where that is empty, in the rows. Served
    requests may also be refused. Returns whether there is a move.
    """
    k = plan.left.size
    now = plan.choice[i]
    owner = rows.tenant[i] if rows.tenant.size else -1
    value, demand, home, cost = 0.0, 0.0, -1, 0.0
    if now >= 0:
        value, demand, home = rows.value[now], rows.demand[now], rows.pool[now]
        if owner >= 0:
            cost = rows.cost[now]
    mine = owner >= 0 and r == k + owner
    fee = price[k + owner] if owner >= 0 and not mine else 0.0
    purse = plan.purse[owner] if owner >= 0 and not mine else np.inf
    freed = price[home] * demand if now >= 0 and home != r else 0.0
    moves.request[at], moves.reduced[at] = i, least
    if now >= 0 and pairs.size == 0:
        units = -cost if mine else -demand
        gain = credit * (freed + fee * cost) - value
        if gain - price[r] * units > least:
            moves.pair[at], moves.units[at], moves.gain[at] = -1, units, gain
            moves.reduced[at] = gain - price[r] * units
    for x in range(low, high):
        e = pairs[x] if pairs.size else x
        j, d = rows.pool[e], rows.demand[e]
        gain, units = rows.value[e] - value, 0.0
        if owner >= 0:
            more = rows.cost[e] - cost
            if more > purse:
                continue
            gain -= credit * fee * more
            if mine:
                units = more
        if j == r:
            units = d
        else:
            if d > plan.left[j] + (demand if j == home else 0.0):
                continue
            gain -= credit * price[j] * d
        if home == r:
            units -= demand
        gain += credit * freed
        reduced = gain - price[r] * units
        if reduced > moves.reduced[at] and e != now:
            moves.pair[at], moves.units[at], moves.gain[at] = e, units, gain
            moves.reduced[at] = reduced
    return moves.reduced[at] > least


@njit(cache=True, nogil=True, error_model="numpy")
def _collect(
    rows: Rows, resources: Resources, plan: Plan, r: int, credit: float, least: float, moves: Moves
) -> tuple[int, int]:
    """Write the moves of resource r, at most one a request; return how many, and pairs visited."""
    k = plan.left.size
    price, request, pair = resources.price, resources.columns.request, resources.columns.pair
    size, visited = int(np.int64(0)), 0  # no literal: see `new_scratch`
    none = pair[:0]
    if r >= k:
        tenants = resources.tenants
        for x in range(tenants.start[r - k], tenants.start[r - k + 1]):
            i = tenants.request[x]
            low, high = rows.start[i], rows.start[i + 1]
            size += _consider(rows, plan, price, i, low, high, none, r, credit, least, moves, size)
            visited += high - low
        return size, visited
    x, end = resources.columns.start[r], resources.columns.start[r + 1]
    choice, pools, values, demands = plan.choice, rows.pool, rows.value, rows.demand
    budgeted = rows.tenant.size > 0
    visited += end - x
    while x < end:
        i, begin = request[x], x
        now = choice[i]
        if not budgeted and (now < 0 or pools[now] != r):
            # Most requests are far from a tie: told here, a call is saved.
            e = pair[x]
            reduced = values[e] - price[r] * demands[e]
            if now >= 0:
                reduced -= values[now] - credit * price[pools[now]] * demands[now]
            if reduced <= least and (x + 1 == end or request[x + 1] != i):
                x += 1
                continue
        while x < end and request[x] == i:
            x += 1
        if now >= 0 and pools[now] == r:
            low, high = rows.start[i], rows.start[i + 1]
            size += _consider(rows, plan, price, i, low, high, none, r, credit, least, moves, size)
            visited += high - low
        else:
            size += _consider(rows, plan, price, i, begin, x, pair, r, credit, least, moves, size)
    return size, visited


@njit(cache=True, nogil=True, error_model="numpy")
def _reserve(rows: Rows, plan: Plan, i: int, e: int, r: int, sign: float) -> bool:
    """Take what the move of i to e needs beside resource r (sign 1), or give it back (-1).

    Returns whether there was enough; nothing is taken otherwise. What a move frees is not counted.
    """
    if e < 0:
        return True
    k = plan.left.size
    now = plan.choice[i]
    owner = rows.tenant[i] if rows.tenant.size else -1
    j, units, more = rows.pool[e], 0.0, 0.0
    if j != r:
        units = rows.demand[e]
        if now >= 0 and rows.pool[now] == j:
            units = max(units - rows.demand[now], 0.0)
    if owner >= 0 and r != k + owner:
        more = max(rows.cost[e] - (rows.cost[now] if now >= 0 else 0.0), 0.0)
    if sign > 0 and (units > plan.left[j] or (more > 0.0 and more > plan.purse[owner])):
        return False
    plan.left[j] -= sign * units
    if more > 0.0:
        plan.purse[owner] -= sign * more
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _shortlist(rows: Rows, plan: Plan, r: int, found: Moves, size: int, short: Moves) -> int:
    """Copy the moves that reduce to most, all of which can be made together but for resource r."""
    left, purse = plan.left.copy(), plan.purse.copy()
    order = np.argsort(-found.reduced[:size], kind="mergesort")
    kept = 0
    for y in range(size):
        x = order[y]
        if _reserve(rows, plan, found.request[x], found.pair[x], r, 1.0):
            short.request[kept], short.pair[kept] = found.request[x], found.pair[x]
            short.units[kept], short.gain[kept] = found.units[x], found.gain[x]
            short.reduced[kept] = found.reduced[x]
            kept += 1
            if kept == CORE:
                break
    for j in range(left.size):
        plan.left[j] = left[j]
    for t in range(purse.size):
        plan.purse[t] = purse[t]
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def move(rows: Rows, plan: Plan, i: int, e: int) -> float:
    """Give request i pair e (-1: none); return the value gained."""
    now = plan.choice[i]
    owner = rows.tenant[i] if rows.tenant.size else -1
    gained = 0.0
    if now >= 0:
        gained -= rows.value[now]
        plan.left[rows.pool[now]] += rows.demand[now]
        if owner >= 0:
            plan.purse[owner] += rows.cost[now]
    if e >= 0:
        gained += rows.value[e]
        plan.left[rows.pool[e]] -= rows.demand[e]
        if owner >= 0:
            plan.purse[owner] -= rows.cost[e]
    plan.choice[i] = e
    return gained


@njit(cache=True, nogil=True, error_model="numpy")
def _pack(
    rows: Rows, resources: Resources, plan: Plan, r: int, credit: float, s: Scratch
) -> tuple[float, int]:
    """Make the best combination of moves of resource r; return value gained and work."""
    k = plan.left.size
    room = plan.left[r] if r < k else plan.purse[r - k]
    price = resources.price[r]
    least = -price * room if price > 0.0 else 0.0
    size, visited = _collect(rows, resources, plan, r, credit, least, s.found)
    visited += PACK_WORK
    if size == 0:
        return 0.0, visited
    size = _shortlist(rows, plan, r, s.found, size, s.short)
    chosen, _, states = combine(s.short, size, room, price, s.combinations)
    gained = 0.0
    for x in range(size):
        if chosen >> x & 1:
            i, log = s.short.request[x], s.log
            log.request[log.size[0]], log.before[log.size[0]] = i, plan.choice[i]
            log.size[0] += 1
            gained += move(rows, plan, i, s.short.pair[x])
    return gained, visited + states


@njit(cache=True, nogil=True, error_model="numpy")
def _chain(
    rows: Rows, resources: Resources, plan: Plan, r: int, credit: float, depth: int,
    least: float, s: Scratch,
) -> tuple[float, int]:  # fmt: skip
    """Pack resource r, then those that this freed, with credit; undo what does not gain."""
    k, log = plan.left.size, s.log
    log.size[0] = 0
    s.queued[:] = False
    s.queue[0], s.queued[r] = r, True
    length, at, gained, visited = 1, 0, 0.0, 0
    while at < length and at < depth and gained <= least:
        seen = log.size[0]
        more, work = _pack(rows, resources, plan, s.queue[at], credit if at < depth - 1 else 0.0, s)
        gained += more
        visited += work
        at += 1
        for x in range(seen, log.size[0]):
            e = log.before[x]
            if e < 0:
                continue
            j = rows.pool[e]
            if not s.queued[j] and resources.price[j] > 0.0:
                s.queue[length], s.queued[j] = j, True
                length += 1
            owner = rows.tenant[log.request[x]] if rows.tenant.size else -1
            if owner >= 0 and not s.queued[k + owner] and resources.price[k + owner] > 0.0:
                s.queue[length], s.queued[k + owner] = k + owner, True
                length += 1
    if gained <= least and log.size[0] > 0:
        for x in range(length):
            more, work = _pack(rows, resources, plan, s.queue[x], 0.0, s)
            gained += more
            visited += work
    if gained > least:
        return gained, visited
    for x in range(log.size[0] - 1, -1, -1):
        move(rows, plan, log.request[x], log.before[x])
    return 0.0, visited


@njit(cache=True, nogil=True, error_model="numpy")
def improve(
    rows: Rows, resources: Resources, plan: Plan, order: I64, begin: int, credit: float,
    depth: int, least: float, limit: int, scratch: Scratch,
) -> tuple[int, float, int]:  # fmt: skip
    """Start a chain at each resource of `order` from position `begin`, until `limit` is visited.

    Parameters
    ----------
    order
        Resources, where to begin first.
    credit
        Share of its price that freed room is taken to be worth, 0..1.
    depth
        Resources that a chain packs with credit.
    least
        Gain below which a chain is undone, > 0.
    limit
        Work after which no other chain is started.

    Returns
    -------
    tuple
        Position to go on from, value gained, pairs and combinations visited. `plan` is **modified
        in place**; it stays feasible and its value never falls.
    """
    gained, visited, at = 0.0, 0, begin
    while at < order.size and visited < limit:
        more, work = _chain(rows, resources, plan, order[at], credit, depth, least, scratch)
        gained += more
        visited += work
        at += 1
    return at, gained, visited


@njit(cache=True, nogil=True, error_model="numpy")
def _draw(state: NDArray[np.uint64], size: int) -> int:
    """Return a number in 0..size-1 and step the generator (xorshift64*, Vigna 2016)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return int((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33)) % size


@njit(cache=True, nogil=True, error_model="numpy")
def _note(log: Log, i: int, before: int) -> None:
    log.request[log.size[0]], log.before[log.size[0]] = i, before
    log.size[0] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _force(rows: Rows, plan: Plan, i: int, e: int, state: NDArray[np.uint64], log: Log) -> float:
    """Give request i pair e, refusing others at random until it fits; return the value gained."""
    n, j = plan.choice.size, rows.pool[e]
    owner = rows.tenant[i] if rows.tenant.size else -1
    _note(log, i, plan.choice[i])
    # Of the types that other calls have, or it is compiled twice more.
    gained = move(rows, plan, np.int32(i), np.int32(e))  # type: ignore[arg-type]
    first = _draw(state, n)
    for step in range(n):
        tight = plan.left[j] < 0.0
        broke = owner >= 0 and plan.purse[owner] < 0.0
        if (not tight and not broke) or log.size[0] == log.request.size:
            break
        x = first + step - (n if first + step >= n else 0)
        now = plan.choice[x]
        if x == i or now < 0:
            continue
        if (tight and rows.pool[now] == j) or (broke and rows.tenant[x] == owner):
            _note(log, x, now)
            gained += move(rows, plan, np.int32(x), np.int32(-1))  # type: ignore[arg-type]
    return gained


@njit(cache=True, nogil=True, error_model="numpy")
def shake(
    rows: Rows, resources: Resources, plan: Plan, best: I32, behind: float, kicks: int, drop: float,
    limit: int, state: NDArray[np.uint64], scratch: Scratch,
) -> tuple[float, float, int]:  # fmt: skip
    """Force random pairs into the assignment and pack what they touched, again and again.

    Parameters
    ----------
    best
        Best choice so far, (n,). **Modified in place.**
    behind
        Value of `plan` less that of `best`, <= 0.
    kicks
        Pairs forced at a time, at most.
    drop
        Value that a try may lose and still be gone on from.
    limit
        Work after which no other try is made.
    state
        Of the random numbers, (1,), not 0. **Modified in place.**

    Returns
    -------
    tuple
        How much more `best` is worth, how far `plan` is behind it, and work. `plan` is
        **modified in place**.
    """
    n, k = plan.choice.size, plan.left.size
    log = scratch.log
    risen, work = 0.0, 0
    while work < limit:
        log.size[0] = 0
        gained = 0.0
        for _ in range(1 + _draw(state, kicks)):
            i = _draw(state, n)
            width = rows.start[i + 1] - rows.start[i]
            work += PACK_WORK
            if width > 0:
                e = rows.start[i] + _draw(state, width)
                if e != plan.choice[i]:
                    gained += _force(rows, plan, i, e, state, log)
        at = 0
        for turn in range(3):
            scratch.queued[:] = False
            length = 0
            for x in range(at, log.size[0]):
                i = log.request[x]
                for e in (log.before[x], plan.choice[i]):
                    if e >= 0 and not scratch.queued[rows.pool[e]]:
                        scratch.queue[length], scratch.queued[rows.pool[e]] = rows.pool[e], True
                        length += 1
                owner = rows.tenant[i] if rows.tenant.size else -1
                if owner >= 0 and not scratch.queued[k + owner]:
                    scratch.queue[length], scratch.queued[k + owner] = k + owner, True
                    length += 1
            at = log.size[0]
            for x in range(length):
                credit = 0.9 if turn == 0 else 0.0
                if log.size[0] + CORE > log.request.size:
                    break
                more, visited = _pack(rows, resources, plan, scratch.queue[x], credit, scratch)
                gained += more
                work += visited
        if behind + gained < -drop:
            for x in range(log.size[0] - 1, -1, -1):
                move(rows, plan, log.request[x], log.before[x])
            continue
        behind += gained
        if behind > 1e-9:
            risen += behind
            behind = 0.0
            for i in range(n):
                best[i] = plan.choice[i]
    return risen, behind, work
