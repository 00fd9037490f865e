"""Generalised assignment as allocation problems: public (`../shared/data/gap`) and drawn ones.

Drawn as Chu and Beasley 1997 (doi:10.1016/S0305-0548(96)00032-9) and Yagiura, Ibaraki and Glover
2004 (doi:10.1287/ijoc.1030.0036) describe types d and e: in d what is cheap takes much, in e a few
pairs are very cheap and take very much.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from aurora_batch.allocation import AllocationProblem

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "gap"
# Worth of serving a job beside its profit, in largest profits: every job must be served, in the
# minimised sets also where capacity is so short that a split job would rather be refused.
SERVE = {"max": 1.0, "min": 5.0}


def best_known() -> dict[tuple[str, str], tuple[float, float]]:
    """Lower and upper bound by instance and sense; skips, or fails in CI, without the data."""
    if not FOLDER.is_dir():
        message = f"no GAP sets at {FOLDER}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with (FOLDER / "bounds.csv").open() as file:
        return {
            (row["instance"], row["sense"]): (float(row["lower_bound"]), float(row["upper_bound"]))
            for row in csv.DictReader(file)
        }


def load(name: str, sense: str) -> tuple[AllocationProblem, np.ndarray]:
    """Return the problem and the profits or costs (jobs, agents)."""
    numbers = np.array((FOLDER / f"{name}.txt").read_text().split(), np.float64)
    m, n = int(numbers[0]), int(numbers[1])
    profit = numbers[2 : 2 + m * n].reshape(m, n).T.copy()
    demand = numbers[2 + m * n : 2 + 2 * m * n].reshape(m, n).T.copy()
    return posed(profit, demand, numbers[2 + 2 * m * n :], sense), profit


def drawn(kind: str, agents: int, jobs: int, seed: int) -> tuple[AllocationProblem, np.ndarray]:
    """Return a problem of type d or e to minimise, and its costs (jobs, agents), whole and > 0."""
    rng = np.random.default_rng(seed)
    shape = (jobs, agents)
    if kind == "d":
        demand = rng.integers(1, 101, shape).astype(np.float64)
        cost = 111.0 - demand + rng.integers(-10, 11, shape)
    elif kind == "e":
        demand = np.ceil(1.0 - 10.0 * np.log(1.0 - rng.random(shape)))
        cost = np.maximum(np.rint(1000.0 / demand - 10.0 * rng.random(shape)), 1.0)
    else:
        raise ValueError(f"Expected type d or e, got {kind!r}.")
    capacity = np.maximum(np.floor(0.8 * demand.sum(axis=0) / agents), demand.max(axis=0))
    return posed(cost, demand, capacity, "min"), cost


def posed(
    profit: np.ndarray, demand: np.ndarray, capacity: np.ndarray, sense: str
) -> AllocationProblem:
    """Return the problem in which every job is worth serving, (jobs, agents) each."""
    gain = profit if sense == "max" else profit.max() - profit
    values = gain + SERVE[sense] * profit.max()
    return AllocationProblem(values, demand, np.arange(capacity.size), capacity)


def objective(profit: np.ndarray, assignment: np.ndarray) -> float:
    """Profit or cost of an assignment; nan where a job is left out."""
    if (assignment < 0).any():
        return float("nan")
    return float(profit[np.arange(len(profit)), assignment].sum())
