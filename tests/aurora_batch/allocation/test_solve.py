"""Each method: feasible, certified, maximal, repeatable; `exact` and `auto` against SciPy."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from aurora_batch.allocation import (
    Allocation,
    AllocationProblem,
    Prices,
    SparseProblem,
    check,
    solve,
)
from benchmarks import instances
from tests import naive_allocation as naive
from tests.aurora_batch.allocation.problems import problems, random_problem, scipy_optimum

METHODS = ("auto", "exact", "dual", "greedy")


def fits_still(p: AllocationProblem, assignment: list[int]) -> list[tuple[int, int]]:
    """Pairs of refused requests that would fit beside the assignment."""
    left = p.capacity.copy()
    purse = np.zeros(0) if p.budget is None else p.budget.copy()
    for i, j in enumerate(assignment):
        if j >= 0:
            left[p.pool[j]] -= naive.demand(p, i, j)
            if p.tenant is not None and p.cost is not None and p.tenant[i] >= 0:
                purse[p.tenant[i]] -= p.cost[i, j]
    found = []
    for i, offers in enumerate(naive.usable(p)):
        for j in offers if assignment[i] < 0 else []:
            paid = True
            if p.tenant is not None and p.cost is not None and p.tenant[i] >= 0:
                paid = bool(p.cost[i, j] <= purse[p.tenant[i]])
            if paid and naive.demand(p, i, j) <= left[p.pool[j]]:
                found.append((i, j))
    return found


@settings(max_examples=150, deadline=None)
@given(problem=problems)
def test_every_method_is_certified_and_maximal(problem: AllocationProblem) -> None:
    """Every allocation passes `check`, and no refused request still fits."""
    for method in ("auto", "dual", "greedy"):
        allocation = solve(problem, method=method)
        computed = check(problem, allocation)

        assert allocation.value <= allocation.bound * (1 + 1e-9)
        assert computed.value == pytest.approx(allocation.value, rel=1e-9)
        assert fits_still(problem, allocation.assignment.tolist()) == []


def test_exact_equals_scipy_on_500_problems() -> None:
    """`exact` reaches the optimum of an independent MILP; `auto` does and no bound is below it."""
    for seed in range(500):
        problem = random_problem(seed)
        optimum = scipy_optimum(problem)
        found = solve(problem, method="exact")
        auto = solve(problem)

        check(problem, found)
        assert found.value == pytest.approx(optimum, rel=1e-6, abs=1e-9), seed
        assert auto.value == pytest.approx(optimum, rel=1e-6, abs=1e-9), seed
        assert auto.bound >= optimum * (1 - 1e-9), seed
        assert found.status == "optimal"


@settings(max_examples=150, deadline=None)
@given(problem=problems)
def test_greedy_is_the_plain_loop(problem: AllocationProblem) -> None:
    """`greedy` makes the choices of a plain loop in request order, ties to the first."""
    allocation = solve(problem, method="greedy")

    assert allocation.assignment.tolist() == naive.greedy(problem)


def test_unit_demands_use_slots() -> None:
    """Equal demands are an assignment to slots, and its prices leave no gap."""
    rng = np.random.default_rng(4)
    problem = AllocationProblem(
        rng.random((60, 5)), np.full(60, 2.0), np.arange(5), np.array([10.0, 8, 6, 0, 12])
    )
    allocation = solve(problem, method="exact")

    assert allocation.value == pytest.approx(scipy_optimum(problem), rel=1e-9)
    assert check(problem, allocation).gap < 1e-7
    assert allocation.status == "optimal"


@pytest.mark.parametrize("name", list(instances.NAMED))
def test_dual_is_near_its_bound(name: str) -> None:
    """Within 1 % of its own bound on every named instance, granular pools included."""
    problem = instances.NAMED[name](1, 0)
    allocation = solve(problem, method="dual")

    assert check(problem, allocation).gap < 0.01


def test_dual_at_rush_hour_is_near_optimal() -> None:
    """Within 0.15 % of the bound on 10,000 x 64 at load 1.2, in the work of 50 ms."""
    problem = instances.rush_hour()
    allocation = solve(problem, method="dual", work=3_000_000)
    greedy = solve(problem, method="greedy")

    assert allocation.gap < 0.0015
    assert allocation.value > 1.1 * greedy.value


def test_prices_leave_a_point_where_all_are_alike() -> None:
    """Many equal requests for alike offers: no price can fall alone, yet the bound gets near."""
    rng = np.random.default_rng(0)
    values = np.repeat(2.0 - 0.03 * rng.random((1, 5)), 300, axis=0)
    demand = 10.0 + np.arange(300) % 7
    problem = AllocationProblem(values, demand, np.arange(5), np.full(5, 180.0))
    allocation = solve(problem, method="dual")

    assert check(problem, allocation).gap < 0.02


def test_warm_prices_save_work() -> None:
    """Prices of the batch before reach with less work what cold ones do not."""
    before = solve(instances.rush_hour(), method="dual", work=3_000_000)
    problem = instances.rush_hour(0, 1)
    warm = solve(problem, method="dual", work=400_000, warm_start=before.prices)
    cold = solve(problem, method="dual", work=400_000)

    assert warm.gap < 0.7 * cold.gap


def test_work_ends_a_solve() -> None:
    """A solve goes over its work by no more than the stage it is in."""
    problem = instances.rush_hour()
    little = solve(problem, method="dual", work=1_000_000)
    none = solve(problem, method="dual", work=0)

    assert little.status == "work_limit"
    assert little.work < 2_000_000
    assert check(problem, none).value > 0


def test_target_gap_ends_a_solve() -> None:
    """A solve stops at the gap asked for."""
    allocation = solve(instances.rush_hour(), method="dual", target_gap=0.01)

    assert allocation.status == "target_gap"
    assert 0 < allocation.gap <= 0.01


def test_deadline_returns_what_there_is() -> None:
    """With no time at all the allocation is still feasible and certified, and says why it ended."""
    problem = instances.rush_hour()
    allocation = solve(problem, method="dual", deadline_s=0.0)

    assert allocation.status == "deadline"
    assert check(problem, allocation).value > 0


@pytest.mark.parametrize("deadline_s", [0.0, 0.002, 0.005, 0.02, 0.05, 0.2])
@pytest.mark.parametrize("made", [instances.rush_hour, instances.tenants, instances.granular])
def test_a_struck_solve_can_be_repeated(
    made: Callable[[], SparseProblem], deadline_s: float
) -> None:
    """Where a deadline ends a solve, the units done bring the same bytes again without a clock."""
    problem = made()
    struck = solve(problem, work=200_000_000, deadline_s=deadline_s)
    again = solve(problem, work=200_000_000, stop_at=struck.work)

    assert struck.status == "deadline"
    assert again.status == "deadline"
    assert again.work == struck.work
    for name in ("assignment", "pool_prices", "budget_prices"):
        assert getattr(again, name).tobytes() == getattr(struck, name).tobytes()


def test_a_search_cut_by_the_clock_can_be_repeated() -> None:
    """An exact search that the deadline ends leaves nothing behind."""
    for seed in range(12):
        problem = instances.small(seed)
        struck = solve(problem, work=1 << 40, deadline_s=0.06)
        if struck.status == "deadline":
            again = solve(problem, work=1 << 40, stop_at=struck.work)
            assert again.assignment.tobytes() == struck.assignment.tobytes()
            assert again.work == struck.work


SLOWED = """
import os, sys
from benchmarks import instances
from aurora_batch.allocation import solve
from tests.aurora_batch.allocation.test_solve import digest
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(digest([solve(instances.rush_hour()), solve(instances.small(3)), solve(instances.tenants())]))
"""
HOG = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


def digest(found: list[Allocation]) -> str:
    """Return a hash of all that a solve decides."""
    parts = [a.assignment.tobytes() + a.pool_prices.tobytes() + str(a.work).encode() for a in found]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux's CPU affinity")
def test_a_slow_machine_decides_the_same() -> None:
    """On a core shared with four busy processes, a fifth as fast, a solve gives the same bytes."""
    run = [sys.executable, "-c", SLOWED]
    alone = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(4)]
    try:
        slow = subprocess.run(run, capture_output=True, text=True, check=True, timeout=300).stdout
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()

    assert slow == alone


def test_plenty_is_optimal_at_prices_of_zero() -> None:
    """Where everybody's best offer fits, prices are 0 and the gap is 0."""
    p = instances.market(200, 8, 0.1)
    allocation = solve(p)

    assert allocation.status == "optimal"
    assert allocation.gap == 0
    assert not allocation.pool_prices.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("n", "m", "k", "t"), [(0, 3, 2, 0), (3, 0, 2, 0), (0, 0, 0, 0), (2, 0, 0, 2), (0, 0, 0, 3)]
)
def test_nothing_to_allocate(method: str, n: int, m: int, k: int, t: int) -> None:
    """No requests, offers, pools or tenants: an empty allocation, worth 0, optimal."""
    budgets = {"tenant": np.full(n, -1), "cost": np.zeros((n, m)), "budget": np.ones(t)}
    problem = AllocationProblem(
        np.zeros((n, m)), np.ones(n), np.zeros(m, np.int64), np.ones(k), **(budgets if t else {})
    )
    allocation = solve(problem, method=method)

    assert allocation.assignment.tolist() == [-1] * n
    assert check(problem, allocation) == (0.0, 0.0, 0.0)
    assert allocation.status == "optimal"


@pytest.mark.parametrize("method", METHODS)
def test_what_is_short_of_everything(method: str) -> None:
    """Zero capacity, all masked, budgets of zero: everybody is refused, the bound is 0."""
    values, two = np.ones((4, 2)), np.array([0, 1])
    costs = {"tenant": np.zeros(4, np.int64), "cost": values, "budget": np.zeros(1)}
    for problem in (
        AllocationProblem(values, np.ones(4), two, np.zeros(2)),
        AllocationProblem(values, np.ones(4), two, np.ones(2), mask=np.zeros((4, 2), np.bool_)),
        AllocationProblem(values, np.ones(4), two, np.ones(2), **costs),
    ):
        allocation = solve(problem, method=method)

        assert allocation.assignment.tolist() == [-1] * 4
        assert check(problem, allocation).bound == 0


def test_infinite_supply_has_no_price() -> None:
    """Infinite capacities and budgets are no limits."""
    problem = AllocationProblem(
        np.ones((3, 1)), np.ones(3), np.zeros(1, np.int64), np.array([np.inf]),
        tenant=np.zeros(3, np.int64), cost=np.ones((3, 1)), budget=np.array([np.inf]),
    )  # fmt: skip
    for method in METHODS:
        allocation = solve(problem, method=method)

        assert check(problem, allocation).value == 3


def test_three_tenths_fit() -> None:
    """Demands that add up to a pool but for rounding fit."""
    problem = AllocationProblem(np.ones((3, 1)), np.full(3, 0.1), [0], [0.3])
    for method in METHODS:
        assert solve(problem, method=method).value == 3


def test_rest_counts_in_the_bound() -> None:
    """A pruned pair cannot be chosen, but the bound is no lower than with it."""
    p = instances.market(300, 8, 1.2, seed=3)
    whole = solve(p)
    place = np.arange(p.data.size) - np.repeat(p.indptr[:-1], np.diff(p.indptr))
    keep = place < 2
    request = np.repeat(np.arange(p.requests), np.diff(p.indptr))
    rest = np.full(p.requests, -1.0)
    np.maximum.at(rest, request[~keep], p.data[~keep])
    indptr = np.concatenate([[0], np.cumsum(np.minimum(np.diff(p.indptr), 2))])
    pruned = SparseProblem(
        p.data[keep], p.indices[keep], indptr, p.demand, p.pool, p.capacity, rest=rest
    )
    allocation = solve(pruned)

    assert check(pruned, allocation).bound >= whole.value
    assert allocation.value <= whole.value * (1 + 1e-9)


def test_sparse_and_dense_are_one_problem() -> None:
    """The dense form and its rows give the same allocation."""
    for seed in range(20):
        problem = random_problem(seed, 12, 4)
        dense, sparse = solve(problem), solve(problem.sparse())

        assert dense.assignment.tolist() == sparse.assignment.tolist()
        assert dense.bound == sparse.bound


def test_demand_per_pair_where_lengths_coincide() -> None:
    """With one feasible pair a request, demands by pair stay by pair."""
    demand = np.array([[1.0, 9.0], [9.0, 2.0]])
    problem = AllocationProblem(
        np.ones((2, 2)), demand, [0, 1], [1.0, 2.0], mask=np.eye(2, dtype=np.bool_)
    )

    assert solve(problem).value == 2


def test_pruned_warm_start_is_checked() -> None:
    """Warm prices of the wrong shape or sign are the caller's mistake."""
    problem = AllocationProblem(np.ones((2, 1)), np.ones(2), [0], [1.0])

    with pytest.raises(ValueError, match=r"warm_start.pool of shape \(1,\), got \(2,\)"):
        solve(problem, warm_start=Prices(np.zeros(2), np.zeros(0)))
    with pytest.raises(ValueError, match=r"warm_start.pool >= 0, got -1"):
        solve(problem, warm_start=Prices(np.array([-1.0]), np.zeros(0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method to be one of auto, exact, dual, greedy, got 'magic'"),
        ({"work": -1}, "work >= 0 or None, got -1"),
        ({"deadline_s": float("nan")}, "deadline_s >= 0 or None, got nan"),
        ({"target_gap": -0.1}, "target_gap >= 0 or None, got -0.1"),
        ({"seed": 1.5}, "an integer seed >= 0, got 1.5"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    """A bad option is named, with what was expected and what came."""
    problem = AllocationProblem(np.ones((2, 1)), np.ones(2), [0], [1.0])

    with pytest.raises(ValueError, match=message):
        solve(problem, **options)  # type: ignore[arg-type]


FINGERPRINT = """
import hashlib
from aurora_batch.allocation import solve
from benchmarks import instances
digest = hashlib.sha256()
for problem in (instances.rush_hour(), instances.tenants(), instances.small(5)):
    a = solve(problem, work=2_000_000, seed=7)
    for part in (a.assignment, a.pool_prices, a.budget_prices):
        digest.update(part.tobytes())
    digest.update(repr((a.value, a.bound, a.status, a.work)).encode())
print(digest.hexdigest())
"""


def test_same_bytes_at_any_thread_count() -> None:
    """The same problem and seed give the same bytes, whatever the number of threads."""
    prints = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        ran = subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        prints.add(ran.stdout)

    assert len(prints) == 1


def test_another_seed_is_as_good() -> None:
    """Another seed changes the tries, hardly what they find."""
    problem = instances.granular()
    first, second = solve(problem, seed=0), solve(problem, seed=1)

    assert second.bound == pytest.approx(first.bound, rel=1e-3)
    assert second.value == pytest.approx(first.value, rel=3e-3)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Searches leave stdout to the caller."""
    print("before")  # noqa: T201
    for seed in range(12):
        solve(instances.small(seed), method="auto", work=3_000_000)

    assert capfd.readouterr().out == "before\n"


def test_exact_works_in_a_process_without_stdout() -> None:
    """A service that closed its stdout can solve all the same."""
    script = (
        "import os, sys\n"
        "os.close(1)\n"
        "sys.stdout = None\n"
        "from aurora_batch.allocation import solve\n"
        "from tests.aurora_batch.allocation.problems import random_problem\n"
        "found = solve(random_problem(3, 12, 4), method='exact')\n"
        "sys.stderr.write(found.status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=100,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "optimal")
