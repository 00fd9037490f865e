"""Annealing: what it keeps is feasible; it finds the optimum of tiny problems."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurora_batch.allocation import AllocationProblem
from kernels import anneal, repair
from kernels.rows import Rows, Supply, by_pool
from tests import naive_anneal
from tests.aurora_batch.allocation.problems import random_problem, scipy_optimum
from tests.kernels.allocations import Case, cases
from tests.kernels.test_repair import left_by, rounded

LIMIT, TWIN_LIMIT = 5_000, 600


def of_problem(values: np.ndarray, capacity: list[float], mask: np.ndarray | None = None) -> Case:
    """Demands of 1, at prices of 0."""
    n, m = values.shape
    sparse = AllocationProblem(values, np.ones(n), np.arange(m), np.array(capacity), mask).sparse()
    rows, supply = sparse.rows(), sparse.supply
    return Case(rows, by_pool(rows, m), supply, np.zeros(m), np.zeros(0))


EMPTY = of_problem(np.zeros((0, 2)), [1.0, 1.0])
SINGLE = of_problem(np.array([[1.0, 2.0]]), [1.0, 1.0])
TIED = of_problem(np.ones((6, 2)), [2.0, 2.0])
MASKED = of_problem(np.ones((3, 2)), [1.0, 1.0], np.zeros((3, 2), np.bool_))


def state_of(seed: int) -> np.ndarray:
    """A generator's state."""
    return np.array([seed], np.uint64)


def charge_of(supply: Supply, unit: float) -> np.ndarray:
    """The same charge for each unit beyond any pool or budget."""
    return np.full(supply.capacity.size + supply.budget.size, unit)


tries = given(
    case=cases,
    heat=st.sampled_from([1e-6, 0.03, 3.0]),
    unit=st.sampled_from([0.0, 1.0, 10.0]),
    fee=st.sampled_from([0.0, 0.2]),
    seed=st.integers(1, 2**64 - 1),
)


@settings(max_examples=150, deadline=None)
@tries
def test_the_best_is_feasible_and_worth_what_is_said(
    case: Case, heat: float, unit: float, fee: float, seed: int
) -> None:
    """Whatever overbooking costs, nothing included; the choice stays one of the request's pairs."""
    choice = rounded(case).choice
    best, before = choice.copy(), case.rows.value[choice[choice >= 0]].sum()
    charge = charge_of(case.supply, unit)
    gained, _ = anneal.anneal(
        case.rows, case.supply, charge, fee, choice, best, heat, LIMIT, state_of(seed)
    )

    left, purse = left_by(case.rows, case.supply, best)
    assert (left >= -1e-9 * case.supply.capacity).all()
    assert (purse >= -1e-9 * case.supply.budget).all()
    assert case.rows.value[best[best >= 0]].sum() == pytest.approx(before + gained, abs=1e-6)
    assert gained >= 0.0
    left_by(case.rows, case.supply, choice)


@settings(max_examples=100, deadline=None)
@tries
@example(case=EMPTY, heat=0.03, unit=1.0, fee=0.2, seed=1)
@example(case=SINGLE, heat=0.03, unit=1.0, fee=0.2, seed=1)
@example(case=TIED, heat=0.03, unit=0.5, fee=0.2, seed=1)
@example(case=MASKED, heat=0.03, unit=1.0, fee=0.2, seed=1)
def test_every_decision_is_that_of_the_twin(
    case: Case, heat: float, unit: float, fee: float, seed: int
) -> None:
    """Choice, best, gain, work and state, where the twin weighs each try from scratch."""
    choice = rounded(case).choice
    best, state = choice.copy(), state_of(seed)
    charge = charge_of(case.supply, unit)
    start = choice.tolist()
    expected = naive_anneal.anneal(
        case.rows, case.supply, charge, fee, start, start, heat, TWIN_LIMIT, seed
    )

    gained, work = anneal.anneal(
        case.rows, case.supply, charge, fee, choice, best, heat, TWIN_LIMIT, state
    )

    assert (choice.tolist(), best.tolist()) == expected[:2]
    assert gained == pytest.approx(expected[2], abs=1e-9)
    assert (work, int(state[0])) == expected[3:]


@settings(max_examples=50, deadline=None)
@given(case=cases, seed=st.integers(1, 2**64 - 1))
def test_the_same_state_makes_the_same_tries(case: Case, seed: int) -> None:
    """Choice, best, work and the state left behind."""
    found = []
    for _ in range(2):
        choice, state = rounded(case).choice, state_of(seed)
        best = choice.copy()
        gained, work = anneal.anneal(
            case.rows, case.supply, charge_of(case.supply, 1.0), 0.1, choice, best, 0.05, LIMIT,
            state,
        )  # fmt: skip
        found.append((choice.tolist(), best.tolist(), gained, work, state.tolist()))

    assert found[0] == found[1]


def test_cooling_finds_the_optimum_of_tiny_problems() -> None:
    """From nothing, in most of 40 problems of 8 x 3; never more than the optimum."""
    equal = 0
    for seed in range(40):
        problem = random_problem(seed, 8, 3)
        sparse = problem.sparse()
        rows: Rows = sparse.rows()
        choice = repair.empty_plan(rows, sparse.supply).choice
        best, state, value = choice.copy(), state_of(seed + 1), 0.0
        charge = charge_of(sparse.supply, 2.0)
        for heat in np.geomspace(1.0, 0.01, 20):
            gained, _ = anneal.anneal(
                rows, sparse.supply, charge, heat, choice, best, heat, LIMIT, state
            )
            value += gained
        optimum = scipy_optimum(problem)
        assert value <= optimum + 1e-6
        equal += value > optimum - 1e-6

    assert equal >= 36
