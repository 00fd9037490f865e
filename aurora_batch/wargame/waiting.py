"""The clairvoyant where refused requests wait: all steps of a run in one problem.

A request may be served in the step that it is made in, or in one of the next `patience`. The linear
relaxation gives prices of every pool and budget in every step; whatever prices are, weak duality
makes a bound of them:

    prices . supply + sum over requests of max(0, max(value - price x demand - price x cost))

Its solution is rounded: each request takes the place that it has most of there, where there is
still room, most of it first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from aurora_batch.hindsight import Piece
from aurora_batch.wargame.events import in_force
from aurora_batch.wargame.game import Game
from aurora_batch.wargame.yardstick import NOTHING, Optimum

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Places(NamedTuple):
    """Where and when requests can be served; p places, supplies numbered through all steps."""

    request: I64  # (p,)
    value: F64  # (p,)
    pool: I64  # (p,) row of `supply`
    hours: F64  # (p,)
    budget: I64  # (p,) row of `supply`, -1 = none
    cost: F64  # (p,) USD
    supply: F64  # GPU-hours of pools, then USD of budgets, step by step


def optimum(game: Game, known: Sequence[float]) -> Optimum:
    """Return the best known value of a run and a bound; `known` are values that players reached."""
    places = _places(game)
    if not places.value.size:
        return NOTHING
    rows = _rows(places, game.requests.num_rows)
    limits = np.concatenate([np.ones(game.requests.num_rows), np.ones(places.supply.size)])
    solved = linprog(-places.value, A_ub=rows, b_ub=limits, bounds=(0, None), method="highs-ipm")
    share, duals = np.zeros(places.value.size), np.zeros(places.supply.size)
    if solved.status == 0:
        share = np.asarray(solved.x)
        duals = np.maximum(-solved.ineqlin.marginals[game.requests.num_rows :], 0.0)
    value = max(_rounded(places, share), *known)
    return Optimum(value, max(value, _bound(places, duals)))


def _places(game: Game) -> Places:
    patience, settings = game.plan.patience, game.plan.settings
    first = np.cumsum([0, *(game.requests_in(s).num_rows for s in range(game.plan.steps))])
    parts: list[tuple[Any, ...]] = []
    supply: list[F64] = []
    row = 0
    for step in range(game.plan.steps):
        low, high = int(first[max(step - patience, 0)]), int(first[step + 1])
        fleet = game.fleet(in_force(game.plan.events, step))
        piece = Piece.of(game.requests.slice(low, high - low), fleet, settings)
        budgets = piece.task.supply.budget
        if high > low:
            parts.append(_of_step(piece, low, row))
        supply += [fleet.pool_capacity, budgets]
        row += fleet.pool_capacity.size + budgets.size
    if not parts:
        return Places(*(np.zeros(0, kind) for kind in (int, float, int, float, int, float, float)))
    request, value, pool, hours, budget, cost = map(np.concatenate, zip(*parts, strict=True))
    return Places(request, value, pool, hours, budget, cost, np.concatenate(supply))


def _of_step(piece: Piece, first: int, row: int) -> tuple[Any, ...]:
    """Return the places of one step, as in `Places`."""
    problem, pools = piece.task.problem, piece.task.supply.left.size
    request = np.repeat(np.arange(problem.requests), np.diff(problem.indptr))
    tenant = np.full(request.size, -1) if problem.tenant is None else problem.tenant[request]
    cost = np.zeros(request.size) if problem.cost is None else problem.cost
    return (
        request + first,
        problem.data,
        problem.pool[problem.indices].astype(np.int64) + row,
        problem.demand[request],
        np.where(tenant >= 0, tenant + row + pools, -1).astype(np.int64),
        cost,
    )


def _rows(places: Places, requests: int) -> Any:
    """Return the constraints: one place a request; shares of each supply, at most 1."""
    p = np.arange(places.value.size)
    paid = np.flatnonzero((places.budget >= 0) & (places.cost > 0))
    unit = np.where(places.supply > 0, places.supply, 1.0)
    row = [places.request, requests + places.pool, requests + places.budget[paid]]
    share = [
        np.ones(p.size),
        places.hours / unit[places.pool],
        places.cost[paid] / unit[places.budget[paid]],
    ]
    shape = (requests + places.supply.size, p.size)
    at = (np.concatenate(row), np.concatenate([p, p, paid]))
    return sparse.csr_matrix((np.concatenate(share), at), shape=shape)


def _bound(places: Places, duals: F64) -> float:
    """Return the bound that prices prove; `duals` are per whole supply."""
    unit = np.where(places.supply > 0, places.supply, 1.0)
    price = np.append(duals / unit, 0.0)  # the last: no budget
    net = places.value - price[places.pool] * places.hours - price[places.budget] * places.cost
    best = np.zeros(int(places.request.max()) + 1)
    np.maximum.at(best, places.request, net)
    return float(best.sum() + price[:-1] @ places.supply)


def _rounded(places: Places, share: F64) -> float:
    """Return the value of a plan that fits, near the shares of the relaxation."""
    left = np.append(places.supply, np.inf)  # the last: no budget
    served: set[int] = set()
    value = 0.0
    for p in np.lexsort((-places.value, -np.round(share, 9))).tolist():
        request, pool, budget = (
            int(places.request[p]), int(places.pool[p]), int(places.budget[p])
        )  # fmt: skip
        if request in served or left[pool] < places.hours[p] or left[budget] < places.cost[p]:
            continue
        served.add(request)
        left[pool] -= places.hours[p]
        left[budget] -= places.cost[p]
        value += float(places.value[p])
    return value
