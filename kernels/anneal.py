"""Annealing of a feasible assignment: for small problems, where single requests decide.

A try gives a random request a random pair. What then exceeds its room is made to fit by moving
another request out of the way, which may push a third, and so on for a few. A try that loses is
gone on from with a chance that falls with the loss and with the heat (Kirkpatrick, Gelatt and
Vecchi 1983, doi:10.1126/science.220.4598.671). It knows no exact packing, as `improve` does, but
makes millions of tries a second, and crosses where that cannot.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.improve import Log
from kernels.repair import Plan
from kernels.rows import Rows

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

PUSHED = 4  # requests that a try moves at most
TRY_WORK = 5  # what a try costs beside what it visits, in pairs


# Helpers take scalars: moves in a function of their own made a try more than twice as slow.
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


def new_log() -> Log:
    """Return memory for the moves of a try."""
    return Log(np.empty(PUSHED, np.int32), np.empty(PUSHED, np.int32), np.zeros(1, np.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def anneal(
    rows: Rows, net: F64, plan: Plan, best: I32, behind: float, heat: float, limit: int,
    state: NDArray[np.uint64], log: Log,
) -> tuple[float, float, int]:  # fmt: skip
    """Make random tries at one heat until `limit` is visited.

    Parameters
    ----------
    net
        What each pair counts as in a try, (p,): its value less some of the price of what it uses.
    best
        Best choice so far, (n,). **Modified in place.**
    behind
        Value of `plan` less that of `best`, <= 0.
    heat
        Net that a try may lose with a chance of 1 in e, > 0.
    state
        Of the random numbers, (1,), not 0. **Modified in place.**
    log
        Memory, from `new_log`.

    Returns
    -------
    tuple
        How much more `best` is worth, how far `plan` is behind it, and work. `plan` is
        **modified in place**; it stays feasible.
    """
    start, pool, value, demand, cost = rows.start, rows.pool, rows.value, rows.demand, rows.cost
    tenant, budgeted = rows.tenant, rows.tenant.size > 0
    choice, left, purse = plan.choice, plan.left, plan.purse
    moved, before = log.request, log.before
    n, risen, work, s = choice.size, 0.0, 0, state[0]
    while work < limit and n > 0:
        work += TRY_WORK
        s = _stepped(s)
        i = _drawn(s, n)
        width = start[i + 1] - start[i]
        if width == 0:
            continue
        s = _stepped(s)
        e = start[i] + _drawn(s, width)
        if e == choice[i]:
            continue
        size, gained, reduced = 0, 0.0, 0.0
        while True:
            now, owner = choice[i], tenant[i] if budgeted else -1
            moved[size], before[size] = i, now
            size += 1
            choice[i] = e
            if now >= 0:
                gained -= value[now]
                reduced -= net[now]
                left[pool[now]] += demand[now]
                if owner >= 0:
                    purse[owner] += cost[now]
            if e >= 0:
                gained += value[e]
                reduced += net[e]
                left[pool[e]] -= demand[e]
                if owner >= 0:
                    purse[owner] -= cost[e]
            full, broke = -1, -1  # a pool and a tenant whose room is exceeded
            for x in range(size):
                e = choice[moved[x]]
                if e >= 0 and left[pool[e]] < 0.0:
                    full = pool[e]
                if e >= 0 and budgeted:
                    owner = tenant[moved[x]]
                    if owner >= 0 and purse[owner] < 0.0:
                        broke = owner
            if full < 0 and broke < 0:
                break
            if size == PUSHED:
                reduced = -np.inf
                break
            # Someone else who draws on it, from a random one on.
            s = _stepped(s)
            first, i = _drawn(s, n), -1
            for step in range(n):
                x = first + step - (n if first + step >= n else 0)
                e = choice[x]
                if e < 0 or (pool[e] != full if full >= 0 else tenant[x] != broke):
                    continue
                fresh = True
                for y in range(size):
                    fresh = fresh and moved[y] != x
                if fresh:
                    i = x
                    work += step
                    break
            if i < 0:
                reduced = -np.inf
                work += n
                break
            # Its best pair that fits once it has left, or a random one: refused or pushing on.
            now, owner = choice[i], tenant[i] if budgeted else -1
            e, most, width = -1, 0.0, start[i + 1] - start[i]
            work += width
            for x in range(start[i], start[i + 1]):
                j = pool[x]
                if (
                    x != now and net[x] > most
                    and demand[x] <= left[j] + (demand[now] if j == pool[now] else 0.0)
                    and (owner < 0 or cost[x] <= purse[owner] + cost[now])
                ):  # fmt: skip
                    e, most = x, net[x]
            if e < 0 and size + 1 < PUSHED:
                s = _stepped(s)
                x = start[i] + _drawn(s, width + 1)
                if x < start[i + 1] and x != now:
                    e = x
        work += size
        s = _stepped(s)
        if reduced < heat * np.log((_drawn(s, 1 << 30) + 1.0) / (1 << 30)):
            for x in range(size - 1, -1, -1):
                i = moved[x]
                owner = tenant[i] if budgeted else -1
                now, e = choice[i], before[x]
                choice[i] = e
                if now >= 0:
                    left[pool[now]] += demand[now]
                    if owner >= 0:
                        purse[owner] += cost[now]
                if e >= 0:
                    left[pool[e]] -= demand[e]
                    if owner >= 0:
                        purse[owner] -= cost[e]
            continue
        behind += gained
        if behind > 1e-9:
            risen += behind
            behind = 0.0
            best[:] = choice
    state[0] = s
    return risen, behind, work
