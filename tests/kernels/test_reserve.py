"""Reduced values and best pairs against plain loops."""

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import reserve

F64 = NDArray[np.float64]


class Batch(NamedTuple):
    """Arguments of `reduced_values`."""

    indptr: NDArray[np.int64]
    offers: NDArray[np.int32]
    value: F64
    hours: F64
    tenant: NDArray[np.int32]
    pool: NDArray[np.int32]
    price: F64
    pool_price: F64
    budget_price: F64


def batch(seed: int) -> Batch:
    """Requests for offers, some of them with budgets; empty rows, no rows, ties, free pools."""
    rng = np.random.default_rng(seed)
    n, m, k, t = rng.integers([0, 0, 1, 0], [12, 6, 4, 3])
    chosen = rng.random((n, m)) < rng.choice([0.0, 0.6, 1.0])
    row, offers = np.nonzero(chosen)
    value = rng.random(row.size) * 3
    return Batch(
        np.concatenate([[0], np.cumsum(chosen.sum(axis=1))]).astype(np.int64),
        offers.astype(np.int32),
        np.round(value) if rng.random() < 0.5 else value,
        rng.lognormal(0.0, 1.0, n),
        rng.integers(-1, t, n).astype(np.int32),
        rng.integers(0, k, m).astype(np.int32),
        rng.random(m),
        rng.random(k) * rng.choice([0.0, 1.0]),
        rng.random(t) * rng.choice([0.0, 1.0]),
    )


batches = st.integers(0, 2**32 - 1).map(batch)


@settings(max_examples=200, deadline=None)
@given(b=batches)
def test_reduced_values_are_what_is_left_after_the_prices(b: Batch) -> None:
    """Value - pool price x GPU-hours - budget price x cost; without a budget, no third term."""
    twin = []
    for i in range(b.hours.size):
        for e in range(b.indptr[i], b.indptr[i + 1]):
            o = b.offers[e]
            pool = b.pool_price[b.pool[o]] * b.hours[i]
            cost = b.price[o] * b.hours[i]
            budget = b.budget_price[b.tenant[i]] * cost if b.tenant[i] >= 0 else 0.0
            twin.append(b.value[e] - pool - budget)
    reduced = reserve.reduced_values(*b)

    assert reduced.shape == b.value.shape
    assert np.allclose(reduced, twin, rtol=1e-12, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(b=batches, negative=st.booleans())
def test_the_best_of_a_row_is_its_first_maximum(b: Batch, negative: bool) -> None:
    """Ties go to the first pair, an empty row has none, and a best may well be below zero."""
    value = b.value - 10.0 if negative else b.value
    twin = []
    for low, high in zip(b.indptr[:-1], b.indptr[1:], strict=True):
        row = value[low:high].tolist()
        twin.append(int(low) + row.index(max(row)) if row else -1)

    assert reserve.best_of_rows(b.indptr, value).tolist() == twin


@settings(max_examples=200, deadline=None)
@given(b=batches)
def test_the_best_that_fits_is_the_best_of_those(b: Batch) -> None:
    """Only pairs whose GPU-hours and cost are left count; an exact fit is one; of some rows."""
    rng = np.random.default_rng(b.value.size)
    left = rng.choice([0.0, *b.hours, 9.0], b.pool_price.size)
    purse = rng.choice([0.0, *b.hours], b.budget_price.size)
    fits = []
    for i in range(b.hours.size):
        for e in range(b.indptr[i], b.indptr[i + 1]):
            o, t = b.offers[e], b.tenant[i]
            paid = t < 0 or b.price[o] * b.hours[i] <= purse[t]
            fits.append(bool(paid and b.hours[i] <= left[b.pool[o]]))
    twin = []
    for low, high in zip(b.indptr[:-1].tolist(), b.indptr[1:].tolist(), strict=True):
        row = [(-b.value[e], e) for e in range(low, high) if fits[e]]
        twin.append(min(row)[1] if row else -1)
    some = np.flatnonzero(rng.random(b.hours.size) < 0.7)
    best = reserve.best_that_fit(
        b.indptr, b.offers, b.value, b.hours, b.tenant, b.pool, b.price, left, purse, some
    )

    assert best.tolist() == [twin[i] for i in some.tolist()]


def test_at_prices_of_zero_nothing_is_reduced() -> None:
    """Bit for bit, so that a reserve of nothing changes no decision."""
    for seed in range(50):
        b = batch(seed)
        free = b._replace(pool_price=b.pool_price * 0, budget_price=b.budget_price * 0)

        assert reserve.reduced_values(*free).tolist() == b.value.tolist()
