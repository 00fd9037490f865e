"""Random tables for the pair kernels: ordinary, empty, single, tied, all-masked and huge."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from kernels.pairs import BlockTable, OfferTable, RequestTable, Supply


class Tables(NamedTuple):
    """One instance in the form that the kernels read."""

    offers: OfferTable
    requests: RequestTable
    supply: Supply
    blocks: BlockTable


KINDS = ("ordinary", "tied", "masked", "huge", "scarce")


def tables(seed: int, kind: str = "ordinary", n: int = 40, m: int = 12, budgets: int = 3) -> Tables:
    """Return a seeded instance; `kind` is one of `KINDS`."""
    rng = np.random.default_rng(seed)
    classes, pools = 5, max(1, m // 2)
    coarse = kind == "tied"
    scale = 1e12 if kind == "huge" else 1.0
    price = (rng.integers(1, 3, m) * 0.5 if coarse else rng.uniform(0.3, 4, m)) * scale
    latency = (rng.integers(1, 3, m) * 100.0 if coarse else rng.uniform(50, 500, m)) * scale
    reputation = rng.integers(6, 8, m) * 10.0 if coarse else rng.uniform(40, 99, m)
    pool = rng.integers(0, pools, m).astype(np.int32)
    gpu, region = rng.random((classes, m)) < 0.6, rng.random((classes, m)) < 0.7
    listed = gpu & region
    offer = np.nonzero(listed)[1].astype(np.int32)
    start = np.zeros(classes + 1, np.int64)
    np.cumsum(listed.sum(axis=1), out=start[1:])
    total = rng.uniform(2, 8, pools) * (1 if kind == "scarce" else 10) * scale
    hours = (np.ones(n) if coarse else rng.lognormal(0, 1, n)) * scale
    never = kind == "masked"
    requests = RequestTable(
        group=rng.integers(0, classes, n).astype(np.int32),
        hours=hours,
        max_price=np.full(n, 1e-9) if never else _maybe(rng, rng.uniform(1, 5, n) * scale, np.inf),
        max_latency=_maybe(rng, rng.uniform(100, 600, n) * scale, np.inf),
        min_reputation=_maybe(rng, rng.uniform(40, 80, n), -np.inf),
        weights=rng.integers(0, 3, (n, 4)) / 2.0 if coarse else rng.random((n, 4)),
        tenant=rng.integers(-1, budgets, n).astype(np.int32),
    )
    left = np.where(rng.random(pools) < 0.3, total, total * rng.random(pools))
    supply = Supply(left, total, rng.uniform(0, 30, budgets) * scale * scale)
    return Tables(
        OfferTable(start, offer, pool[offer], price[offer], latency[offer], reputation[offer]),
        requests,
        supply,
        BlockTable(gpu, region, np.ones(m, np.bool_), pool, price, latency, reputation),
    )


def _maybe(rng: np.random.Generator, values: np.ndarray, otherwise: float) -> np.ndarray:
    return np.where(rng.random(values.size) < 0.6, values, otherwise)


def instances() -> st.SearchStrategy[Tables]:
    """Hypothesis strategy over kinds and sizes, empty and single included."""
    return st.builds(
        tables,
        st.integers(0, 2**32 - 1),
        st.sampled_from(KINDS),
        st.sampled_from([0, 1, 2, 40]),
        st.sampled_from([1, 2, 12]),
    )


def fresh(supply: Supply) -> Supply:
    """Return a copy that a sequential policy may spend."""
    return Supply(supply.left.copy(), supply.total, supply.budget.copy())
