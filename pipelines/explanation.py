"""Why a batch was decided as it was: prices, what one more unit brings, ties, refusals.

Everything is derived from the step itself: its problem, its prices and its decisions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aurora_batch.allocation import Allocation, Certificate, Prices, SparseProblem, check, solve
from aurora_batch.fleet import Fleet
from aurora_batch.ledger import Ledger
from aurora_batch.model import Policy
from aurora_batch.router import BatchRecord, Step

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MEASURED = 3  # pools, and budgets, that are solved again with one unit more
MEASURED_PAIRS = 1_000_000  # of a batch larger than that nothing is solved again
REFUSED = "refused"


@dataclass(frozen=True)
class OneMore:
    """What one more unit brought when the batch was solved again, without it and with it.

    Both include the unit's reserve price, which it is worth whether it is used now or kept. The
    bounds differ by what prices say; the values too where both solves were optimal, else by
    what rounding to whole requests does as well.
    """

    bound: float
    value: float
    optimal: bool


@dataclass(frozen=True)
class Resource:
    """A pool (GPU-hours) or a budget (USD), and what one more unit is worth."""

    name: str
    before: float
    after: float
    shadow_price: float  # reserve price included
    reserve_price: float  # what it is kept at for the rest of the window
    measured: OneMore | None


@dataclass(frozen=True)
class Tie:
    """A request whose choice was a close one."""

    request_id: str
    chosen: str
    next_best: str
    difference: float  # of the reduced values; below 0 where rounding took the lesser one
    share: float  # of the request's value, before reserve prices


@dataclass(frozen=True)
class Refusals:
    """Requests refused for one reason, and their most common remedies."""

    reason: str
    requests: int
    remedies: list[tuple[str | None, int]]


@dataclass(frozen=True)
class Explanation:
    """All that the screen shows of a batch."""

    batch: BatchRecord
    certificate: Certificate  # of the solve, computed again without the solver
    pools: list[Resource]
    budgets: list[Resource]
    ties: list[Tie]
    refusals: list[Refusals]


def explain(step: Step, before: Ledger, fleet: Fleet, top: int) -> Explanation:
    """Return why a batch was decided as it was.

    Parameters
    ----------
    step
        With its certificate.
    before
        What was left when the batch came, in its window.
    top
        Ties, and remedies of each reason, to name at most.

    Raises
    ------
    CertificateError
        A claim of the allocation does not hold.
    """
    found = step.allocation
    assert found is not None
    problem = step.problem()
    certificate = check(problem, found)
    after = step.state.ledger
    again = _Again(problem, found)
    kept = step.batch.reserve
    if kept is None:
        kept = Prices(np.zeros(before.pool_left.size), np.zeros(before.budget_left.size))
    return Explanation(
        step.batch,
        certificate,
        _resources(
            before.pool_ids, before.pool_left, after.pool_left,
            step.batch.pool_prices, kept.pool, again.pool,
        ),
        _resources(
            before.budget_ids, before.budget_left, after.budget_left,
            _of_all(step.batch.budget_prices, kept.budget), kept.budget, again.budget,
        ),
        _ties(step, problem, found, fleet, top) if step.batch.policy is Policy.GLOBAL else [],
        _refusals(step, top),
    )  # fmt: skip


class _Again:
    """Solves a batch once more, as it is and with one unit more of something."""

    def __init__(self, problem: SparseProblem, found: Allocation) -> None:
        self._problem, self._found = problem, found
        self._base: Allocation | None = None

    def pool(self, index: int) -> OneMore | None:
        """Return what one more GPU-hour of a pool brings."""
        capacity = self._problem.capacity.copy()
        capacity[index] += 1
        return self._measured(replace(self._problem, capacity=capacity))

    def budget(self, index: int) -> OneMore | None:
        """Return what one more USD of a budget brings."""
        assert self._problem.budget is not None
        budget = self._problem.budget.copy()
        budget[index] += 1
        return self._measured(replace(self._problem, budget=budget))

    def _measured(self, problem: SparseProblem) -> OneMore | None:
        if problem.data.size > MEASURED_PAIRS:
            return None
        if self._base is None:
            self._base = solve(self._problem, warm_start=self._found.prices)
        more = solve(problem, warm_start=self._found.prices)
        base, proven = self._base, {more.status, self._base.status} == {"optimal"}
        return OneMore(more.bound - base.bound, more.value - base.value, proven)


def _of_all(prices: F64, like: F64) -> F64:
    """Prices of budgets, 0 where no request of the batch had one."""
    return prices if prices.size else np.zeros(like.size)


def _resources(
    names: Sequence[str],
    before: F64,
    after: F64,
    prices: F64,
    kept: F64,
    measure: Callable[[int], OneMore | None],
) -> list[Resource]:
    """Pools or budgets at the whole `prices`, of which `kept` are the reserve prices.

    Measured are the dearest of those that the batch itself was short of; elsewhere one more unit
    changes nothing now.
    """
    short = np.flatnonzero(prices > kept)
    dearest = short[np.argsort(-prices[short], kind="stable")][:MEASURED].tolist()
    return [
        Resource(
            name, float(before[at]), float(after[at]), float(prices[at]), float(kept[at]),
            _whole(measure(at), float(kept[at])) if at in dearest else None,
        )
        for at, name in enumerate(names)
    ]  # fmt: skip


def _whole(net: OneMore | None, reserve: float) -> OneMore | None:
    """Return what one more unit brought with the reserve price that the problem leaves out."""
    return net and replace(net, bound=net.bound + reserve, value=net.value + reserve)


def _ties(
    step: Step, problem: SparseProblem, found: Allocation, fleet: Fleet, top: int
) -> list[Tie]:
    """Return the requests whose choice led the next best, or a refusal, by the least share.

    The problem's values are net of reserve prices, so reducing them takes only those it found.
    """
    row = np.repeat(np.arange(problem.requests), np.diff(problem.indptr))
    net = problem.data - _charged(problem, row, found.prices)
    kept = step.batch.reserve
    value = problem.data if kept is None else problem.data + _charged(problem, row, kept)
    chosen = problem.indices == found.assignment[row]
    other = np.where(chosen, -np.inf, net)
    own = np.full(problem.requests, -1)
    own[row[chosen]] = np.flatnonzero(chosen)
    asked = np.flatnonzero(np.diff(problem.indptr) > 0)
    best = np.lexsort((-other, row))[problem.indptr[asked]]  # the best other pair of each request
    served = own[asked] >= 0
    pair = np.where(served, own[asked], best)
    lead = np.where(served, net[pair] - np.maximum(other[best], 0.0), -other[best])
    share = lead / value[pair]
    names = _offer_names(fleet)
    ids = step.decisions["request_id"].to_pylist()
    return [
        Tie(
            ids[asked[x]],
            names[problem.indices[pair[x]]] if served[x] else REFUSED,
            names[problem.indices[best[x]]] if not served[x] or other[best[x]] > 0 else REFUSED,
            float(lead[x]),
            float(share[x]),
        )
        for x in np.argsort(np.abs(share), kind="stable")[:top]
    ]


def _charged(problem: SparseProblem, row: I64, prices: Prices) -> F64:
    """What each pair pays at these prices; `row` (pairs,) is its request."""
    charged: F64 = prices.pool[problem.pool[problem.indices]] * problem.demand[row]
    if problem.tenant is not None and problem.cost is not None:
        owner = problem.tenant[row]
        charged += np.where(owner >= 0, prices.budget[owner], 0.0) * problem.cost
    return charged


def _offer_names(fleet: Fleet) -> list[str]:
    """Provider and GPU type of each offer, and its first region where prices differ by region."""
    short = [
        f"{fleet.provider_ids[provider]} {fleet.gpu_types[gpu]}"
        for provider, gpu in zip(fleet.offer_provider, fleet.offer_gpu, strict=True)
    ]
    return [
        name if short.count(name) == 1 else f"{name} {regions[0]}"
        for name, regions in zip(short, fleet.offer_regions, strict=True)
    ]


def _refusals(step: Step, top: int) -> list[Refusals]:
    """Return reasons and remedies by how common they are; shortages are told without amounts."""
    rows = pl.DataFrame(step.decisions.select(["reason", "remedy"]))
    rows = rows.filter(pl.col("reason") != "ok").with_columns(
        pl.col("remedy").str.replace(r": \S+ (?:GPU-h|USD) short at ", " short at ")
    )
    return [
        Refusals(reason, count, _counted(rows.filter(pl.col("reason") == reason), "remedy")[:top])
        for reason, count in _counted(rows, "reason")
    ]


def _counted(rows: pl.DataFrame, column: str) -> list[tuple[Any, int]]:
    """Return values with how often they come, most often first, then by name."""
    counts = rows.group_by(column).len().sort(["len", column], descending=[True, False])
    return counts.rows()
