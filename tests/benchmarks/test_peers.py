"""Peers find feasible assignments, and those that search to the end the optimum."""

from dataclasses import replace

import numpy as np
import pytest

from aurora_batch.allocation import SparseProblem, solve
from aurora_batch.errors import CertificateError
from benchmarks import instances, peers

LIMIT_S = 20.0  # none gets near
EXACT = ("SciPy MILP", "SCIP", "CP-SAT")
PROVING = ("SciPy LP", "SciPy MILP", "SCIP")


def tiny(seed: int) -> SparseProblem:
    """A problem that every peer ends, with masks and budgets by chance."""
    p = instances.small(seed).sparse()
    n = min(p.requests, 12)
    pairs = int(p.indptr[n])
    return SparseProblem(
        data=p.data[:pairs],
        indices=p.indices[:pairs],
        indptr=p.indptr[: n + 1],
        demand=p.demand[: pairs if p.per_pair else n],
        pool=p.pool,
        capacity=p.capacity * n / p.requests,
        tenant=None if p.tenant is None else p.tenant[:n],
        cost=None if p.cost is None else p.cost[:pairs],
        budget=None if p.budget is None else p.budget * n / p.requests,
        per_pair=p.per_pair,
    )


def ties(n: int) -> SparseProblem:
    """Equal demands on three pools, of two in three requests; pool 2 takes nobody."""
    return SparseProblem(
        data=np.tile([2.0, 1.0, 1.0], n),
        indices=np.tile([0, 1, 2], n),
        indptr=np.arange(0, 3 * n + 1, 3),
        demand=np.ones(n),
        pool=np.arange(3),
        capacity=np.array([n // 3, n // 3, 0.5]),
    )


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("seed", range(8))
def test_exact_peers_find_the_optimum(method: str, seed: int) -> None:
    """HiGHS, SCIP and CP-SAT agree with `exact`, but for CP-SAT's rounding."""
    problem = tiny(seed)
    best = solve(problem, method="exact")
    answer = peers.PEERS[method](problem, LIMIT_S)

    assert answer is not None
    assert peers.verified(problem, answer, best).value == pytest.approx(best.value, rel=1e-6)


@pytest.mark.parametrize("method", PROVING)
@pytest.mark.parametrize("seed", range(8))
def test_claimed_bounds_are_bounds(method: str, seed: int) -> None:
    """No peer claims a bound below the optimum."""
    problem = tiny(seed)
    answer = peers.PEERS[method](problem, LIMIT_S)

    assert answer is not None
    assert answer.bound >= solve(problem, method="exact").value * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_greedy_is_the_policy(seed: int) -> None:
    """Greedy here is `solve(method="greedy")`."""
    problem = tiny(seed)
    answer = peers.greedy(problem, LIMIT_S)
    ours = solve(problem, method="greedy")

    assert answer.assignment.tolist() == ours.assignment.tolist()
    assert answer.value == ours.value


def test_flow_is_exact_where_demands_are_equal() -> None:
    """Min-cost flow serves two requests in three, and proves it."""
    problem = ties(12)
    answer = peers.min_cost_flow(problem, LIMIT_S)

    assert answer is not None
    peers.verified(problem, answer, solve(problem))
    assert (answer.value, answer.bound) == (12.0, 12.0)


def test_flow_leaves_other_problems_alone() -> None:
    """Where demands differ there is no flow."""
    assert peers.min_cost_flow(replace(ties(3), demand=np.array([1.0, 1.0, 0.5])), LIMIT_S) is None


@pytest.mark.parametrize("method", list(peers.PEERS))
def test_nothing_to_allocate(method: str) -> None:
    """Peers take a problem without a pair."""
    problem = replace(ties(3), data=-np.ones(9))
    answer = peers.PEERS[method](problem, LIMIT_S)

    assert answer is None or not answer.value > 0


@pytest.mark.parametrize("method", EXACT)
def test_a_search_without_time_finds_little(method: str) -> None:
    """What a peer holds at once is feasible, and where it holds nothing it says nan."""
    problem = instances.granular()
    answer = peers.PEERS[method](problem, 0.05)

    assert answer is not None
    assert not np.isnan(answer.value) or (answer.assignment < 0).all()
    peers.verified(problem, answer, solve(problem, work=100_000))


def test_an_infeasible_answer_is_refused() -> None:
    """A peer that overfills a pool is told so."""
    problem = ties(3)
    answer = peers.Answer(np.zeros(3, np.int64), 6.0, np.nan, 0.0)

    with pytest.raises(CertificateError, match="pool 0 has"):
        peers.verified(problem, answer, solve(problem))
