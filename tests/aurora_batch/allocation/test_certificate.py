"""`check` accepts what solvers claim and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.allocation import Allocation, AllocationProblem, check, solve
from aurora_batch.errors import CertificateError
from benchmarks import instances
from tests import naive_allocation as naive
from tests.aurora_batch.allocation.problems import problems


@pytest.fixture(scope="module")
def problem() -> AllocationProblem:
    """A scarce one with budgets, where every pool and budget has a price."""
    rng = np.random.default_rng(2)
    return AllocationProblem(
        1 + rng.random((80, 4)), rng.lognormal(0, 0.5, 80), np.arange(4), np.full(4, 9.0),
        mask=rng.random((80, 4)) < 0.7,
        tenant=rng.integers(-1, 2, 80), cost=rng.uniform(0.5, 2, (80, 4)), budget=np.full(2, 8.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def allocation(problem: AllocationProblem) -> Allocation:
    """Its solution."""
    found = solve(problem)
    assert found.pool_prices.all()
    assert found.budget_prices.all()
    return found


def changed(values: np.ndarray, at: int, to: float) -> np.ndarray:
    """A copy with one number changed."""
    copy = values.copy()
    copy[at] = to
    return copy


@settings(max_examples=100, deadline=None)
@given(problem=problems, data=st.data())
def test_bound_is_the_dual_function(problem: AllocationProblem, data: st.DataObject) -> None:
    """The bound computed again is the dual function, written term by term."""
    allocation = solve(problem, method="dual")
    bound = naive.dual_bound(problem, allocation.pool_prices, allocation.budget_prices)

    assert check(problem, allocation).bound == pytest.approx(bound, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.99, 1.01, 2.0])
def test_changed_prices_are_caught(
    problem: AllocationProblem, allocation: Allocation, factor: float
) -> None:
    """A price that is not the one claimed proves another bound."""
    for name in ("pool_prices", "budget_prices"):
        prices = getattr(allocation, name)
        for at in range(prices.size):
            forged = replace(allocation, **{name: changed(prices, at, prices[at] * factor)})
            with pytest.raises(CertificateError, match="bound is"):
                check(problem, forged)


@pytest.mark.parametrize("price", [-1e-12, float("nan"), float("inf")])
def test_impossible_prices_are_caught(
    problem: AllocationProblem, allocation: Allocation, price: float
) -> None:
    """Negative, NaN and infinite prices prove nothing."""
    for name in ("pool_prices", "budget_prices"):
        forged = replace(allocation, **{name: changed(getattr(allocation, name), 0, price)})
        with pytest.raises(CertificateError, match="finite and >= 0"):
            check(problem, forged)


def test_changed_assignments_are_caught(problem: AllocationProblem, allocation: Allocation) -> None:
    """Any other offer for any request is caught: infeasible, over capacity, or another value."""
    for i in range(80):
        for offer in {-2, -1, 0, 1, 2, 3, 4} - {int(allocation.assignment[i])}:
            forged = replace(allocation, assignment=changed(allocation.assignment, i, offer))
            with pytest.raises(CertificateError):
                check(problem, forged)


@pytest.mark.parametrize("name", ["value", "bound"])
@pytest.mark.parametrize("factor", [0.0, 1 - 1e-6, 1 + 1e-6, -1.0, float("nan")])
def test_changed_claims_are_caught(
    problem: AllocationProblem, allocation: Allocation, name: str, factor: float
) -> None:
    """Value and bound must be what follows from assignment and prices."""
    forged = replace(allocation, **{name: getattr(allocation, name) * factor})

    with pytest.raises(CertificateError, match=f"{name} is"):
        check(problem, forged)


@pytest.mark.parametrize("gap", [0.0, -1.0, float("nan")])
def test_changed_gap_is_caught(
    problem: AllocationProblem, allocation: Allocation, gap: float
) -> None:
    """The gap must follow from value and bound."""
    with pytest.raises(CertificateError, match="gap is"):
        check(problem, replace(allocation, gap=gap))


def test_shapes_are_caught(problem: AllocationProblem, allocation: Allocation) -> None:
    """Arrays of another length or kind are no claim about this problem."""
    for forged in (
        replace(allocation, assignment=allocation.assignment[:-1]),
        replace(allocation, assignment=allocation.assignment.astype(np.float64)),
        replace(allocation, pool_prices=allocation.pool_prices[:-1]),
        replace(allocation, budget_prices=np.zeros(3)),
    ):
        with pytest.raises(CertificateError, match="must be"):
            check(problem, forged)


def test_price_of_an_idle_pool_is_caught() -> None:
    """A pool that no pair can draw on has no price, so that a changed one cannot hide there."""
    problem = AllocationProblem(np.ones((2, 2)), np.ones(2), [0, 1], [1.0, 0.0])
    allocation = solve(problem)
    forged = replace(allocation, pool_prices=changed(allocation.pool_prices, 1, 5.0))

    assert check(problem, allocation).value == 1
    with pytest.raises(CertificateError, match="a pool that no pair draws on"):
        check(problem, forged)


def test_over_capacity_is_caught() -> None:
    """A pool exceeded by more than 1e-9 is caught even where value and bound are as claimed."""
    problem = AllocationProblem(np.ones((2, 1)), np.full(2, 0.6), [0], [1.0])
    allocation = solve(problem)
    forged = replace(allocation, assignment=np.array([0, 0]), value=2.0)

    with pytest.raises(CertificateError, match="pool 0 has"):
        check(problem, forged)


def test_every_named_instance_is_certified() -> None:
    """Allocations of every named instance pass, with little work and with much."""
    for made in instances.NAMED.values():
        problem = made(2, 0)
        for work in (200_000, 2_000_000):
            check(problem, solve(problem, work=work))
