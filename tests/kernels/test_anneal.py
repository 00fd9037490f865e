"""Annealing: always feasible, keeps the best it saw, and finds the optimum of tiny problems."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import anneal, repair
from kernels.rows import Rows
from tests.aurora_batch.allocation.problems import random_problem, scipy_optimum
from tests.kernels.allocations import Case, cases
from tests.kernels.test_repair import assert_feasible, left_by, rounded

LIMIT = 5_000


def state_of(seed: int) -> np.ndarray:
    """A generator's state."""
    return np.array([seed], np.uint64)


def net_of(case: Case, credit: float) -> np.ndarray:
    """Values less a share of the price of what the pairs use."""
    return case.rows.value - credit * case.price[case.rows.pool] * case.rows.demand


@settings(max_examples=150, deadline=None)
@given(
    case=cases,
    heat=st.sampled_from([1e-6, 0.03, 3.0]),
    credit=st.sampled_from([0.0, 0.8]),
    seed=st.integers(1, 2**64 - 1),
)
def test_tries_stay_feasible_and_keep_the_best(
    case: Case, heat: float, credit: float, seed: int
) -> None:
    """What is left is what the choice leaves; the best is feasible, and worth what is said."""
    plan = rounded(case)
    best, before = plan.choice.copy(), repair.worth(case.rows, plan)
    risen, behind, _ = anneal.anneal(
        case.rows, net_of(case, credit), plan, best, 0.0, heat, LIMIT, state_of(seed),
        anneal.new_log(),
    )  # fmt: skip

    assert_feasible(case, plan)
    left, purse = left_by(case.rows, case.supply, best)
    assert (left >= -1e-9 * case.supply.capacity).all()
    assert (purse >= -1e-9 * case.supply.budget).all()
    worth = case.rows.value[best[best >= 0]].sum()
    assert worth == pytest.approx(before + risen, abs=1e-6)
    assert repair.worth(case.rows, plan) == pytest.approx(worth + behind, abs=1e-6)
    assert risen >= 0.0
    assert behind <= 1e-9


@settings(max_examples=50, deadline=None)
@given(case=cases, seed=st.integers(1, 2**64 - 1))
def test_the_same_state_makes_the_same_tries(case: Case, seed: int) -> None:
    """Choice, best, work and the state left behind, also when made in two halves."""
    found = []
    for parts in (1, 1, 2):
        plan, state, work, behind = rounded(case), state_of(seed), 0, 0.0
        best = plan.choice.copy()
        for part in range(parts):
            limit = LIMIT if part + 1 == parts else LIMIT // 2
            _, behind, more = anneal.anneal(
                case.rows, case.rows.value, plan, best, behind, 0.05, limit - work, state,
                anneal.new_log(),
            )  # fmt: skip
            work += more
        found.append((plan.choice.tolist(), best.tolist(), work, state.tolist()))

    assert found[0] == found[1] == found[2]


def test_cooling_finds_the_optimum_of_tiny_problems() -> None:
    """From nothing, in most of 40 problems of 8 x 3; never more than the optimum."""
    equal = 0
    for seed in range(40):
        problem = random_problem(seed, 8, 3)
        sparse = problem.sparse()
        rows: Rows = sparse.rows()
        plan = repair.empty_plan(rows, sparse.supply)
        best, state, value, behind = plan.choice.copy(), state_of(seed + 1), 0.0, 0.0
        for heat in np.geomspace(1.0, 0.01, 20):
            risen, behind, _ = anneal.anneal(
                rows, rows.value, plan, best, behind, heat, LIMIT, state, anneal.new_log()
            )
            value += risen
        optimum = scipy_optimum(problem)
        assert value <= optimum + 1e-6
        equal += value > optimum - 1e-6

    assert equal >= 36
