"""Every method on one named instance: time, value and bound, each checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from aurora_batch.allocation import Allocation, SparseProblem, check, solve
from benchmarks import instances
from benchmarks.peers import PEERS, verified
from benchmarks.ratios import seconds

# Work, in visited pairs, that holds about so many milliseconds at 10,000 x 64.
COLD = {"ours, ~25 ms": 2_000_000, "ours, ~50 ms": 4_000_000, "ours, ~500 ms": 40_000_000}
WARM = {"ours, warm, ~12 ms": 900_000, "ours, warm, ~25 ms": 2_000_000}
REPEAT = 5
LONG = 10_000_000  # work beyond which one solve says how long it takes
NAN = float("nan")
# Peers that search for long, or for good, run where they show most.
SLOW = {
    "SciPy LP": tuple(instances.NAMED),
    "SciPy MILP": ("rush_hour", "few_pools", "granular", "degenerate"),
    "SCIP": ("few_pools", "granular"),
    "CP-SAT": ("rush_hour", "few_pools", "granular"),
}
MADE = {**instances.NAMED, "wide_fleet": instances.wide_fleet}


@dataclass(frozen=True)
class Run:
    """One method on one instance; nan is what it does not give."""

    instance: str
    method: str
    seconds: float
    value: float
    bound: float  # as the method claims
    of_best_bound: float = NAN  # value / least bound that any method knows
    own_gap: float = NAN
    times_lp: float = NAN  # seconds of SciPy's LP / seconds


def compile_kernels() -> None:
    """Run every kernel once, before a clock starts."""
    for problem in (instances.few_pools(), instances.market(200, 8, 1.2)):
        prices = solve(problem, work=100_000).prices
        solve(problem, work=100_000, warm_start=prices)
        PEERS["greedy"](problem, 0.0)
    solve(instances.small(1), deadline_s=1.0)  # as long as it takes to get to random tries


def measured(name: str, seed: int, limit_s: float, *, quick: bool = False) -> list[Run]:
    """Run every method on an instance, the slow ones up to a limit or, if `quick`, not at all."""
    problem = MADE[name](seed, 0)
    runs, proof = _ours(name, problem, MADE[name](seed, 1))
    for method, peer in PEERS.items():
        if method in SLOW and (quick or name not in SLOW[method]):
            continue
        answer = peer(problem, limit_s)
        if answer is not None:
            verified(problem, answer, proof)
            runs.append(Run(name, method, answer.seconds, answer.value, answer.bound))
    return compared(runs)


def _ours(name: str, problem: SparseProblem, before: SparseProblem) -> tuple[list[Run], Allocation]:
    """Aurora cold and warm, and the allocation with the least bound."""
    prices = solve(before).prices
    tried: dict[str, Callable[[], Allocation]] = {
        method: partial(solve, problem, work=work) for method, work in COLD.items()
    }
    for method, work in WARM.items():
        tried[method] = partial(solve, problem, work=work, warm_start=prices)
    if name == "wide_fleet":  # a hundred times as many pairs: as much work as they get by default
        tried = {
            "ours": partial(solve, problem),
            "ours, warm": partial(solve, problem, warm_start=prices),
        }
    runs, found = [], []
    for method, run in tried.items():
        allocation = run()
        check(problem, allocation)
        took = allocation.seconds if allocation.work > LONG else seconds(run, REPEAT)
        runs.append(Run(name, method, took, allocation.value, allocation.bound))
        found.append(allocation)
    return runs, min(found, key=lambda a: a.bound)


def compared(runs: Sequence[Run]) -> list[Run]:
    """Return the runs on one instance with what they are to each other."""
    value = max((r.value for r in runs if not np.isnan(r.value)), default=NAN)
    bound = max(value, min((r.bound for r in runs if not np.isnan(r.bound)), default=NAN))
    lp = next((r.seconds for r in runs if r.method == "SciPy LP"), NAN)
    return [
        replace(
            r, of_best_bound=r.value / bound, own_gap=max((r.bound - r.value) / r.bound, 0.0),
            times_lp=lp / r.seconds,
        )
        if not np.isnan(r.bound) and not np.isnan(r.value)
        else replace(r, of_best_bound=r.value / bound, times_lp=lp / r.seconds)
        for r in runs
    ]  # fmt: skip


def medians(samples: Sequence[Sequence[Run]]) -> list[Run]:
    """Return the medians over seeds of every figure, method by method."""
    by_method: dict[str, list[Run]] = {}
    for run in (run for sample in samples for run in sample):
        by_method.setdefault(run.method, []).append(run)
    figures = ("seconds", "value", "bound", "of_best_bound", "own_gap", "times_lp")
    return [
        replace(same[0], **{f: median(getattr(run, f) for run in same) for f in figures})
        for same in by_method.values()
    ]
