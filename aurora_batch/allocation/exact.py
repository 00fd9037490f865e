"""The exact part: SciPy's `linear_sum_assignment`, `milp` and `linprog`.

SciPy minimises; this is the one module that flips signs.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are loaded where they are first used, in a worker by `warm_up`
from numpy.typing import NDArray

from aurora_batch.allocation.result import Prices
from kernels.rows import Rows, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

WHOLE = 1000.0  # HiGHS forgives 1e-6, whatever the scale: 1e-9 of a supply of so many units
SAFETY_S = 0.015  # before a deadline: a search starts slowly and looks at the clock now and then
MAX_CELLS = 4_000_000  # of the matrix for `linear_sum_assignment`: 32 MB


_SILENCE = Lock()  # one at a time may point stdout elsewhere


class Found(NamedTuple):
    """What a search found."""

    choice: I32  # (n,) position in `Rows`, -1 = refused
    proven: bool  # nothing better exists
    nodes: int  # of the search tree
    bound: float = np.inf  # no choice is worth more, as the solver claims
    timed_out: bool = False  # ended by the clock


def lp_prices(rows: Rows, supply: Supply) -> Prices:
    """Prices at which the dual function is least: the duals of the linear relaxation.

    Zero where the LP solver gives up; any prices prove a bound.
    """
    n, k, t = rows.start.size - 1, supply.capacity.size, supply.budget.size
    if not rows.pool.size:
        return Prices(np.zeros(k), np.zeros(t))
    matrix, limits, units = constraints(rows, supply)
    solved = scipy.optimize.linprog(
        -rows.value, A_ub=matrix, b_ub=limits, bounds=(0, None), method="highs"
    )
    if solved.status != 0:
        return Prices(np.zeros(k), np.zeros(t))
    duals = np.zeros(n + k + t)
    duals[np.isfinite(units)] = np.maximum(-solved.ineqlin.marginals, 0.0)
    per_unit = np.divide(duals, units, out=np.zeros_like(duals), where=np.isfinite(units))
    return Prices(per_unit[n : n + k], per_unit[n + k :])


def best_choice(
    rows: Rows, supply: Supply, node_limit: int | None = None, time_limit: float | None = None
) -> Found:
    """Search for the optimum: slots where demands are equal, branch and bound otherwise."""
    if not rows.pool.size:
        return Found(np.full(rows.start.size - 1, -1, np.int32), proven=True, nodes=0)
    slots = _slots(rows, supply)
    if slots is not None:
        return Found(_by_slots(rows, slots), proven=True, nodes=0)
    return _by_branching(rows, supply, node_limit, time_limit)


def _slots(rows: Rows, supply: Supply) -> NDArray[np.int64] | None:
    """Requests that fit into each pool, where all demands are equal and a matrix is small."""
    unit = rows.demand[0]
    if rows.tenant.size or (rows.demand != unit).any():
        return None
    n = rows.start.size - 1
    slots = np.minimum(supply.capacity * (1.0 + 1e-10) / unit, n).astype(np.int64)
    return slots if n * int(slots.sum()) <= MAX_CELLS else None


def _by_slots(rows: Rows, slots: NDArray[np.int64]) -> I32:
    """Assign requests to slots of pools, at most one each; a value of 0 is a refusal."""
    n, k = rows.start.size - 1, slots.size
    request = np.repeat(np.arange(n), np.diff(rows.start))
    values, pair = np.zeros((n, k)), np.full((n, k), -1, np.int32)
    order = np.lexsort((-np.arange(request.size), rows.value))  # the best, then the first, last
    values[request[order], rows.pool[order]] = rows.value[order]
    pair[request[order], rows.pool[order]] = order
    slot_pool = np.repeat(np.arange(k), slots)
    request, slot = scipy.optimize.linear_sum_assignment(-values[:, slot_pool])
    choice = np.full(n, -1, np.int32)
    choice[request] = pair[request, slot_pool[slot]]
    return choice


def _by_branching(
    rows: Rows, supply: Supply, node_limit: int | None, time_limit: float | None
) -> Found:
    matrix, limits, _ = constraints(rows, supply)
    options: Any = {"mip_rel_gap": 0.0, "node_limit": node_limit, "time_limit": time_limit}
    began = perf_counter()
    with _silent():
        solved = scipy.optimize.milp(
            -rows.value,
            constraints=scipy.optimize.LinearConstraint(matrix, -np.inf, limits),
            bounds=scipy.optimize.Bounds(0, 1),
            integrality=np.ones(rows.pool.size, np.int64),
            options=options,
        )
    n = rows.start.size - 1
    choice = np.full(n, -1, np.int32)
    late = solved.status == 1 and time_limit is not None and perf_counter() - began >= time_limit
    if solved.x is None:
        return Found(choice, proven=False, nodes=0 if late else node_limit or 0, timed_out=late)
    chosen = np.flatnonzero(solved.x > 0.5)
    request = np.repeat(np.arange(n), np.diff(rows.start))
    choice[request[chosen]] = chosen
    bound = np.inf if solved.mip_dual_bound is None else -solved.mip_dual_bound
    nodes = int(solved.mip_node_count or 0)
    return Found(choice, solved.status == 0, nodes, bound, late)


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what HiGHS prints to the process's stdout, debug lines that no option turns off.

    It prints through C's buffer, which is flushed while the descriptor points elsewhere. A process
    without a stdout (a service) has nothing to keep clean.
    """
    flush = ctypes.CDLL(None).fflush
    with _SILENCE, Path(os.devnull).open("wb") as nowhere:
        if sys.stdout is not None:
            sys.stdout.flush()
        flush(None)
        try:
            kept = os.dup(1)
        except OSError:
            yield
            return
        try:
            os.dup2(nowhere.fileno(), 1)
            yield
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)


def constraints(rows: Rows, supply: Supply) -> tuple[Any, F64, F64]:
    """Constraints on the pairs: one pair a request, then pools and budgets of WHOLE units each.

    Returns the matrix, its limits, and the units of every possible row, (n + k + t,), infinite
    where there is no limit and hence no row.
    """
    n, p, k = rows.start.size - 1, rows.pool.size, supply.capacity.size
    position = np.arange(p)
    request = np.repeat(np.arange(n), np.diff(rows.start))
    row: list[NDArray[Any]] = [request, n + rows.pool]
    column, use = [position, position], [np.ones(p), rows.demand]
    if rows.tenant.size:
        owner = rows.tenant[request]
        mine = (owner >= 0) & (rows.cost > 0)
        row.append(n + k + owner[mine])
        column.append(position[mine])
        use.append(rows.cost[mine])
    units = np.concatenate([np.ones(n), supply.capacity, supply.budget])
    units[n:] /= WHOLE
    units[units == 0] = 1.0  # no usable pair draws on it
    at = np.concatenate(row)
    share = np.concatenate(use) / units[at]
    matrix = scipy.sparse.csr_matrix((share, (at, np.concatenate(column))), shape=(units.size, p))
    limited = np.isfinite(units)
    return matrix[limited], np.where(np.arange(units.size) < n, 1.0, WHOLE)[limited], units
