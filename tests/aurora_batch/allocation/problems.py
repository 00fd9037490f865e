"""Random problems for the tests, and SciPy's optimum written independently of the package."""

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from aurora_batch.allocation import AllocationProblem


def random_problem(seed: int, n: int | None = None, m: int | None = None) -> AllocationProblem:
    """Ties, masks, demands by pair, shared pools, zero capacities and budgets, all by chance."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 14)) if n is None else n
    m = int(rng.integers(0, 6)) if m is None else m
    k, t = int(rng.integers(1, m + 2)), int(rng.integers(1, 5))
    values = rng.uniform(-0.2, 2.0, (n, m)) if rng.random() < 0.7 else np.ones((n, m))
    demand = rng.lognormal(0, rng.choice([0.0, 0.8, 6.0]), (n, m) if rng.random() < 0.3 else n)
    capacity = rng.random(k) * n * rng.uniform(0.1, 1.0)
    capacity[rng.random(k) < 0.1] = 0.0
    budgeted = rng.random() < 0.5
    return AllocationProblem(
        values=np.round(values, 1) if rng.random() < 0.3 else values,
        demand=demand,
        pool=rng.integers(0, k, m),
        capacity=np.floor(capacity) if rng.random() < 0.3 else capacity,
        mask=rng.random((n, m)) < rng.choice([0.0, 0.5, 1.0], p=[0.05, 0.65, 0.3]),
        tenant=rng.integers(-1, t, n) if budgeted else None,
        cost=rng.random((n, m)) * rng.integers(0, 3) if budgeted else None,
        budget=np.maximum(rng.uniform(-0.2, 0.5, t), 0) * n if budgeted else None,
    )


problems = st.integers(0, 2**32 - 1).map(random_problem)


def scipy_optimum(p: AllocationProblem) -> float:
    """Value of the optimum, by a dense MILP over all pairs."""
    n, m = p.values.shape
    if n * m == 0:
        return 0.0
    demand = p.demand if p.demand.ndim == 2 else np.repeat(p.demand[:, None], m, axis=1)
    allowed = (np.ones((n, m), np.bool_) if p.mask is None else p.mask) & (p.values > 0)
    allowed &= demand <= p.capacity[p.pool]
    uses = [(np.arange(n)[:, None] == np.full(m, i)) * 1.0 for i in range(n)]
    uses += [demand * (p.pool == j) / c for j, c in enumerate(p.capacity) if c > 0]
    if p.tenant is not None and p.cost is not None and p.budget is not None:
        allowed &= (p.tenant < 0)[:, None] | (p.cost <= p.budget[p.tenant][:, None])
        owner = p.tenant[:, None]
        uses += [p.cost * (owner == t) / b for t, b in enumerate(p.budget) if b > 0]
    solved = milp(
        -p.values.ravel(),
        constraints=LinearConstraint(np.array([u.ravel() for u in uses]), -np.inf, 1.0),
        bounds=Bounds(0, allowed.ravel().astype(np.float64)),
        integrality=np.ones(n * m, np.int64),
        options={"mip_rel_gap": 0.0},
    )
    return float(-solved.fun)
