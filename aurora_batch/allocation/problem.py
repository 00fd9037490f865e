"""The problem: requests, offers that draw on pools, tenants with budgets.

    maximise    sum of values of the chosen pairs
    such that   each request takes one offer at most,
                the demands on a pool stay within its capacity,
                the costs of a tenant's requests stay within its budget.

Conventions: n requests, m offers, k pools, t tenants with a budget.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import validation as expect
from kernels.rows import Rows, Supply, usable_rows

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]


@dataclass(frozen=True)
class SparseProblem:
    """Rows of feasible pairs, named as in SciPy's CSR; row i is `indptr[i]:indptr[i + 1]`.

    Parameters
    ----------
    data
        Value of each pair, shape (nnz,), finite.
    indices
        Offer of each pair, shape (nnz,).
    indptr
        Shape (n + 1,).
    demand
        What a request takes from a pool, shape (n,) or, by pair, (nnz,), finite, > 0.
    pool
        Pool of each offer, shape (m,).
    capacity
        Units of each pool, shape (k,), >= 0; infinite is no limit.
    tenant
        Tenant of each request, shape (n,), -1 = no budget. The three go together.
    cost
        USD of each pair, shape (nnz,), finite, >= 0.
    budget
        USD of each tenant, shape (t,), >= 0; infinite is no limit.
    rest
        Value of the best pair of each request that the rows leave out, shape (n,). It cannot be
        chosen, but the bound counts it.
    per_pair
        Whether `demand` is by pair; told from its length by default, by request where n = nnz.

    Raises
    ------
    ValueError
        Names the argument, what was expected and what came.
    """

    data: F64
    indices: NDArray[Any]
    indptr: NDArray[Any]
    demand: F64
    pool: NDArray[Any]
    capacity: F64
    tenant: NDArray[Any] | None = None
    cost: F64 | None = None
    budget: F64 | None = None
    rest: F64 | None = None
    per_pair: bool | None = None

    def __post_init__(self) -> None:
        pairs, n = np.size(self.data), np.size(self.indptr) - 1
        if n < 0:
            raise ValueError("Expected indptr of shape (n + 1,), got (0,).")
        self._take("data", (pairs,), np.float64)
        self._take("indices", (pairs,), np.int32)
        self._take("indptr", (n + 1,), np.int64)
        self._take("demand", [(n,), (pairs,)], np.float64)
        _take_supply(self)
        _take_tenants(self, n, (pairs,))
        if self.rest is not None:
            self._take("rest", (n,), np.float64)
            expect.finite("rest", self.rest)
        if self.per_pair is None:
            object.__setattr__(self, "per_pair", self.demand.size != n)
        steps = np.diff(self.indptr)
        if self.indptr[0] != 0 or self.indptr[-1] != pairs or (steps < 0).any():
            raise ValueError(f"Expected indptr to ascend from 0 to {pairs}, got {self.indptr}.")
        expect.finite("data", self.data)
        expect.in_range("indices", self.indices, 0, self.pool.size)
        expect.positive("demand", self.demand)

    def _take(self, name: str, shape: Any, dtype: Any) -> None:
        object.__setattr__(self, name, expect.array(name, getattr(self, name), shape, dtype))

    @property
    def requests(self) -> int:
        """Number of requests, n."""
        return self.indptr.size - 1

    @property
    def supply(self) -> Supply:
        """Capacities and budgets."""
        return Supply(self.capacity, np.zeros(0) if self.budget is None else self.budget)

    def sparse(self) -> "SparseProblem":
        """The problem itself."""
        return self

    def rows(self) -> Rows:
        """List the pairs that can be in an allocation."""
        n = self.requests
        none, nobody = np.zeros(0), np.zeros(0, np.int32)
        return usable_rows(
            self.indptr,
            self.pool[self.indices],
            self.data,
            self.demand,
            bool(self.per_pair),
            nobody if self.tenant is None else self.tenant,
            none if self.cost is None else self.cost,
            self.supply,
            np.zeros(n) if self.rest is None else np.maximum(self.rest, 0.0),
        )


@dataclass(frozen=True)
class AllocationProblem:
    """Values of all pairs as a matrix.

    Parameters
    ----------
    values
        Value of serving request i by offer j, shape (n, m), finite where feasible.
    demand
        What a request takes from a pool, shape (n,) or, by pair, (n, m), finite, > 0.
    pool
        Pool of each offer, shape (m,).
    capacity
        Units of each pool, shape (k,), >= 0; infinite is no limit.
    mask
        Shape (n, m), True where feasible; all by default.
    tenant
        Tenant of each request, shape (n,), -1 = no budget. The three go together.
    cost
        USD of each pair, shape (n, m), finite, >= 0.
    budget
        USD of each tenant, shape (t,), >= 0; infinite is no limit.

    Raises
    ------
    ValueError
        Names the argument, what was expected and what came. What is masked may hold anything.

    Examples
    --------
    >>> import numpy as np
    >>> from aurora_batch.allocation import AllocationProblem, check, solve
    >>> problem = AllocationProblem(
    ...     values=np.array([[3.0, 2.0], [3.0, 1.0]]),
    ...     demand=np.array([1.0, 1.0]),
    ...     pool=np.array([0, 1]),
    ...     capacity=np.array([1.0, 1.0]),
    ... )
    >>> allocation = solve(problem)
    >>> allocation.assignment.tolist(), allocation.value, allocation.status
    ([1, 0], 5.0, 'optimal')
    >>> check(problem, allocation).gap
    0.0
    """

    values: F64
    demand: F64
    pool: NDArray[Any]
    capacity: F64
    mask: NDArray[np.bool_] | None = None
    tenant: NDArray[Any] | None = None
    cost: F64 | None = None
    budget: F64 | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.values) != 2:
            raise ValueError(f"Expected values of shape (n, m), got {np.shape(self.values)}.")
        n, m = np.shape(self.values)
        self._take("values", (n, m), np.float64)
        if self.mask is not None:
            self._take("mask", (n, m), np.bool_)
        self._take("demand", [(n,), (n, m)], np.float64)
        _take_supply(self)
        if self.pool.size != m:
            raise ValueError(f"Expected pool of shape ({m},), got {self.pool.shape}.")
        _take_tenants(self, n, (n, m))
        expect.finite("values", self._feasible(self.values))
        expect.positive("demand", self._feasible(self.demand))

    def _take(self, name: str, shape: Any, dtype: Any) -> None:
        object.__setattr__(self, name, expect.array(name, getattr(self, name), shape, dtype))

    def _feasible(self, values: F64) -> F64:
        return values[self.mask] if self.mask is not None and values.ndim == 2 else values

    @property
    def requests(self) -> int:
        """Number of requests, n."""
        return len(self.values)

    def sparse(self) -> SparseProblem:
        """Return the feasible pairs as rows, in the order of the offers."""
        n, m = self.values.shape
        if self.mask is None:
            flat = np.arange(n * m)
            counts = np.full(n, m, np.int64)
        else:
            flat = np.flatnonzero(self.mask)
            counts = np.count_nonzero(self.mask, axis=1)
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        row = np.repeat(np.arange(n) * m, counts)
        per_pair = self.demand.ndim == 2
        return SparseProblem(
            data=self.values.ravel()[flat],
            indices=(flat - row).astype(np.int32),
            indptr=indptr,
            demand=self.demand.ravel()[flat] if per_pair else self.demand,
            pool=self.pool,
            capacity=self.capacity,
            tenant=self.tenant,
            cost=None if self.cost is None else self.cost.ravel()[flat],
            budget=self.budget,
            per_pair=per_pair,
        )


Problem = AllocationProblem | SparseProblem


def _take_supply(problem: Problem) -> None:
    for name, dtype in (("pool", np.int32), ("capacity", np.float64)):
        given = getattr(problem, name)
        object.__setattr__(problem, name, expect.array(name, given, (np.size(given),), dtype))
    expect.at_least_zero("capacity", problem.capacity)
    expect.in_range("pool", problem.pool, 0, problem.capacity.size)


def _take_tenants(problem: Problem, n: int, shape: tuple[int, ...]) -> None:
    """Check tenant, cost and budget, which say something only together."""
    given = {name: getattr(problem, name) for name in ("tenant", "cost", "budget")}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        return
    if missing:
        raise ValueError(f"Expected tenant, cost and budget together, got no {missing[0]}.")
    shapes = {"tenant": (n,), "cost": shape, "budget": (np.size(given["budget"]),)}
    for name, value in given.items():
        dtype = np.int32 if name == "tenant" else np.float64
        object.__setattr__(problem, name, expect.array(name, value, shapes[name], dtype))
    assert problem.tenant is not None
    assert problem.cost is not None
    assert problem.budget is not None
    expect.at_least_zero("budget", problem.budget)
    expect.in_range("tenant", problem.tenant, -1, problem.budget.size)
    mask = getattr(problem, "mask", None)
    cost = problem.cost if mask is None else problem.cost[mask]
    expect.at_least_zero("cost", cost)
    expect.finite("cost", cost)
