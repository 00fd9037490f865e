"""Annealing that may overbook: what exceeds a pool or budget is charged for, not forbidden.

A try gives a random request another pair at random, or none, and moves one out of the pool that
this fills, as often as not to where the first comes from. Between two good assignments of a tight
market lie few that are feasible and many that are overbooked a little: charged for, those are
crossed (penalties in annealing: Kirkpatrick, Gelatt and Vecchi 1983,
doi:10.1126/science.220.4598.671; in assignment: Yagiura, Ibaraki and Glover 2004,
doi:10.1287/ijoc.1030.0036). Only what is feasible counts as best.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.rows import ROOM, Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

TRY_WORK = 3  # what a try costs, in pairs
STEPS = 8  # to look for another request, that cost as much as a pair
CHANCES = 1024  # that are told apart
LEAST_GAIN = 1e-9
OWED_SLACK = 1e-6  # for rounding


# Helpers take scalars: named tuples handed on made a try more than twice as slow.
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
    for i in range(n):
        e = choice[i]
        if e >= 0:
            worth += value[e]
            left[pool[e]] -= demand[e]
            if budgeted and tenant[i] >= 0:
                left[pools + tenant[i]] -= cost[e]
        most += value[best[i]] if best[i] >= 0 else 0.0
    owed = OWED_SLACK  # what is charged now
    for x in range(left.size):
        owed += _due(left[x], charge[x], fee)
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
        if e == now:
            continue
        # Where it does not fit, mostly someone else there moves too, from a random one on.
        j, old, f = -1, -1, -1
        s = _stepped(s)
        if e >= 0 and left[pool[e]] < demand[e] and s & np.uint64(3 << 40):
            y = _drawn(s, n)
            steps = 0
            while j < 0 and steps < n:
                if y != i and choice[y] >= 0 and pool[choice[y]] == pool[e]:
                    j = y
                y = y + 1 if y + 1 < n else 0
                steps += 1
            work += steps // STEPS
        if j >= 0:
            old = int(choice[j])
            s = _stepped(s)
            if now >= 0 and s & np.uint64(1 << 8):
                for x in range(start[j], start[j + 1]):
                    if pool[x] == pool[now]:
                        f = x
            else:
                x = start[j] + _drawn(s, start[j + 1] - start[j] + 1)
                f = x if x < start[j + 1] else -1
            if f == old:
                old, f = -1, -1
        gained = (value[e] if e >= 0 else 0.0) - (value[now] if now >= 0 else 0.0)
        gained += (value[f] if f >= 0 else 0.0) - (value[old] if old >= 0 else 0.0)
        s = _stepped(s)
        enough, due = least[_drawn(s, CHANCES)], 0.0
        if gained + owed < enough:  # not even if it ended all overbooking
            continue
        for x in range(4):  # what is given back, then what is taken
            q = now if x == 0 else old if x == 1 else e if x == 2 else f
            if q < 0:
                continue
            sign = 1.0 if x < 2 else -1.0
            p = int(pool[q])
            due -= _due(left[p], charge[p], fee)
            left[p] += sign * demand[q]
            due += _due(left[p], charge[p], fee)
            p = int(tenant[j if x & 1 else i]) if budgeted else -1
            if p >= 0:
                p += pools
                due -= _due(left[p], charge[p], fee)
                left[p] += sign * cost[q]
                due += _due(left[p], charge[p], fee)
        if gained - due < enough:
            for x in range(4):
                q = now if x == 0 else old if x == 1 else e if x == 2 else f
                if q < 0:
                    continue
                sign = -1.0 if x < 2 else 1.0
                left[pool[q]] += sign * demand[q]
                if budgeted and tenant[j if x & 1 else i] >= 0:
                    left[pools + tenant[j if x & 1 else i]] += sign * cost[q]
            continue
        choice[i] = e
        if j >= 0 and old >= 0:
            choice[j] = f
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
