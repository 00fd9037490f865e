"""Annealing that may overbook: what exceeds a pool or budget is charged for, not forbidden.

A try gives a random request another pair at random, or none. Where a pool then holds too much, the
request that goes best moves out of it to where that is best, and so on from there: an ejection
chain. Between two good assignments of a tight market lie few that are feasible and many that are
overbooked a little: charged for, those are crossed (penalties in annealing: Kirkpatrick, Gelatt and
Vecchi 1983, doi:10.1126/science.220.4598.671; chains in assignment: Yagiura, Ibaraki and Glover
2004, doi:10.1287/ijoc.1030.0036). Only what is feasible counts as best.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.rows import ROOM, Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

TRY_WORK = 3  # what a try costs, in pairs
PARTNERS = 6  # requests that may leave an overbooked pool, at most; how many is drawn
DEPTH = 4  # of them that leave one after another, at most
CHANCES = 1024  # that are told apart
LEAST_GAIN = 1e-9
OWED_SLACK = 1e-6  # for rounding


# Helpers take scalars and arrays: named tuples handed on made a try more than twice as slow.
@njit(cache=True, inline="always", error_model="numpy")
def _stepped(x):  # type: ignore[no-untyped-def]
    """Step the generator (xorshift64*, Vigna 2016)."""
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    return x ^ (x >> np.uint64(27))


@njit(cache=True, inline="always", error_model="numpy")
def _drawn(x, size):  # type: ignore[no-untyped-def]
    """Return a number in 0..size-1, size < 2**32."""
    high = (x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
    return np.int64((high * np.uint64(size)) >> np.uint64(32))


@njit(cache=True, inline="always", error_model="numpy")
def _due(left, charge, fee):  # type: ignore[no-untyped-def]
    """What is charged where so much is left."""
    return fee - charge * left if left < 0.0 else 0.0


@njit(cache=True, inline="always", error_model="numpy")
def _taken(left, x, units, charge, fee):  # type: ignore[no-untyped-def]
    """Take units of supply x; return how much more is charged."""
    before = _due(left[x], charge[x], fee)
    left[x] -= units
    return _due(left[x], charge[x], fee) - before


# Requests of a pool form a ring, which is looked through from `head` on; -1: there are none.
@njit(cache=True, inline="always", error_model="numpy")
def _enter(after, ahead, head, p, i):  # type: ignore[no-untyped-def]
    """Put request i at the end of the ring of pool p."""
    first = head[p]
    if first < 0:
        after[i], ahead[i], head[p] = i, i, i
    else:
        last = ahead[first]
        after[last], ahead[i], after[i], ahead[first] = i, last, first, i


@njit(cache=True, inline="always", error_model="numpy")
def _leave(after, ahead, head, p, i):  # type: ignore[no-untyped-def]
    """Take request i out of the ring of pool p."""
    follows, last = after[i], ahead[i]
    after[last], ahead[follows] = follows, last
    if head[p] == i:
        head[p] = follows if follows != i else -1


@njit(cache=True, inline="always", error_model="numpy")
def _exchanged(  # type: ignore[no-untyped-def]
    pool, demand, cost, charge, fee, choice, left, after, ahead, head, i, owner, e
):
    """Give request i pair e (-1: none); return how much more is charged.

    `owner` is the position of its budget in what is left, -1: none.
    """
    now, due, more = int(choice[i]), 0.0, 0.0
    if now >= 0:
        p = int(pool[now])
        due += _taken(left, p, -demand[now], charge, fee)
        _leave(after, ahead, head, p, i)
        more -= cost[now] if owner >= 0 else 0.0
    if e >= 0:
        p = int(pool[e])
        due += _taken(left, p, demand[e], charge, fee)
        _enter(after, ahead, head, p, i)
        more += cost[e] if owner >= 0 else 0.0
    if owner >= 0:
        due += _taken(left, owner, more, charge, fee)
    choice[i] = e
    return due


@njit(cache=True, nogil=True, error_model="numpy")
def anneal(
    rows: Rows, supply: Supply, charge: F64, fee: float, choice: I32, best: I32, heat: float,
    limit: int, state: NDArray[np.uint64],
) -> tuple[float, int]:  # fmt: skip
    """Make random tries at one heat until `limit` is visited.

    Parameters
    ----------
    charge
        Value that a unit beyond each pool and budget costs, (k + t,), >= 0.
    fee
        Value that each overbooked pool or budget costs beside, >= 0.
    choice
        Where to go on, (n,), overbooked or not. **Modified in place.**
    best
        Best feasible choice so far, (n,). **Modified in place.**
    heat
        Value that a try may lose with a chance of 1 in e, > 0.
    state
        Of the random numbers, (1,), not 0. **Modified in place.**

    Returns
    -------
    tuple
        How much more `best` is worth, and work.
    """
    start, pool, value, demand, cost = rows.start, rows.pool, rows.value, rows.demand, rows.cost
    tenant, budgeted, pools = rows.tenant, rows.tenant.size > 0, supply.capacity.size
    left = np.concatenate((supply.capacity * (1.0 + ROOM), supply.budget * (1.0 + ROOM)))
    n, worth, most = choice.size, 0.0, 0.0
    after, ahead, head = np.empty(n, np.int32), np.empty(n, np.int32), np.full(pools, -1, np.int32)
    for i in range(n):
        e = int(choice[i])
        if e >= 0:
            worth += value[e]
            left[pool[e]] -= demand[e]
            _enter(after, ahead, head, pool[e], i)
            if budgeted and tenant[i] >= 0:
                left[pools + tenant[i]] -= cost[e]
        most += value[best[i]] if best[i] >= 0 else 0.0
    owed = OWED_SLACK  # what is charged now
    for x in range(left.size):
        owed += _due(left[x], charge[x], fee)
    moved, old = np.empty(DEPTH + 1, np.int64), np.empty(DEPTH + 1, np.int64)
    before, work, s = most, n, state[0]
    least = heat * np.log((np.arange(CHANCES) + 0.5) / CHANCES)
    while work < limit and n > 0:
        work += TRY_WORK
        s = _stepped(s)
        i = _drawn(s, n)
        width = start[i + 1] - start[i]
        s = _stepped(s)
        x = _drawn(s, width + 1)
        e = start[i] + x if x < width else -1
        now = int(choice[i])
        s = _stepped(s)
        enough = least[_drawn(s, CHANCES)]
        gained = (value[e] if e >= 0 else 0.0) - (value[now] if now >= 0 else 0.0)
        if e == now or gained + owed < enough:  # not even if it ended all overbooking
            continue
        due, size, seen = 0.0, 0, 0
        while True:
            moved[size], old[size] = i, choice[i]
            size += 1
            owner = pools + tenant[i] if budgeted and tenant[i] >= 0 else -1
            due += _exchanged(
                pool, demand, cost, charge, fee, choice, left, after, ahead, head, i, owner, e
            )
            if e < 0 or left[pool[e]] >= 0.0 or size > DEPTH:
                break
            # Who else leaves this pool, and for which pair or none?
            p, came, top, seen = int(pool[e]), i, LEAST_GAIN, 0
            due_here, y, i = _due(left[p], charge[p], fee), int(head[p]), -1
            s = _stepped(s)
            looked = 1 + _drawn(s, PARTNERS)
            while seen < looked:
                seen += 1
                if y != came:
                    now, z = int(choice[y]), -1
                    if budgeted and tenant[y] >= 0:
                        z = pools + tenant[y]
                    freed = left[p] + demand[now]
                    relief = due_here - _due(freed, charge[p], fee) - value[now]
                    work += start[y + 1] - start[y]
                    for f in range(start[y] - 1, start[y + 1]):
                        gain, more = relief, 0.0
                        if f == now:
                            continue
                        if f >= start[y]:
                            q = int(pool[f])
                            room = freed if q == p else left[q]
                            gain += value[f] + _due(room, charge[q], fee)
                            gain -= _due(room - demand[f], charge[q], fee)
                        if z >= 0:
                            more = (cost[f] if f >= start[y] else 0.0) - cost[now]
                            gain += _due(left[z], charge[z], fee)
                            gain -= _due(left[z] - more, charge[z], fee)
                        if gain > top + LEAST_GAIN:
                            top, i, e = gain, y, (f if f >= start[y] else -1)
                y = int(after[y])
                if y == head[p]:
                    break
            head[p] = y
            if i < 0:
                break
            gained += (value[e] if e >= 0 else 0.0) - value[choice[i]]
        if gained - due < enough:
            for x in range(size - 1, -1, -1):
                i = int(moved[x])
                owner = pools + tenant[i] if budgeted and tenant[i] >= 0 else -1
                _exchanged(
                    pool, demand, cost, charge, fee, choice, left, after, ahead, head, i, owner,
                    int(old[x]),
                )  # fmt: skip
            continue
        worth += gained
        owed += due
        if worth > most + LEAST_GAIN:
            fits = True
            for x in range(left.size):
                fits = fits and left[x] >= 0.0
            if fits:
                most = worth
                best[:] = choice
    state[0] = s
    return most - before, work
