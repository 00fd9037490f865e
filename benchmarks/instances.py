"""Named, seeded allocation problems, the same on every machine.

Offers sell one GPU type in some regions, requests want one or two types in one region or anywhere:
about one pair in eight is feasible. GPU-hours are lognormal, a pair is worth priority x 1..2, and
each offer is a pool of its own. Capacity is set by load = demand / capacity.

`batch` draws other requests for the same fleet: the next batches of one stream.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import AllocationProblem, SparseProblem

GPUS, REGIONS = 5, 3
MEAN_HOURS = float(np.exp(0.8**2 / 2))
ANY_REGION, TWO_GPUS, EVERYWHERE, SERVED = 0.1, 0.1, 0.1, 0.25


def market(n: int, m: int, load: float, seed: int = 0, batch: int = 0) -> SparseProblem:
    """Return n requests for m offers at this load."""
    fleet, rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1, batch])
    gpu = fleet.permutation(m) % GPUS
    served = fleet.random((m, REGIONS)) < SERVED
    served[np.arange(m), fleet.integers(0, REGIONS, m)] = True
    served[fleet.random(m) < EVERYWHERE] = True
    share = fleet.dirichlet(np.full(m, 4.0))
    hours = rng.lognormal(0.0, 0.8, n)
    wanted = rng.integers(0, GPUS, (n, 2))
    wanted[:, 1] = np.where(rng.random(n) < TWO_GPUS, wanted[:, 1], wanted[:, 0])
    region = np.where(rng.random(n) < ANY_REGION, REGIONS, rng.integers(0, REGIONS, n))
    indptr, indices = _rows(wanted, region, gpu, np.column_stack([served, np.ones(m, np.bool_)]))
    priority = np.repeat(rng.choice([1.0, 2.0, 4.0], n, p=[0.6, 0.3, 0.1]), np.diff(indptr))
    return SparseProblem(
        data=priority * (1.0 + rng.random(indices.size)),
        indices=indices,
        indptr=indptr,
        demand=hours,
        pool=np.arange(m),
        capacity=share * n * MEAN_HOURS / load,
    )


def _rows(
    wanted: NDArray[np.int64],
    region: NDArray[np.int64],
    gpu: NDArray[np.int64],
    served: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Feasible offers of each request, listed once for each class of requests."""
    code = (wanted.min(axis=1) * GPUS + wanted.max(axis=1)) * (REGIONS + 1) + region
    classes, of_class = np.unique(code, return_inverse=True)
    lists = []
    for c in classes.tolist():
        pair, place = divmod(c, REGIONS + 1)
        lists.append(np.flatnonzero(np.isin(gpu, divmod(pair, GPUS)) & served[:, place]))
    size = np.array([len(offers) for offers in lists])
    indptr = np.zeros(of_class.size + 1, np.int64)
    np.cumsum(size[of_class], out=indptr[1:])
    begin = np.cumsum(size) - size
    offset = np.repeat(begin[of_class] - indptr[:-1], size[of_class])
    return indptr, np.concatenate(lists)[offset + np.arange(indptr[-1])].astype(np.int32)


def plenty(seed: int = 0, batch: int = 0) -> SparseProblem:
    """10,000 x 64 at load 0.8: only some pools are scarce."""
    return market(10_000, 64, 0.8, seed, batch)


def rush_hour(seed: int = 0, batch: int = 0) -> SparseProblem:
    """10,000 x 64 at load 1.2."""
    return market(10_000, 64, 1.2, seed, batch)


def scarce(seed: int = 0, batch: int = 0) -> SparseProblem:
    """10,000 x 64 at load 2.0."""
    return market(10_000, 64, 2.0, seed, batch)


def few_pools(seed: int = 0, batch: int = 0) -> SparseProblem:
    """10,000 x 7 at load 1.2."""
    return market(10_000, 7, 1.2, seed, batch)


def granular(seed: int = 0, batch: int = 0) -> SparseProblem:
    """1,000 x 64 at load 1.2: about 15 requests a pool."""
    return market(1_000, 64, 1.2, seed, batch)


def degenerate(seed: int = 0, batch: int = 0) -> SparseProblem:
    """10,000 x 64, every pair worth 1 and every demand 1: nothing but ties."""
    p = market(10_000, 64, 1.2, seed, batch)
    capacity = np.floor(p.capacity / p.capacity.sum() * p.requests / 1.2)
    return SparseProblem(
        np.ones_like(p.data), p.indices, p.indptr, np.ones_like(p.demand), p.pool, capacity
    )


def wide_fleet(seed: int = 0, batch: int = 0) -> SparseProblem:
    """100,000 x 1,024 at load 1.2, about 12 million feasible pairs."""
    return market(100_000, 1_024, 1.2, seed, batch)


def tenants(seed: int = 0, batch: int = 0) -> SparseProblem:
    """10,000 x 64 at load 1.2; four in five requests of 20 tenants, whose budgets are short."""
    p, rng = market(10_000, 64, 1.2, seed, batch), np.random.default_rng([seed, 2, batch])
    price = np.random.default_rng([seed, 2]).uniform(0.4, 4.0, p.pool.size)
    tenant = np.where(rng.random(p.requests) < 0.8, rng.integers(0, 20, p.requests), -1)
    request = np.repeat(np.arange(p.requests), np.diff(p.indptr))
    budget = np.full(20, 1.2 * 0.8 * p.requests * MEAN_HOURS / 20)
    return SparseProblem(
        p.data, p.indices, p.indptr, p.demand, p.pool, p.capacity,
        tenant=tenant, cost=price[p.indices] * p.demand[request], budget=budget,
    )  # fmt: skip


def small(seed: int) -> AllocationProblem:
    """Up to 200 x 8, with ties, masks, demands by pair and budgets by chance."""
    rng = np.random.default_rng([seed, 3])
    n, m = int(rng.integers(1, 201)), int(rng.integers(1, 9))
    k, t = int(rng.integers(1, m + 1)), int(rng.integers(1, 5))
    values = 1.0 + rng.random((n, m))
    if rng.random() < 0.2:
        values = np.round(values * 4) / 4
    budgeted = rng.random() < 0.7
    return AllocationProblem(
        values=values,
        demand=rng.lognormal(0.0, 0.8, (n, m) if rng.random() < 0.3 else n),
        pool=rng.integers(0, k, m),
        capacity=rng.dirichlet(np.full(k, 2.0)) * n * 1.4 / rng.uniform(0.5, 3.0),
        mask=rng.random((n, m)) < rng.uniform(0.2, 1.0),
        tenant=rng.integers(-1, t, n) if budgeted else None,
        cost=rng.uniform(0.1, 3.0, (n, m)) if budgeted else None,
        budget=rng.random(t) * n if budgeted else None,
    )


NAMED: dict[str, Callable[[int, int], SparseProblem]] = {
    made.__name__: made
    for made in (plenty, rush_hour, scarce, few_pools, granular, degenerate, tenants)
}
