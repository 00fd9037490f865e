"""Allocation on named instances: time and quality together, and ratios in the same run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aurora_batch.allocation import SparseProblem, check, exact, solve
from benchmarks import gap_sets, instances
from benchmarks.ratios import seconds

# Work that about 25 ms, 40 ms, 80 ms and, warm, 8 and 12 ms hold.
COLD = (2_000_000, 3_000_000, 7_000_000)
WARM = (400_000, 700_000, 2_000_000)


def report(benchmark: Any, problem: SparseProblem, run: Callable[[], Any]) -> None:
    """Time `run`, and put what it found beside it."""
    run()  # compiled here
    found = benchmark(run)
    check(problem, found)
    info = benchmark.extra_info
    info["requests"], info["pairs"] = problem.requests, problem.data.size
    info["value"], info["bound"] = round(found.value, 3), round(found.bound, 3)
    info["gap_percent"] = round(100 * found.gap, 4)
    info["fill"] = round(float((found.assignment >= 0).mean()), 4)
    info["status"], info["work"] = found.status, found.work
    own = seconds(run, repeat=5)
    info["requests_per_second"] = round(problem.requests / own)
    greedy = solve(problem, method="greedy", work=1_000_000)
    info["value_to_greedy"] = round(found.value / greedy.value, 4)


@pytest.mark.parametrize("work", COLD)
@pytest.mark.parametrize("name", list(instances.NAMED))
def test_cold(benchmark: Any, name: str, work: int) -> None:
    """A batch with no batch before."""
    problem = instances.NAMED[name](0, 0)
    report(benchmark, problem, lambda: solve(problem, method="dual", work=work))


@pytest.mark.parametrize("work", WARM)
@pytest.mark.parametrize("name", list(instances.NAMED))
def test_warm(benchmark: Any, name: str, work: int) -> None:
    """The next batch of a stream, from the prices of the one before."""
    prices = solve(instances.NAMED[name](0, 0), method="dual").prices
    problem = instances.NAMED[name](0, 1)
    report(benchmark, problem, lambda: solve(problem, method="dual", work=work, warm_start=prices))


@pytest.mark.parametrize("name", ["plenty", "rush_hour", "scarce", "few_pools"])
def test_times_scipy_lp(benchmark: Any, name: str) -> None:
    """How many times as fast as SciPy's LP, which finds no assignment; bounds must agree."""
    problem = instances.NAMED[name](0, 0)
    rows, supply = problem.rows(), problem.supply
    report(benchmark, problem, lambda: solve(problem, method="dual", work=2_000_000))
    prices = solve(instances.NAMED[name](0, 1), method="dual").prices
    warm = seconds(lambda: solve(problem, method="dual", work=700_000, warm_start=prices), repeat=5)
    cold = seconds(lambda: solve(problem, method="dual", work=2_000_000), repeat=5)
    lp = seconds(lambda: exact.lp_prices(rows, supply), repeat=1)
    benchmark.extra_info["times_lp_cold"] = round(lp / cold, 1)
    benchmark.extra_info["times_lp_warm"] = round(lp / warm, 1)


def test_wide_fleet(benchmark: Any) -> None:
    """100,000 x 1,024, 13 million pairs, once."""
    problem = instances.wide_fleet()
    solve(instances.few_pools(), method="dual", work=100_000)  # compiled here
    found = benchmark.pedantic(lambda: solve(problem, method="dual"), rounds=1)
    benchmark.extra_info["gap_percent"] = round(100 * check(problem, found).gap, 4)
    benchmark.extra_info["pairs"] = problem.data.size


@pytest.mark.parametrize("requests", [2_500, 10_000, 40_000])
def test_cost_is_linear(benchmark: Any, requests: int) -> None:
    """Nanoseconds a visited pair stay the same as batches grow."""
    problem = instances.market(requests, 64, 1.2)
    found = benchmark(solve, problem, method="dual", work=25 * problem.data.size)
    own = seconds(lambda: solve(problem, method="dual", work=25 * problem.data.size), repeat=3)
    benchmark.extra_info["ns_per_visit"] = round(1e9 * own / found.work, 2)
    benchmark.extra_info["gap_percent"] = round(100 * found.gap, 4)


def test_small_problems_are_solved(benchmark: Any) -> None:
    """Up to 200 x 8 with budgets: how often `auto` proves the optimum, and what it takes."""
    problems = [instances.small(seed) for seed in range(30)]
    found = benchmark.pedantic(lambda: [solve(p) for p in problems], rounds=1, warmup_rounds=1)
    benchmark.extra_info["proven"] = sum(a.status == "optimal" for a in found) / len(found)
    benchmark.extra_info["worst_gap_percent"] = round(
        100 * float(np.max([a.gap for a in found])), 3
    )


@pytest.mark.parametrize("sense", ["max", "min"])
@pytest.mark.parametrize(
    "name",
    [
        "a05100", "a20200", "b10100", "b20200", "c0515_1", "c0840_1", "c10100", "c10200", "c10400",
        "c20100", "c20200", "d05100", "d10100", "e05100", "e10100",
    ],
)  # fmt: skip
def test_gap_sets(benchmark: Any, name: str, sense: str) -> None:
    """Difference to the best known value, every job served, in 0.5 s (max) and 2 s (min)."""
    lower, upper = gap_sets.best_known()[name, sense]
    problem, profit = gap_sets.load(name, sense)
    deadline = 0.5 if sense == "max" else 2.0
    solve(problem, deadline_s=0.05)  # compiled here
    found = benchmark.pedantic(lambda: solve(problem, deadline_s=deadline), rounds=1)
    check(problem, found)
    known = lower if sense == "max" else upper
    reached = gap_sets.objective(profit, found.assignment)
    assert not np.isnan(reached)
    benchmark.extra_info["reached"], benchmark.extra_info["best_known"] = reached, known
    benchmark.extra_info["off_percent"] = round(100 * abs(reached - known) / known, 3)
