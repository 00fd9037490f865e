"""Public generalised assignment sets as allocation problems (`../shared/data/gap`)."""

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
    gain = profit if sense == "max" else profit.max() - profit
    values = gain + SERVE[sense] * profit.max()
    return AllocationProblem(values, demand, np.arange(m), numbers[2 + 2 * m * n :]), profit


def objective(profit: np.ndarray, assignment: np.ndarray) -> float:
    """Profit or cost of an assignment; nan where a job is left out."""
    if (assignment < 0).any():
        return float("nan")
    return float(profit[np.arange(len(profit)), assignment].sum())
